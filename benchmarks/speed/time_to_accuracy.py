"""Time to accuracy: seconds until our loop and Hugging Face Trainer reach the same accuracy.

    python -m benchmarks.speed.time_to_accuracy --model starter --data sample --seeds 3
    python -m benchmarks.speed.time_to_accuracy --model starter --data sample --seeds 3 --table
    python -m benchmarks.speed.time_to_accuracy --model starter --epochs 3 --lengths 64,128

The rival `fair` is Trainer with our precision, attention dropout 0, batches grouped by length and fused AdamW (see
benchmarks/speed/rivals.py), and with the given epochs and learning rate. The rival `trainer` has Trainer's defaults: 3
epochs, batch size 8, learning rate 5e-5. Our loop has train.py's defaults for the encoder, except for the options
below. Both are scored after each epoch on the same held-out fifth. The target is the lower of their two final
accuracies. Seconds count training without scoring. Each run appends one line of JSON to the results file; recorded runs
are not repeated.
"""

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers import TrainerCallback

from benchmarks.options import new_parser
from benchmarks.speed.rivals import SHAPES, fair_options, train_with_trainer
from benchmarks.workload import (
    about,
    default_recipe,
    encoder_name,
    hardware,
    markdown_table,
    plain_recipe,
    plus_minus,
    synchronize,
)
from common.classes import class_numbers
from common.cli import exit_codes, number
from common.data import load_dataset
from common.splitting.splits import assign_folds
from common.training.compute.devices import open_device
from common.training.encoders.models import load_model
from common.training.encoders.sources import find_source
from common.training.encoders.tokenizer import load_tokenizer
from common.training.loop import fit
from common.training.prediction import predict
from common.training.step import Step
from common.training.tokens import cut_heads, encode

FOLDS = 5  # one of them is held out
SHAPE_NAMES = {f"{texts}x{passes}": (texts, passes) for texts, passes in SHAPES}


@exit_codes
def main(argv=None):
    """Run the missing runs, then print the table; returns the exit code."""
    arguments = parse_arguments(argv)
    device = open_device(arguments.device, arguments.precision, distributed=False)
    path = Path(arguments.results)
    settings = {
        "encoder": encoder_name(arguments),
        "data": Path(arguments.data).name,
        "max_length": arguments.max_length,
        "precision": device.precision,
        "device": hardware(device),
    }
    options = {
        "ours": {"epochs": arguments.epochs, "learning_rate": arguments.learning_rate, "lengths": arguments.lengths},
        "fair": {"epochs": arguments.rival_epochs, "learning_rate": arguments.rival_rate, "shape": arguments.shape},
        "trainer": {},
    }
    train = {"ours": train_ours, "fair": train_fair, "trainer": train_plain}
    runs = {}
    for seed in range(arguments.seeds):
        for who in ("ours", arguments.rival):
            wanted = settings | {"who": who, "options": options[who], "seed": seed}
            record = find_record(path, wanted)
            if record is None and not arguments.table:
                record = wanted | {"epochs": train[who](arguments, device, seed), **about(device)}
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                told = (f"{epoch['accuracy']:.1%} after {epoch['seconds']:.0f} s" for epoch in record["epochs"])
                print(f"{who} seed {seed}: " + ", ".join(told), flush=True)
            if record:
                runs[who, seed] = record["epochs"]
    print(table(runs, arguments.rival))
    return 0


def parse_arguments(argv):
    """Read the command line."""
    parser = new_parser(__doc__, "model", "data", "seeds", "device", "precision", "results", "table", max_length=256)
    group = parser.add_argument_group("ours", "Default: as in train.py for this encoder.")
    group.add_argument("--epochs", type=number(int, 1), metavar="N", help="epochs")
    group.add_argument("--learning-rate", type=number(float, 0, low_open=True), metavar="LR", help="peak learning rate")
    group.add_argument(
        "--lengths",
        type=lambda text: [number(int, 8)(part) for part in text.split(",")],
        metavar="N,...",
        help="maximum tokens per article in the first epochs, one number per epoch; later epochs use --max-length",
    )
    group = parser.add_argument_group("the rival")
    group.add_argument(
        "--rival",
        choices=["fair", "trainer"],
        default="fair",
        help="fair: well-chosen options; trainer: Trainer's defaults",
    )
    group.add_argument("--rival-epochs", type=number(int, 1), default=5, metavar="N", help="epochs of the fair rival")
    group.add_argument(
        "--rival-rate",
        type=number(float, 0, low_open=True),
        default=1e-4,
        metavar="LR",
        help="peak learning rate of the fair rival",
    )
    group.add_argument(
        "--shape",
        choices=list(SHAPE_NAMES),
        default="4x4",
        help="of the fair rival: texts per forward pass x passes per step",
    )
    arguments = parser.parse_args(argv)
    arguments.random_init = None
    default = Path(__file__).parents[1] / "results" / f"time-to-accuracy-{encoder_name(arguments)}.jsonl"
    arguments.results = arguments.results or default
    return arguments


def find_record(path, wanted):
    """The first recorded run with these settings, or None."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((record for record in map(json.loads, lines) if wanted.items() <= record.items()), None)


class Task:
    """Tokens and class numbers of the training and held-out rows; the seed chooses the split."""

    def __init__(self, arguments, seed):
        self.dataset = load_dataset(arguments.data)
        self.source = find_source(arguments.model)
        frame, texts = self.dataset.train, self.dataset.train["text"]
        self.tokenizer, _ = load_tokenizer(self.source, texts)
        encoded = encode(self.tokenizer, texts)
        labels = class_numbers(frame["label"], self.dataset.classes)
        held_out = assign_folds(frame, FOLDS, seed) == 0
        self.max_length = min(arguments.max_length, self.tokenizer.model_max_length)
        self.train, self.train_labels = encoded.take(np.flatnonzero(~held_out)), labels[~held_out]
        self.valid, self.valid_labels = encoded.take(np.flatnonzero(held_out)), labels[held_out]

    def model(self, seed, pooling="first", attention_dropout=0.0, dropout=None):
        """The encoder with a new head."""
        settings = {"pooling": pooling, "attention_dropout": attention_dropout, "dropout": dropout}
        return load_model(self.source, self.tokenizer, self.dataset.classes, seed=seed, **settings)

    def accuracy(self, model, device, long_texts):
        """The model's accuracy on the held-out articles; `long_texts` as in Recipe."""
        reading = replace(plain_recipe(1), max_length=self.max_length, long_texts=long_texts)
        return float((predict(model, self.valid, device.predicting(), reading).argmax(1) == self.valid_labels).mean())


class Scores:
    """Collects the accuracy after each epoch, and the seconds of training until then."""

    def __init__(self, task, model, device, long_texts):
        self.task, self.model, self.device, self.long_texts = task, model, device, long_texts
        self.epochs, self.scoring, self.begin = [], 0.0, time.perf_counter()

    def add(self):
        """Score the model. The time for scoring does not count."""
        synchronize(self.device)
        now = time.perf_counter()
        accuracy = self.task.accuracy(self.model, self.device, self.long_texts)
        self.epochs.append({"seconds": now - self.begin - self.scoring, "accuracy": accuracy})
        self.scoring += time.perf_counter() - now


def train_ours(arguments, device, seed):
    """Train with our loop; returns [{"seconds", "accuracy"}], one per epoch."""
    task = Task(arguments, seed)
    given = {"epochs": arguments.epochs, "learning_rate": arguments.learning_rate, "max_length": task.max_length}
    changes = {name: value for name, value in given.items() if value}
    recipe = replace(default_recipe(arguments.model, task.source), **changes)
    model = task.model(seed, recipe.pooling, recipe.attention_dropout, recipe.dropout)
    lengths = arguments.lengths or []

    def step_of_growing_length(*given):
        step = Step(*given)
        begin_epoch = step.begin_epoch

        def begin(epoch):
            if epoch != step.epoch:
                longest = lengths[epoch] if epoch < len(lengths) else task.max_length
                step.recipe, step.epoch = replace(recipe, max_length=longest), None  # None: reads the texts anew
            begin_epoch(epoch)

        step.begin_epoch = begin
        return step

    with tempfile.TemporaryDirectory() as folder:
        scores = Scores(task, model, device, recipe.long_texts)

        def evaluate():
            scores.add()
            return {}

        step = (step_of_growing_length if lengths else Step)(model, task.train, task.train_labels, recipe, seed, device)
        fit(step, Path(folder), evaluate=evaluate, checkpoint_minutes=None)
    return scores.epochs


def train_fair(arguments, device, seed):
    """Train with the fair Trainer (see rivals.py); returns [{"seconds", "accuracy"}], one per epoch."""
    options = fair_options(device, compiled=False, shape=SHAPE_NAMES[arguments.shape])
    options |= {"num_train_epochs": arguments.rival_epochs, "learning_rate": arguments.rival_rate}
    # Devlin et al. 2019, as in our loop; 0.1 is a share of the steps
    options |= {"warmup_steps": 0.1, "weight_decay": 0.01}
    return _train_rival(arguments, device, seed, 0.0, options)


def train_plain(arguments, device, seed):
    """Train with Trainer's defaults; returns [{"seconds", "accuracy"}], one per epoch."""
    return _train_rival(arguments, device, seed, None, {"num_train_epochs": 3})


def _train_rival(arguments, device, seed, attention_dropout, options):
    task = Task(arguments, seed)
    model = task.model(seed, attention_dropout=attention_dropout)
    scores = Scores(task, model, device, "head")

    class Score(TrainerCallback):
        def on_epoch_end(self, *_, **__):
            scores.add()

    cut = cut_heads(task.train, task.max_length)
    train_with_trainer(model, cut, task.train_labels, task.tokenizer, device, callbacks=[Score()], seed=seed, **options)
    return scores.epochs


def seconds_to(epochs, accuracy):
    """Seconds until the end of the first epoch with at least this accuracy; None if no epoch has it."""
    return next((epoch["seconds"] for epoch in epochs if epoch["accuracy"] >= accuracy), None)


def table(runs, rival):
    """A Markdown table with a row per seed, and below it how much sooner ours was, mean ± deviation over the seeds."""
    rows, sooner, whole = [], [], []
    for seed in sorted({seed for _, seed in runs}):
        if not {("ours", seed), (rival, seed)} <= set(runs):
            continue
        ours, theirs = runs["ours", seed], runs[rival, seed]
        both = min(ours[-1]["accuracy"], theirs[-1]["accuracy"])
        times = [seconds_to(epochs, both) for epochs in (theirs, ours)]
        sooner.append(times[0] / times[1])
        whole.append(theirs[-1]["seconds"] / ours[-1]["seconds"])
        ends = [f"{run[-1]['accuracy']:.1%} after {run[-1]['seconds']:.0f} s" for run in (theirs, ours)]
        rows.append([seed, *ends, f"{both:.1%}", *(f"{time:.0f}" for time in times), f"{sooner[-1]:.1f}"])
    header = ["seed", f"{rival}: end", "ours: end", "both reach", f"{rival}: after s", "ours: after s", "times sooner"]
    text = markdown_table(header, rows)
    if rows:
        text += f"\n\n{plus_minus(sooner, 1)} times sooner there, {plus_minus(whole, 1)} times to the end"
    return text


if __name__ == "__main__":
    sys.exit(main())
