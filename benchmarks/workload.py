"""Shared by the benchmarks: encoders of real size with random weights, articles, operation counts, clocks, memory."""

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
from common.saved.environment import environment
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
        {
            "vocab_size": 250002,
            "pad_token_id": 1,
            "max_position_embeddings": 514,
        },  # the other sizes are the configuration's defaults
    ),
}


class Workload:
    """Tokenized articles and their encoder.

    `rows` articles are read; a smaller dataset is repeated. Raises UserError if `random_init` is not in ARCHITECTURES.
    """

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
        """The encoder with a new head, on the CPU, with the same weights at every call.

        `attention_dropout` None keeps the encoder's own.
        """
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
        """Floating-point operations of one training epoch over the articles. Padding does not count.

        Forward and backward pass together take 6 operations per token and weight of the encoder's matrices, and
        12 x length x hidden per token and layer for attention (Kaplan et al. 2020, appendix; Chowdhery et al. 2022,
        appendix B). The last layer is needed for one token per text only, so it does not count. If it is not the
        pooling layer, its keys and values do count: they are needed for all tokens. The head does not count, nor do
        the word embeddings, which are looked up and not multiplied.
        """
        config = model.config
        layers = config.num_hidden_layers - 1
        weights = layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
        if not getattr(config, "mean_pooling_layer", False):
            weights += 2 * config.hidden_size**2
        lengths = self.encoded.lengths.astype(float)
        return float(6 * weights * lengths.sum() + 12 * layers * config.hidden_size * (lengths**2).sum())


def matmul_rate(device, seconds=2.0):
    """Operations per second of one large product of random matrices, in the device's precision."""
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
    """Wait until the device has finished its work."""
    if device.device.type == "cuda":
        torch.cuda.synchronize()


class StepClock:
    """Within this context, record when each optimizer step ends, in seconds since the start, in `times`.

    It sees the steps of every torch optimizer. Reading the time waits for the GPU and slows the step down;
    `first_only` records the first step only. Afterwards `seconds` is the time from start to end.
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
    """Restart the measurement of peak memory. First release the memory that earlier work left unused, if possible."""
    gc.collect()
    if device.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # otherwise glibc keeps freed memory
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the memory now in use (man proc)


def peak_memory(device):
    """Peak memory since the last reset, in bytes, of the GPU or else of this process; None if it cannot be reset."""
    if device.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return _memory_status("VmHWM") if os.access("/proc/self/clear_refs", os.W_OK) else None


def memory_in_use():
    """This process's resident memory in bytes; None if the system does not report it."""
    return _memory_status("VmRSS")


def _memory_status(field):
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def hardware(device):
    """A description of the device: a GPU's name, or a CPU's model, threads and vector instructions."""
    if device.device.type != "cpu":
        return device.name
    models = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or "CPU"
    return f"{model}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def encoder_name(arguments):
    """The encoder's name in the figures; never a path."""
    path = Path(arguments.model)
    return arguments.random_init or (path.parent.name if path.name == "model" else path.name)  # runs/<run>/model


def about(device):
    """Part of every record: the device, the date, the versions, the machine and the commit."""
    return {"device": hardware(device), "date": f"{date.today():%Y-%m-%d}", **environment()}


def spread(values):
    """Mean and sample standard deviation, which is 0 for a single value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def plus_minus(values, decimals=0):
    """`mean ± standard deviation` as text."""
    mean, deviation = spread(values)
    return f"{mean:,.{decimals}f} ± {deviation:,.{decimals}f}"


def markdown_table(header, rows):
    """A Markdown table: the first column is left-aligned, the others are right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def record_path(arguments, name, device):
    """The file for the figures: --json, or benchmarks/results/<name>-<device>-<date>.json."""
    if arguments.json:
        return Path(arguments.json)
    kind = "cpu" if device.device.type == "cpu" else "-".join(device.name.lower().split())
    return Path(__file__).parent / "results" / f"{name}-{kind}-{date.today():%Y-%m-%d}.json"


def default_recipe(model, source):
    """The recipe that train.py uses without options. `model` is the encoder's name, `source` its Source."""
    parser = argparse.ArgumentParser()
    add_training_options(parser)
    options = parser.parse_args([])
    options.model = model
    return resolve_recipe(options, describe_source(source))


def plain_recipe(batch_size):
    """One epoch over texts that are already cut. Everything else that affects speed is the scripts' default."""
    return Recipe(
        epochs=1,
        batch_size=batch_size,
        learning_rate=2e-5,
        head_factor=10.0,
        max_length=10**6,
        long_texts="head",
        pooling="mean",
    )
