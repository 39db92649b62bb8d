"""What the speed benchmarks share: encoders of true size with random weights, articles, operation counts, ceilings."""

import time

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, ElectraConfig, ElectraForSequenceClassification

from common.batching import encode
from common.data import load_dataset
from common.models import add_mean_pooling, find_source, load_model, load_tokenizer
from common.tiny import build_tiny_tokenizer

BERT = {"vocab_size": 31102, "pad_token_id": 0}  # the vocabulary of deepset's German models
ARCHITECTURES = {
    "gbert-base": (BertForSequenceClassification, BertConfig, {"hidden_size": 768, "num_hidden_layers": 12,
                   "num_attention_heads": 12, "intermediate_size": 3072}),
    "gbert-large": (BertForSequenceClassification, BertConfig, {"hidden_size": 1024, "num_hidden_layers": 24,
                    "num_attention_heads": 16, "intermediate_size": 4096}),
    "gelectra-large": (ElectraForSequenceClassification, ElectraConfig, {"embedding_size": 1024, "hidden_size": 1024,
                       "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}),
}  # fmt: skip


class Workload:
    """Articles, tokenized for an encoder, and a way to make that encoder anew with the same weights."""

    def __init__(self, model, random_init, data, max_length, rows):
        dataset = load_dataset(data)
        texts = (dataset.train["text"].tolist() * (rows // len(dataset.train) + 1))[:rows]
        labels = (dataset.train["label"].tolist() * (rows // len(dataset.train) + 1))[:rows]
        self.classes, self.texts = dataset.classes, texts
        self.labels = np.array([self.classes.index(label) for label in labels])
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
            return load_model(self.source, self.tokenizer, self.classes, seed=seed, pooling=pooling,
                              attention_dropout=attention_dropout)  # fmt: skip
        torch.manual_seed(seed)
        kind, config, sizes = ARCHITECTURES[self.random_init]
        dropouts = {} if attention_dropout is None else {"attention_probs_dropout_prob": attention_dropout}
        model = kind(config(num_labels=len(self.classes), **BERT, **sizes, **dropouts))
        if pooling == "mean":
            add_mean_pooling(model)
        return model

    def operations(self, model):
        """Floating-point operations of one training pass over the articles, counted for real tokens alone.

        Forward and backward: 6 per weight of the encoder's matrices and token, and 12 x length x hidden per token and
        layer for attention (Kaplan et al. 2020, appendix; Chowdhery et al. 2022, appendix B). The pooling layer and
        the head work on one token a text and are left out; so is the word table, which is looked up, not multiplied.
        """
        config = model.config
        layers = config.num_hidden_layers - bool(getattr(config, "mean_pooling_layer", False))
        weights = layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
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


def peak_memory(device):
    """The most memory used since the last reset, in bytes: the GPU's, or the process's high-water mark."""
    if device.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
