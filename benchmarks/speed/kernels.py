"""Count the kernels that a training step starts on a GPU, and how often the host waits for it. Needs no GPU.

    python -m benchmarks.speed.kernels
    python -m benchmarks.speed.kernels --architecture bert --precision fp16 --json kernels.json

A simulated accelerator (torch's private-use device with fake tensors, which have shapes but no values) runs one step of
common/training/step.py with real autograd. Each operator that computes something on the device counts as one kernel;
views and allocations do not count. An operator that mixes host and device tensors is an error. The host waits if it
reads a value back, if the size of a result depends on values, or if a copy is not asynchronous from pinned memory.
The simulated device follows CUDA where this changes the count: autocast, fused dropout, fused attention, one kernel for
many tensors. cuBLAS, layer norms and the optimizer may start two or three kernels where this script counts one.
The script changes torch's state for the whole process, so run it in its own process.
"""

import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from benchmarks.options import new_parser
from benchmarks.workload import markdown_table, plain_recipe
from common.cli import number
from common.files import write_json
from common.training.compute.devices import Device
from common.training.encoders.pooling import add_mean_pooling, encoder_layers
from common.training.step import Step
from common.training.tokens import Encoded

NAME = "simulated"
# Operators that autocast on CUDA computes in 16 bits and in float32; only those that encoders use
# (https://docs.pytorch.org/docs/stable/amp.html, "CUDA Ops that can autocast").
IN_16_BITS = ("addmm", "baddbmm", "bmm", "linear", "matmul", "mm", "scaled_dot_product_attention")
IN_32_BITS = ("cumsum", "exp", "layer_norm", "log_softmax.int", "nll_loss", "pow.Tensor_Scalar", "softmax.int", "sum")
FREE = {"_pin_memory", "_unsafe_view", "empty", "empty_like", "empty_strided", "is_pinned", "new_empty"}
WAITING = {"_local_scalar_dense", "_unique2", "equal", "masked_select", "nonzero", "unique_consecutive", "unique_dim"}
COPIES = {"_to_copy", "copy_"}
# name -> (class prefix in transformers, sizes that differ from the configuration's defaults), each in base size
ARCHITECTURES = {
    "bert": ("Bert", {"vocab_size": 31102}),
    "electra": ("Electra", {"vocab_size": 31102, "embedding_size": 768}),
    "roberta": ("Roberta", {"vocab_size": 52009, "max_position_embeddings": 514}),
    "xlm-roberta": ("XLMRoberta", {"vocab_size": 250002, "max_position_embeddings": 514}),
    "camembert": ("Camembert", {"vocab_size": 32005, "max_position_embeddings": 514}),
    "distilbert": ("DistilBert", {"vocab_size": 31102, "dim": 768, "n_heads": 12, "hidden_dim": 3072}),
    "modernbert": ("ModernBert", {"vocab_size": 50368, "intermediate_size": 1152}),
    "eurobert": ("EuroBert", {"vocab_size": 128256, "num_key_value_heads": 12}),
}


class SimulatedModule(_DummyBackendModule):
    """The module `torch.simulated`."""

    @staticmethod
    def get_amp_supported_dtype():
        """The number formats of autocast."""
        return [torch.bfloat16, torch.float16]


@torch.library.custom_op("simulated::attention", mutates_args=())
def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    raise NotImplementedError("fake tensors only")


@_attention.register_fake
def _(query, key, value, mask):
    texts, heads, length, size = query.shape
    return query.new_empty(texts, length, heads, size).transpose(1, 2)


@torch.library.custom_op("simulated::attention_backward", mutates_args=())
def _attention_backward(
    gradient: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    raise NotImplementedError("fake tensors only")


@_attention_backward.register_fake
def _(gradient, query, key, value):
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


_attention.register_autograd(
    lambda ctx, gradient: (*_attention_backward(gradient, *ctx.saved_tensors), None),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[:3]),
)


def install():
    """Register the device; returns the torch libraries, which must stay alive while it is used."""
    _setup_privateuseone_for_python_backend(NAME, SimulatedModule())
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) makes a host tensor and copies it
    everything = torch.library.Library("_", "IMPL")
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    library = torch.library.Library("aten", "IMPL")
    for names, fixed in ((IN_16_BITS, None), (IN_32_BITS, torch.float32)):
        for name in names:
            library.impl(name, _autocast(name, fixed), "AutocastPrivateUse1")
    library.impl("dropout", _dropout, "AutogradPrivateUse1")
    library.impl("scaled_dot_product_attention", _fused_attention, "AutogradPrivateUse1")
    return everything, library


def _autocast(name, fixed):
    """The operator with its floating-point device tensors cast to `fixed`, or to autocast's number format if None."""
    packet, _, overload = name.partition(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def cast(value):
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.device.type == NAME:
            return value.to(fixed or torch.get_autocast_dtype(NAME))
        return value

    def run(*positional, **named):
        with torch._C._ExcludeDispatchKeyGuard(key):
            return operator(*map(cast, positional), **{name: cast(value) for name, value in named.items()})

    return run


def _dropout(x, rate, training):
    return torch.ops.aten.native_dropout(x, rate, training)[0] if training and rate else x


def _fused_attention(query, key, value, mask=None, dropout=0.0, causal=False, *, scale=None, enable_gqa=False):
    if mask is not None and mask.dtype == torch.bool:  # like torch on CUDA: each call makes a mask of numbers
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), -torch.inf)
    return torch.ops.simulated.attention(query, key, value, mask)


class Recorder(TorchDispatchMode):
    """Within this context, record the operators that compute on the device, and where the host waits for it.

    Raises RuntimeError if an operator mixes device tensors with a host tensor that is not a single number.
    """

    def __init__(self):
        super().__init__()
        self.kernels = []  # (operator, whether it belongs to the backward pass)
        self.waits = []  # (operator, our line of code that caused it)
        self.pinned = []

    def __torch_dispatch__(self, function, types, positional=(), named=None):
        named = named or {}
        name = function._schema.name.rpartition("::")[2]
        if name == "_pin_memory":
            self.pinned.append(positional[0])
            return positional[0]
        if name == "is_pinned":
            return any(positional[0] is tensor for tensor in self.pinned)
        inputs = [leaf for leaf in tree_leaves((positional, named)) if isinstance(leaf, torch.Tensor)]
        on_device = any(tensor.device.type == NAME for tensor in inputs)
        if on_device and name not in COPIES and any(tensor.device.type == "cpu" and tensor.ndim for tensor in inputs):
            raise RuntimeError(f"a host tensor meets a device tensor in {function} ({_line()})")
        if self._waits(name, inputs, positional, named):
            self.waits.append((name, _line()))
        if name in COPIES:
            inputs[-1].constant = None  # a fake host tensor may know its values; the copy must not
        if name == "_local_scalar_dense" and on_device:
            # any value will do: fake tensors have none
            return {torch.bool: False, torch.int64: 1}.get(inputs[0].dtype, 1.0)
        output = function(*positional, **named)
        on_device |= any(isinstance(x, torch.Tensor) and x.device.type == NAME for x in tree_leaves(output))
        view = any(value.alias_info and not value.alias_info.is_write for value in function._schema.returns)
        if on_device and not view and name not in FREE and function.namespace != "prim":
            self.kernels.append((name, torch._C._current_autograd_node() is not None))
        return output

    def _waits(self, name, inputs, positional, named):
        if not any(tensor.device.type == NAME for tensor in inputs):
            target = named.get("device")
            if name != "_to_copy" or target is None or torch.device(target).type != NAME:
                return False
        if name in COPIES:
            kinds = {tensor.device.type for tensor in inputs} | {torch.device(named.get("device") or NAME).type}
            source = inputs[-1]
            pinned = any(source is tensor for tensor in self.pinned)
            blocking = not (named.get("non_blocking") or (name == "copy_" and len(positional) > 2 and positional[2]))
            return len(kinds) > 1 and (blocking or (source.device.type == "cpu" and not pinned))
        if name == "repeat_interleave":
            return named.get("output_size") is None
        if name in ("index", "index_put", "index_put_"):
            return any(tensor.dtype == torch.bool for tensor in tree_leaves(positional[1]) if tensor is not None)
        return name in WAITING


def _line():
    """The innermost line of code in common/, as file:line."""
    ours = [frame for frame in traceback.extract_stack() if "/common/" in frame.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "-"


@dataclass(frozen=True)
class Case:
    """A step to run: an architecture with `layers` layers, in a mode of common/training/compute/forward.py."""

    architecture: str
    mode: str
    precision: str = "bf16"
    pooling: str = "first"
    layers: int = 12
    lengths: tuple[int, ...] = (512,) * 8 + tuple(range(50, 450, 50))


def modes_of(architecture):
    """The modes in which a GPU may compute this architecture."""
    with torch.device("meta"):
        return ("varlen", "rectangle") if encoder_layers(build(architecture, 1)) is not None else ("padded",)


def build(architecture, layers):
    """The architecture with a classification head, on torch's default device."""
    name, sizes = ARCHITECTURES[architecture]
    config = getattr(transformers, f"{name}Config")(
        num_labels=9,
        pad_token_id=0,
        attention_dropout=0.0,
        attention_probs_dropout_prob=0.0,
        **{"n_layers" if architecture == "distilbert" else "num_hidden_layers": layers},
        **sizes,
    )
    return getattr(transformers, f"{name}ForSequenceClassification")(config)


def run_step(case, prepare=lambda step: None):
    """Run one optimizer step on the device; returns its Recorder. `prepare(step)` may change the Step first.

    An earlier step, which creates the optimizer's state, is not recorded.
    """
    device = Device(torch.device(NAME), case.precision)
    encoded = Encoded(
        np.random.default_rng(0).integers(5, 1000, sum(case.lengths)).astype(np.int32), np.cumsum([0, *case.lengths])
    )
    # torch decides by a tensor's exact type whether many tensors can share a kernel. On CUDA they can.
    one_kernel = mock.patch("torch.nn.utils.clip_grad._has_foreach_support", return_value=True)
    scaler = mock.patch("torch.amp.GradScaler", lambda kind, scaler=torch.amp.GradScaler: scaler(NAME))
    # transformers mistakes fake tensors for a graph capture and then skips checks that it makes on a GPU.
    eager = mock.patch("transformers.masking_utils.is_tracing", return_value=False)
    # A module of fake tensors cannot be moved, so it is created on the device.
    stay = mock.patch("torch.nn.Module.to", lambda module, *_: module)
    with FakeTensorMode(allow_non_fake_inputs=True), Recorder() as recorder, one_kernel, scaler, eager, stay:
        with torch.device(NAME):
            model = build(case.architecture, case.layers)
            if case.pooling == "mean":
                add_mean_pooling(model)
        rows = np.arange(len(case.lengths))
        step = Step(model, encoded, rows % 9, plain_recipe(len(rows)), 0, device, budget=10**9)
        step.mode = case.mode
        prepare(step)
        step.begin_epoch(0)
        for _ in range(2):
            recorder.kernels, recorder.waits = [], []
            step(0, rows, 1.0)
    return recorder


def count(recorder):
    """The kernels per part of the step, and the waits, as a JSON object."""
    backward = [place for place, (_, is_backward) in enumerate(recorder.kernels) if is_backward]
    return {
        "forward": sum(not is_backward for _, is_backward in recorder.kernels[: backward[-1]]),
        "backward": len(backward),
        "update": len(recorder.kernels) - backward[-1] - 1,
        "waits": [f"{name} at {line}" for name, line in recorder.waits],
    }


def main(argv=None):
    """Count, print and record; returns the exit code."""
    parser = new_parser(__doc__, "json", precision="bf16")
    parser.add_argument(
        "--architecture", choices=sorted(ARCHITECTURES), help="count only this architecture (default: all)"
    )
    parser.add_argument("--layers", type=number(int, 1), default=12, help="number of encoder layers")
    arguments = parser.parse_args(argv)
    keep = install()
    records, rows = [], []
    for architecture in [arguments.architecture] if arguments.architecture else ARCHITECTURES:
        for mode in modes_of(architecture):
            case = Case(architecture, mode, arguments.precision, layers=arguments.layers)
            for pooling in ("first", "mean") if "varlen" in modes_of(architecture) else ("first",):
                counted = count(run_step(replace(case, pooling=pooling)))
                records.append({"architecture": architecture, "mode": mode, "pooling": pooling, **counted})
                kernels = [counted[part] for part in ("forward", "backward", "update")]
                rows.append([f"{architecture}, {mode}, {pooling}", *kernels, sum(kernels), len(counted["waits"])])
                print(rows[-1], *counted["waits"], flush=True)
    del keep
    print(markdown_table(["kernels per step", "forward", "backward", "update", "all", "host waits"], rows))
    if arguments.json:
        write_json(arguments.json, {"precision": arguments.precision, "layers": arguments.layers, "cases": records})
    return 0


if __name__ == "__main__":
    sys.exit(main())
