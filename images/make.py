"""Make the README's pictures from a run that anybody can repeat.

    python -m images.make                          # train, then make all pictures: `make images`
    python -m images.make header.png pipeline.png  # only these, from the existing run

Trains the starter encoder on the shipped sample with five seeds and five folds. Some pictures are copies of those that
the scripts draw, the others are drawn from the same run. The screenshot of the review page needs Chromium.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
from PIL import Image
from sklearn.metrics import confusion_matrix

import create_confusion_matrix
import find_label_issues
import train_ensemble
from common.cli import Parser, UserError, exit_codes
from common.files import whole_file
from common.plots import styled
from common.predictions import read_predictions
from common.runs import check_run, read_metrics
from common.training.plots import draw_learning_curves
from images.header import draw_header
from images.pipeline import draw_pipeline

FOLDER = Path(__file__).resolve().parent
RUN = FOLDER.parent / "runs" / "images"
WIDTH = 900  # pixels: maximum width of figures in the README


@exit_codes
def main(argv=None):
    """Run the scripts unless single pictures are named, then make the pictures; returns the exit code."""
    parser = Parser(__doc__, "[PICTURE ...]")
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help=f"{', '.join(PICTURES)} (default: all)")
    pictures = parser.parse_args(argv).pictures
    for name in pictures:
        if name not in PICTURES:
            raise UserError(f"no picture {name!r}; expected some of {', '.join(PICTURES)}")
    if not pictures:
        training = ["--model=starter", "--data=sample", "--seeds=5", "--folds=5", f"--run={RUN}"]
        of_run = [f"--run={RUN}"]
        for script, arguments in (
            (train_ensemble, training),
            (create_confusion_matrix, of_run),
            (find_label_issues, of_run),
        ):
            code = script.main(arguments)
            if code:
                return code
    check_run(RUN)
    for name in pictures or PICTURES:
        PICTURES[name](FOLDER / name)
        print(f"{name}: {(FOLDER / name).stat().st_size / 1000:.0f} kB")
    return 0


def make_header(target):
    save_card(draw_header(read_predictions(RUN / "predictions" / "oof.csv")), target)


def make_pipeline(target):
    held_out = read_predictions(RUN / "predictions" / "oof.csv")
    test = read_predictions(RUN / "predictions" / "test.csv")
    issues = pd.read_csv(RUN / "label_issues" / "label_issues.csv")
    card = draw_pipeline(
        counts=confusion_matrix(held_out.labels, held_out.predicted, labels=held_out.classes),
        issues=list(zip(issues["given_label"], issues["suggested_label"], strict=True)),
        submission=list(zip(test.ids, test.predicted, strict=True)),
    )
    save_card(card, target)


def make_learning_curves(target):
    """Draw the curves of five seeds on one fold: their rows are the same, only the seeds differ."""
    runs = {f"seed {seed}": read_metrics(RUN / "members" / f"starter-seed{seed}-fold0") for seed in range(5)}
    drawn = RUN / "seeds.png"
    draw_learning_curves(drawn, runs)
    shrink(drawn, target)


def take(place):
    """A function that copies a picture which a script has drawn into the run folder."""
    return lambda target: shrink(RUN / place, target)


@styled
def save_card(figure, target):
    """Save a card with transparent corners and all colours: with a palette, soft tints show steps."""
    with whole_file(target) as temporary:
        figure.savefig(temporary, format="png", transparent=True)
        Image.open(temporary).save(temporary, format="png", optimize=True)


def shrink(source, target):
    """Copy a picture, at most WIDTH wide, in all colours: with a palette, colour bars show grey bands."""
    picture = Image.open(source).convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    picture.save(target, optimize=True)


def photograph(target):
    """Take a screenshot of the review page with a headless Chromium; without one, keep the old picture."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not browser:
        print(f"no Chromium found: {target.name} is unchanged")
        return
    page = RUN / "label_issues" / "label_issues.html"
    picture = RUN / target.name
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-background-networking",
        "--hide-scrollbars",
        "--window-size=1200,800",
        f"--user-data-dir={RUN / 'browser'}",
    ]
    command = [browser, *flags, f"--screenshot={picture}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    shrink(picture, target)


PICTURES = {
    "header.png": make_header,
    "pipeline.png": make_pipeline,
    "learning_curves.png": make_learning_curves,
    "ensemble_curve.png": take("ensemble_curve.png"),
    "confusion_matrix.png": take("confusion_matrix/confusion_matrix.png"),
    "review_page.png": photograph,
}

if __name__ == "__main__":
    sys.exit(main())
