"""Which device computes, in which number format, and what is said where one cannot be used."""

import os
import platform
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, Gemma3Config, PerceiverConfig

import common.training.compute.devices
from common.cli import UserError
from common.data import load_dataset
from common.training.compute import compiling
from common.training.compute.devices import Device, open_device
from common.training.compute.memory import is_out_of_memory, microbatch_budget
from common.training.encoders.configs import count_parameters
from common.training.encoders.models import load_model
from common.training.encoders.sources import find_source
from common.training.encoders.tokenizer import load_tokenizer
from common.training.prediction import predict
from common.training.tokens import encode


@pytest.mark.parametrize(("able", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_trains_in_bf16_where_it_is_native(monkeypatch, able, expected):
    monkeypatch.setattr(common.training.compute.devices, "_cpu_has_bf16", lambda: able)
    assert open_device("cpu", "auto", distributed=False).precision == expected
    for given in ("fp32", "bf16"):
        assert open_device("cpu", given, distributed=False).precision == given


@pytest.mark.skipif(platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(), reason="no list of flags")
def test_native_bf16_is_what_the_system_lists():
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert common.training.compute.devices._cpu_has_bf16() == bool({"avx512_bf16", "amx_tile"} & flags)


def test_a_cpu_predicts_in_float32(small_data):
    dataset = load_dataset(small_data)
    source = find_source("tiny")
    tokenizer, _ = load_tokenizer(source, dataset.train["text"])
    model = load_model(source, tokenizer, dataset.classes, seed=0, pooling="mean")
    texts = encode(tokenizer, dataset.train["text"][:10].tolist(), 32)
    devices = {name: Device(torch.device("cpu"), name).predicting() for name in ("fp32", "bf16")}
    by_precision = {name: predict(model, texts, device) for name, device in devices.items()}
    assert np.array_equal(by_precision["bf16"], by_precision["fp32"])
    with Device(torch.device("cpu"), "bf16").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def describe_gpu(monkeypatch, capability=(8, 0), kernels=("sm_80", "sm_90"), free=16e9, total=16e9, reserved=0):
    """A CUDA GPU as torch describes it: only what `open_device` and the budget ask."""
    answers = {
        "is_available": True,
        "device_count": 1,
        "get_device_capability": capability,
        "get_device_name": "Test GPU",
        "get_arch_list": list(kernels),
        "set_device": None,
        "mem_get_info": (int(free), int(total)),
        "memory_reserved": int(reserved),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)


@pytest.fixture
def no_gpu(monkeypatch, tmp_path):
    """A build for CUDA 13 that can use no GPU; `nvidia-smi` is what a test puts into the returned folder."""

    def too_old():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12040).")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", too_old)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def put_gpu(folder, code=0):
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho 'GPU 0: Tesla T4 (UUID: GPU-1)'\nexit {code}\n")
    tool.chmod(0o755)


@pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")), reason="there is a GPU")
def test_a_gpu_that_torch_cannot_use_is_not_passed_over(no_gpu, monkeypatch):
    """A driver too old for the build once meant hours of training on the CPU, without a word."""
    assert open_device("auto", "fp32", distributed=False).device.type in ("cpu", "mps")  # no GPU at all
    put_gpu(no_gpu)
    with pytest.raises(UserError, match=r"NVIDIA GPU.*driver on your system is too old.*--device cpu"):
        open_device("auto", "fp32", distributed=False)
    with pytest.raises(UserError, match=r"--device cuda: .*too old"):
        open_device("cuda", "fp32", distributed=False)
    assert open_device("cpu", "fp32", distributed=False).device.type == "cpu"
    put_gpu(no_gpu, code=9)  # the tool is there, the GPU is not
    assert open_device("auto", "fp32", distributed=False).device.type != "cuda"
    put_gpu(no_gpu)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose
    assert open_device("auto", "fp32", distributed=False).device.type != "cuda"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.version, "cuda", None)  # a build without CUDA was chosen
    assert open_device("auto", "fp32", distributed=False).device.type != "cuda"


@pytest.mark.parametrize(
    ("capability", "kernels", "usable"),
    [
        ((7, 0), ("sm_75", "sm_80", "sm_90", "sm_120", "compute_120"), False),  # V100 and a build for CUDA 13
        ((7, 0), ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80"), True),
        ((7, 5), ("sm_75", "sm_80"), True),
        ((8, 6), ("sm_75", "sm_80"), True),  # code for 8.0 runs on 8.6
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80",), False),
        ((9, 0), ("sm_80", "compute_80"), True),  # the driver translates
    ],
)
def test_a_gpu_without_kernels_is_named_with_the_build_that_has_them(monkeypatch, capability, kernels, usable):
    describe_gpu(monkeypatch, capability, kernels)
    if usable:
        assert open_device("auto", "auto", distributed=False).device.type == "cuda"
        return
    with pytest.raises(UserError, match=r"Test GPU \(sm_\d\d\).*has kernels only for sm_.*whl/cu126"):
        open_device("auto", "auto", distributed=False)


def test_memory_is_asked_for_in_segments_that_grow(monkeypatch):
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    open_device("cpu", "fp32", distributed=False)
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:64")  # the user's own
    open_device("cpu", "fp32", distributed=False)
    assert os.environ["PYTORCH_ALLOC_CONF"] == "max_split_size_mb:64"


def test_float32_on_a_gpu_is_said_to_be_tf32(monkeypatch):
    describe_gpu(monkeypatch)
    assert Device(torch.device("cuda"), "fp32").words == "Test GPU, fp32 with TF32 products"
    assert Device(torch.device("cuda"), "bf16").words == "Test GPU, bf16"
    assert Device(torch.device("cpu"), "fp32").words == "cpu, fp32"


def test_the_budget_comes_from_the_memory_that_is_free(monkeypatch):
    model = BertForSequenceClassification(BertConfig(vocab_size=99, hidden_size=64, num_attention_heads=2))
    weights, per_token = count_parameters(model), 12 * 64 * 60
    gpu = Device(torch.device("cuda"), "bf16")
    describe_gpu(monkeypatch, free=1e9, total=80e9)  # another process has the rest
    assert microbatch_budget(model, gpu) == int((0.9e9 - 18 * weights) / per_token)
    describe_gpu(monkeypatch, free=0.25e9, total=80e9, reserved=0.75e9)  # this process's own, of the run before
    assert microbatch_budget(model, gpu) == int((0.9e9 - 18 * weights) / per_token)


def test_the_budget_of_a_rare_architecture(monkeypatch):
    """Some keep their sizes in a part of their configuration, some have none of these names."""
    describe_gpu(monkeypatch, free=1e9, total=80e9)
    gpu, model = Device(torch.device("cuda"), "bf16"), torch.nn.Linear(4, 4)
    model.config = Gemma3Config(text_config={"num_hidden_layers": 12, "hidden_size": 1000})
    assert microbatch_budget(model, gpu) == int((0.9e9 - 18 * 20) / (12 * 1000 * 60))
    model.config = PerceiverConfig()
    assert microbatch_budget(model, gpu) == 512


def test_errors_that_mean_full_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
    assert not is_out_of_memory(RuntimeError("shape mismatch")) and not is_out_of_memory(ValueError("out of memory"))


def test_compiling_pays_by_the_gpus_speed_and_the_runs_that_share_it(monkeypatch):
    describe_gpu(monkeypatch)
    monkeypatch.setattr(compiling, "compile_failure", lambda device: None)
    model = torch.nn.Linear(10**4, 10**4, bias=False, device="meta")  # 6e8 operations a token
    gpu = Device(torch.device("cuda"), "bf16")
    for rate, tokens, expected in ((4e14, 30e6, False), (4e14, 34e6, True), (4e13, 34e5, True), (4e13, 30e5, False)):
        monkeypatch.setattr(compiling, "product_rate", lambda device, rate=rate: rate)
        assert compiling.wants_compile("auto", gpu, model, tokens) == (expected, None)
    assert compiling.wants_compile("auto", Device(torch.device("cpu"), "bf16"), model, 1e12) == (False, None)
    assert compiling.wants_compile("on", gpu, model, 1) == (True, None)


def test_where_compiling_does_not_work_training_goes_on_without(monkeypatch):
    """A machine without a C compiler."""

    def no_compiler(function):
        def call(x):
            raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.\nMore")

        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    compiling.compile_failure.cache_clear()
    model, device = torch.nn.Linear(100, 100), Device(torch.device("cpu"), "bf16")
    monkeypatch.setattr(compiling, "_pays", lambda *_: True)
    wanted, line = compiling.wants_compile("auto", device, model, 1e12)
    assert not wanted and line.startswith("not compiling: Failed to find C compiler.") and "python3-dev" in line
    with pytest.raises(UserError, match="--compile on: Failed to find C compiler"):
        compiling.wants_compile("on", device, model, 1)
    compiling.compile_failure.cache_clear()
