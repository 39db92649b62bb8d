"""Compare the speed of prediction: ours in the default precision and in bf16, and transformers' pipeline.

    python -m benchmarks.speed.predict --model runs/<run>/model --data gnad10 --max-train-rows 96

Each starts from the same texts and ends with probabilities of the same model. They alternate, after a round of warm-up.
Also printed: the largest difference from our default probabilities, and the share of equal labels. On CPUs with bf16
instructions, ours is also measured in bf16, as with predict.py --precision bf16. Rates are per second of wall time and
per second of CPU time. On a machine with other load, compare only the latter.
"""

import sys
import tempfile
import time

import numpy as np
from transformers import pipeline

from benchmarks.options import WORKLOAD, new_parser
from benchmarks.workload import (
    Workload,
    about,
    encoder_name,
    markdown_table,
    plus_minus,
    record_path,
    synchronize,
)
from common.cli import exit_codes
from common.files import write_json
from common.training.compute.devices import open_device
from common.training.prediction import predict
from common.training.tokens import encode

BATCH_SIZES = (1, 8)  # the pipeline's default, and a common choice


@exit_codes
def main(argv=None):
    """Measure, print and record; returns the exit code."""
    arguments = parse_arguments(argv)
    device = open_device(arguments.device, distributed=False)
    work = Workload(
        arguments.model, arguments.random_init, arguments.data, arguments.max_length, arguments.max_train_rows
    )
    model = work.model()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        work.tokenizer.save_pretrained(folder)
        classify = pipeline("text-classification", model=folder, tokenizer=folder, top_k=None, device=device.device)

    def ours(on):
        return predict(model, encode(work.tokenizer, work.texts, work.max_length), on)

    def theirs(batch_size):
        scores = classify(work.texts, batch_size=batch_size, truncation=True, max_length=work.max_length)
        return in_class_order(scores, work.classes)

    columns = {"ours": lambda: ours(device.predicting())}
    if device.device.type == "cpu" and device.precision == "bf16":
        columns["ours, bf16"] = lambda: ours(device)
    columns |= {f"pipeline, batch_size={size}": lambda size=size: theirs(size) for size in BATCH_SIZES}
    rates, cpu_rates, probabilities = {name: [] for name in columns}, {name: [] for name in columns}, {}
    for repeat in range(arguments.repeats + 1):
        for name, column in columns.items():
            begin, cpu_begin = time.perf_counter(), time.process_time()
            probabilities[name] = column()
            synchronize(device)
            rate = len(work.texts) / (time.perf_counter() - begin)
            if repeat:
                rates[name].append(rate)
                cpu_rates[name].append(len(work.texts) / (time.process_time() - cpu_begin))
            print(f"{repeat or 'warm-up':>7} {name:<24} {rate:8.2f} articles/s", flush=True)
    differences = {name: float(np.abs(given - probabilities["ours"]).max()) for name, given in probabilities.items()}
    exact = probabilities["ours"].argmax(axis=1)
    equal = {name: float((given.argmax(axis=1) == exact).mean()) for name, given in probabilities.items()}
    record = {
        "encoder": encoder_name(arguments),
        "articles": len(work.texts),
        "max_length": work.max_length,
        "repeats": arguments.repeats,
        "articles_per_second": rates,
        "articles_per_cpu_second": cpu_rates,
        "largest_difference": differences,
        "equal_labels": equal,
        "spread_of_probabilities": float(probabilities["ours"].std(axis=0).max()),
        **about(device),
    }
    path = record_path(arguments, "predict-speed", device)
    write_json(path, record)
    reference = f"pipeline, batch_size={BATCH_SIZES[-1]}"
    rows = []
    for name in rates:
        faster, cpu_faster = (
            f"× {np.median(np.array(each[name]) / np.array(each[reference])):.1f}" for each in (rates, cpu_rates)
        )
        rows.append(
            [name, plus_minus(rates[name], 2), faster, cpu_faster, f"{differences[name]:.1e}", f"{equal[name]:.2%}"]
        )
    against = f"times {reference}"
    header = ["", "articles/s", against, "by CPU seconds", "largest difference in a probability", "equal labels"]
    print(markdown_table(header, rows))
    print(path)
    return 0


def parse_arguments(argv):
    """Read the command line."""
    parser = new_parser(__doc__, *WORKLOAD, "repeats", "json", max_train_rows=96)
    return parser.parse_args(argv)


def in_class_order(scores, classes):
    """The pipeline's scores, which are sorted by score, as probabilities [texts, classes] in the order of `classes`."""
    by_name = [{entry["label"]: entry["score"] for entry in entries} for entries in scores]
    return np.array([[text[name] for name in classes] for text in by_name], dtype=np.float32)


if __name__ == "__main__":
    sys.exit(main())
