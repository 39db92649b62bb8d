"""Which number format computes where."""

import platform
from pathlib import Path

import numpy as np
import pytest
import torch

import common.training.devices
from common.data import load_dataset
from common.training.devices import Device, open_device
from common.training.models import load_model
from common.training.prediction import predict
from common.training.sources import find_source
from common.training.tokenizer import load_tokenizer
from common.training.tokens import encode


@pytest.mark.parametrize(("able", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_trains_in_bf16_where_it_is_native(monkeypatch, able, expected):
    monkeypatch.setattr(common.training.devices, "_cpu_has_bf16", lambda: able)
    assert open_device("cpu", "auto", distributed=False).precision == expected
    for given in ("fp32", "bf16"):
        assert open_device("cpu", given, distributed=False).precision == given


@pytest.mark.skipif(platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(), reason="no list of flags")
def test_native_bf16_is_what_the_system_lists():
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert common.training.devices._cpu_has_bf16() == bool({"avx512_bf16", "amx_tile"} & flags)


def test_a_cpu_predicts_in_float32(small_data):
    dataset = load_dataset(small_data)
    source = find_source("tiny")
    tokenizer, _ = load_tokenizer(source, dataset.train["text"])
    model = load_model(source, tokenizer, dataset.classes, seed=0, pooling="mean")
    texts = encode(tokenizer, dataset.train["text"][:10].tolist(), 32)
    by_precision = {name: predict(model, texts, Device(torch.device("cpu"), name)) for name in ("fp32", "bf16")}
    assert np.array_equal(by_precision["bf16"], by_precision["fp32"])
    with Device(torch.device("cpu"), "bf16").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
