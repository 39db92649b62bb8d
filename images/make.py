"""Make the figures that the README shows, from runs that anybody can repeat: `make images`.

Trains the starter encoder on the shipped sample, three seeds in five folds, and copies what the scripts draw. The
review page is photographed where a Chromium is installed.
"""

import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image

import create_confusion_matrix
import find_label_issues
import train_ensemble

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "runs" / "images"
FIGURES = {
    "learning_curves.png": "members/starter-seed0-fold0/learning_curves.png",
    "ensemble_curve.png": "ensemble_curve.png",
    "confusion_matrix.png": "confusion_matrix/confusion_matrix.png",
    "label_joint.png": "label_issues/label_joint.png",
}
WIDTH = 900  # pixels; the README shows them no wider


def main():
    """Run the scripts, copy their figures; returns the exit code."""
    training = ["--model=starter", "--data=sample", "--seeds=3", "--folds=5", f"--run={RUN}"]
    for script, arguments in (
        (train_ensemble, training),
        (create_confusion_matrix, [f"--run={RUN}"]),
        (find_label_issues, [f"--run={RUN}"]),
    ):
        code = script.main(arguments)
        if code:
            return code
    for name, source in FIGURES.items():
        shrink(RUN / source, ROOT / "images" / name)
    photograph(RUN / "label_issues" / "label_issues.html", ROOT / "images" / "review_page.png")
    return 0


def shrink(source, target):
    """Copy a picture, no wider than the README shows it, in 64 colours: a tenth of the bytes."""
    picture = Image.open(source).convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    picture.quantize(64).save(target, optimize=True)
    print(f"{target.name}: {target.stat().st_size / 1000:.0f} kB")


def photograph(page, target):
    """A screenshot of a page by a headless Chromium, where there is one."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not browser:
        print(f"no Chromium is installed: {target.name} stays as it is")
        return
    picture = RUN / target.name
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
             "--hide-scrollbars", "--window-size=1200,800", f"--user-data-dir={RUN / 'browser'}"]  # fmt: skip
    command = [browser, *flags, f"--screenshot={picture}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    shrink(picture, target)


if __name__ == "__main__":
    sys.exit(main())
