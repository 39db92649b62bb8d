"""What the speed benchmarks share: encoders of true size with random weights, articles, operation counts, ceilings."""

import argparse
import contextlib
import ctypes
import gc
import os
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from common.classes import class_numbers
from common.cli import UserError
from common.data import load_dataset
from common.runs import environment
from common.training.encoders.configs import describe_source
from common.training.encoders.models import load_model
from common.training.encoders.pooling import add_mean_pooling
from common.training.encoders.sources import find_source
from common.training.encoders.tiny import build_tiny_tokenizer
from common.training.encoders.tokenizer import load_tokenizer
from common.training.options import add_training_options
from common.training.recipe import Recipe, resolve_recipe
from common.training.tokens import encode

BERT = {"vocab_size": 31102, "pad_token_id": 0}  # the vocabulary of deepset's German models
ARCHITECTURES = {
    "gbert-base": (
        BertForSequenceClassification,
        BertConfig,
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "gbert-large": (
        BertForSequenceClassification,
        BertConfig,
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    ),
    "gelectra-large": (
        ElectraForSequenceClassification,
        ElectraConfig,
        {
            "embedding_size": 1024,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
        },
    ),
    "xlm-roberta-base": (
        XLMRobertaForSequenceClassification,
        XLMRobertaConfig,
        {"vocab_size": 250002, "pad_token_id": 1, "max_position_embeddings": 514},  # else the configuration's defaults
    ),
}


class Workload:
    """Articles, tokenized for an encoder, and a way to make that encoder anew with the same weights."""

    def __init__(self, model, random_init, data, max_length, rows):
        if random_init and random_init not in ARCHITECTURES:
            raise UserError(f"no architecture {random_init!r}; there are: {', '.join(ARCHITECTURES)}")
        dataset = load_dataset(data)
        texts = (dataset.train["text"].tolist() * (rows // len(dataset.train) + 1))[:rows]
        labels = (dataset.train["label"].tolist() * (rows // len(dataset.train) + 1))[:rows]
        self.classes, self.texts = dataset.classes, texts
        self.labels = class_numbers(labels, self.classes)
        self.random_init, self.max_length = random_init, max_length
        if random_init:
            self.source, self.tokenizer = None, build_tiny_tokenizer(dataset.train["text"], BERT["vocab_size"])
        else:
            self.source = find_source(model)
            self.tokenizer, _ = load_tokenizer(self.source, dataset.train["text"])
        self.encoded = encode(self.tokenizer, texts, max_length)

    def model(self, pooling="mean", attention_dropout=0.0, seed=0):
        """The encoder with a fresh head, on the CPU, the same at every call. attention_dropout None: its default."""
        if not self.random_init:
            return load_model(
                self.source,
                self.tokenizer,
                self.classes,
                seed=seed,
                pooling=pooling,
                attention_dropout=attention_dropout,
            )
        torch.manual_seed(seed)
        kind, config, sizes = ARCHITECTURES[self.random_init]
        dropouts = {} if attention_dropout is None else {"attention_probs_dropout_prob": attention_dropout}
        model = kind(config(num_labels=len(self.classes), **{**BERT, **sizes, **dropouts}))
        if pooling == "mean":
            add_mean_pooling(model)
        return model

    def operations(self, model):
        """Floating-point operations of one training pass over the articles, counted for real tokens alone.

        Forward and backward: 6 per weight of the encoder's matrices and token, and 12 x length x hidden per token and
        layer for attention (Kaplan et al. 2020, appendix; Chowdhery et al. 2022, appendix B). The last layer need only
        work on one token a text and is left out, but for keys and values where it is not the pooling layer; so are the
        head, and the word table, which is looked up, not multiplied.
        """
        config = model.config
        layers = config.num_hidden_layers - 1
        weights = layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
        if not getattr(config, "mean_pooling_layer", False):
            weights += 2 * config.hidden_size**2
        lengths = self.encoded.lengths.astype(float)
        return float(6 * weights * lengths.sum() + 12 * layers * config.hidden_size * (lengths**2).sum())


def matmul_rate(device, seconds=2.0):
    """The device's rate on one large matrix product in its precision, in operations per second; random inputs."""
    size = {"cpu": 2048, "cuda": 8192}.get(device.device.type, 2048)
    left, right = (torch.randn(size, size, device=device.device, dtype=device.dtype) for _ in range(2))
    for _ in range(3):
        left @ right
    synchronize(device)
    begin, products = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in range(5):
            left @ right
        products += 5
        synchronize(device)
    return 2 * size**3 * products / (time.perf_counter() - begin)


def synchronize(device):
    """Wait until the device has done what it was given."""
    if device.device.type == "cuda":
        torch.cuda.synchronize()


class StepClock:
    """While entered: seconds from the entry to the end of each optimizer step, whoever takes it.

    Reading the time waits for the GPU, which slows every step down; with `first_only` that happens at the first step
    alone. `seconds` is the time from the entry to the exit.
    """

    def __init__(self, device, first_only=False):
        self.device, self.first_only, self.times = device, first_only, []

    def __enter__(self):
        self.begin = time.perf_counter()
        self.hook = register_optimizer_step_post_hook(self._note)
        return self

    def __exit__(self, *_):
        self.hook.remove()
        synchronize(self.device)
        self.seconds = time.perf_counter() - self.begin

    def _note(self, *_):
        if not (self.times and self.first_only):
            synchronize(self.device)
            self.times.append(time.perf_counter() - self.begin)


def reset_peak_memory(device):
    """Begin to measure anew; what earlier work left in memory pools is given back first where that is possible."""
    gc.collect()
    if device.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory otherwise
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is in use (man proc)


def peak_memory(device):
    """The most memory in use since the last reset, in bytes: the GPU's, or this process's; None where not measured."""
    if device.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return _memory_status("VmHWM") if os.access("/proc/self/clear_refs", os.W_OK) else None


def memory_in_use():
    """This process's resident memory in bytes; None where the system does not say."""
    return _memory_status("VmRSS")


def _memory_status(field):
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def hardware(device):
    """The device in words: a GPU by its name, a CPU by its model, threads and widest instructions."""
    if device.device.type != "cpu":
        return device.name
    models = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or "CPU"
    return f"{model}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def encoder_name(arguments):
    """What the figures call the encoder: a name, never a path."""
    path = Path(arguments.model)
    return arguments.random_init or (path.parent.name if path.name == "model" else path.name)  # runs/<run>/model


def about(device):
    """What every record says of where and when it was measured."""
    return {"device": hardware(device), "date": f"{date.today():%Y-%m-%d}", **environment()}


def spread(values):
    """Mean and, of two or more, the sample's standard deviation."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def plus_minus(values, decimals=0):
    """`mean ± standard deviation` as text."""
    mean, deviation = spread(values)
    return f"{mean:,.{decimals}f} ± {deviation:,.{decimals}f}"


def markdown_table(header, rows):
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def record_path(arguments, name, device):
    """The file for the figures: as given by --json, or benchmarks/results/<name>-<device>-<date>.json."""
    if arguments.json:
        return Path(arguments.json)
    kind = "cpu" if device.device.type == "cpu" else "-".join(device.name.lower().split())
    return Path(__file__).parent / "results" / f"{name}-{kind}-{date.today():%Y-%m-%d}.json"


def default_recipe(model, source):
    """The recipe that train.py takes for an encoder (its name and its Source) when no option is given."""
    parser = argparse.ArgumentParser()
    add_training_options(parser)
    options = parser.parse_args([])
    options.model = model
    return resolve_recipe(options, describe_source(source))


def plain_recipe(batch_size):
    """One epoch of texts that are cut already; all else that costs time is as in the scripts' defaults."""
    return Recipe(
        epochs=1,
        batch_size=batch_size,
        learning_rate=2e-5,
        head_factor=10.0,
        max_length=10**6,
        long_texts="head",
        pooling="mean",
    )
