"""What the benchmarks compute from their measurements, and that each of their parts does what its name says."""

import argparse
import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import common.training.compute.forward
from benchmarks.quality import blend, techniques
from benchmarks.speed import ladder, memory, operators, rivals, scaling, time_to_accuracy, variants
from benchmarks.speed import train as train_speed
from benchmarks.speed.predict import in_class_order
from benchmarks.workload import (
    StepClock,
    Workload,
    encoder_name,
    markdown_table,
    peak_memory,
    plain_recipe,
    plus_minus,
    record_path,
    reset_peak_memory,
)
from common.training.compute.devices import Device
from common.training.encoders.configs import count_parameters
from common.training.loop import fit
from common.training.tokens import Encoded, TokenStore
from tests.conftest import CLASSES

CPU = Device(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def work(small_data):
    return Workload("tiny", None, small_data, 32, 12)


def run_of(seconds, tokens_per_second, operations=None, peak=None):
    return {
        "seconds": seconds,
        "first_step_seconds": seconds / 10,
        "tokens_per_second": tokens_per_second,
        "peak_memory_bytes": peak,
    } | ({} if operations is None else {"operations": operations})


def test_operations_by_hand(work):
    """tiny: two layers and the pooling layer; without that the last takes keys and values of all tokens alone."""
    model, h = work.model(), work.model().config.hidden_size
    inner, lengths = model.config.intermediate_size, work.encoded.lengths.astype(float)
    layer = 6 * (4 * h * h + 2 * h * inner) * lengths.sum() + 12 * h * (lengths**2).sum()
    assert model.config.num_hidden_layers == 3
    assert work.operations(model) == pytest.approx(2 * layer)
    assert work.operations(work.model("first")) == pytest.approx(layer + 6 * 2 * h * h * lengths.sum())


def test_speeds_are_compared_round_by_round():
    runs = {
        "ours": [run_of(2, 500, 40, 7), run_of(4, 250, 40, 9), run_of(2, 500, 40, 8)],
        "ours_fp32": [run_of(4, 250, 40), run_of(4, 250, 40), run_of(4, 250, 40)],
        "trainer": [run_of(6, 100, peak=5), run_of(20, 50, peak=6), run_of(8, 80, peak=4)],
    }
    result = train_speed.summarize(runs, {"ours": 100, "ours_fp32": 20}, {"ours": "bf16", "ours_fp32": "fp32"})
    assert result["speedup_over_trainer"] == 4 and result["speedup_over_trainer_range"] == [3, 5]
    assert result["ours_fp32_speedup_over_trainer"] == 2
    assert result["fraction_of_matmul_rate"] == pytest.approx(40 / 2 / 100)
    assert result["ours_fp32_fraction_of_matmul_rate"] == pytest.approx(40 / 4 / 20)
    assert (result["precision"], result["ours_fp32_precision"]) == ("bf16", "fp32")
    assert (result["tokens_per_second"], result["ours_fp32_tokens_per_second"]) == (500, 250)
    assert (result["peak_memory_bytes"], result["ours_fp32_peak_memory_bytes"]) == (9, None)
    assert "speedup_over_fair_trainer" not in result
    lines = train_speed.final_lines(result, list(runs))
    assert len(lines) == 2 and lines[0].startswith("ours (bf16): 500 tokens/s, 0.20 of")
    assert "4.00 times Trainer (3.00 to 5.00)" in lines[0]


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_the_unpadded_rival_computes_what_transformers_computes(work, pooling):
    model, encoded = work.model(pooling).eval(), work.encoded
    rows = [
        {"input_ids": encoded.tokens[a:b].tolist(), "labels": int(label)}
        for (a, b), label in zip(pairwise(encoded.offsets[:5]), work.labels, strict=False)
    ]
    alone = [model(torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])) for row in rows]
    together = rivals.Unpadded(model)(**rivals.flatten(rows))
    torch.testing.assert_close(together.logits, torch.cat([output.logits for output in alone]), rtol=1e-4, atol=1e-5)
    assert float(together.loss) == pytest.approx(np.mean([float(output.loss) for output in alone]), rel=1e-4)


def test_the_fair_rival_takes_the_same_step_in_both_shapes(small_data):
    """Sixteen texts at once or four times four: one optimizer step, the same weights (no dropout, one batch)."""
    work, weights = Workload("tiny", None, small_data, 16, 16), []
    for shape in rivals.SHAPES:
        for unpadded in (False, True):
            model = work.model("first")
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
            options = rivals.fair_options(CPU, compiled=False, shape=shape)
            with StepClock(CPU) as clock:
                rivals.train_with_trainer(
                    model, work.encoded, work.labels, work.tokenizer, CPU, unpadded=unpadded, **options
                )
            assert len(clock.times) == 1
            weights.append(model.classifier.weight.detach())
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], rtol=1e-4, atol=1e-6)


def test_the_clock_sees_every_optimizer_step():
    weight = torch.nn.Parameter(torch.zeros(1))
    for kind in (torch.optim.AdamW, torch.optim.SGD):
        optimizer = kind([weight], lr=0.1)
        with StepClock(CPU) as every, StepClock(CPU, first_only=True) as first:
            for _ in range(3):
                optimizer.step()
        optimizer.step()
        assert len(every.times) == 3 and every.times == sorted(every.times)
        assert len(first.times) == 1 and first.seconds >= first.times[0]


def test_the_rival_takes_one_gpu_of_several(monkeypatch, work):
    settings, trained = argparse.Namespace(n_gpu=2), []

    class Seen:
        def __init__(self, model, arguments, **_):
            trained.append(arguments._n_gpu)

        def remove_callback(self, callback):
            pass

        def train(self):
            pass

    monkeypatch.setattr(rivals, "TrainingArguments", lambda *_, **__: settings)
    monkeypatch.setattr(rivals, "Trainer", Seen)
    rivals.train_with_trainer(None, work.encoded, work.labels, work.tokenizer, CPU)
    assert trained == [1]


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system has no resettable peak")
def test_peak_memory_forgets_what_came_before():
    reset_peak_memory(CPU)
    block = torch.ones(60_000_000)  # 240 MB
    high = peak_memory(CPU)
    del block
    reset_peak_memory(CPU)
    assert peak_memory(CPU) < high - 200_000_000


def test_names_and_tables():
    assert encoder_name(argparse.Namespace(model="/some/where/e5", random_init=None)) == "e5"
    assert encoder_name(argparse.Namespace(model="runs/first/model", random_init=None)) == "first"
    assert encoder_name(argparse.Namespace(model="starter", random_init="gbert-base")) == "gbert-base"
    assert record_path(argparse.Namespace(json="x.json"), "ladder", CPU).name == "x.json"
    assert record_path(argparse.Namespace(json=None), "ladder", CPU).name.startswith("ladder-cpu-20")
    assert plus_minus([1, 3]) == "2 ± 1" and plus_minus([2.5], 1) == "2.5 ± 0.0"
    assert markdown_table(["a", "b"], [[1, 2]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


def test_rungs_build_on_one_another_and_missing_ones_are_marked():
    def names(rungs):
        return [name for name, rung in rungs if rung is None]

    cpu = ladder.climb(Device(torch.device("cpu"), "bf16"), "packed", compiled=False)
    assert names(cpu) == ["TF32", "compiled layers"]
    assert cpu[0][1] == ladder.Rung()
    for (_, before), (_, after) in pairwise(cpu):
        if before and after:
            assert sum(getattr(before, key) != getattr(after, key) for key in vars(before)) in (1, 2)
    last = next(rung for _, rung in reversed(cpu) if rung)
    assert last == ladder.Rung("sdpa", 0.0, False, "bf16", None, "packed", False, True, True, "mean")
    gpu = ladder.climb(Device(torch.device("cuda"), "bf16"), "padded", compiled=True)
    assert names(gpu) == ["no padding", "last layer for the first token only", "dropout from random words"]
    assert gpu[-1][1].tf32 and gpu[-1][1].compiled


def test_every_rung_computes_the_same(work, tmp_path):
    """Dropout off: the rungs are ways to the same weights."""
    weights = []
    for name, rung in ladder.climb(CPU, "packed", compiled=False):
        if rung is None or rung.pooling == "mean":
            continue
        model = work.model(rung.pooling, 0.0)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.config._attn_implementation = rung.attention
        step = ladder.make_step(rung, model, work, plain_recipe(4), CPU)
        fit(step, tmp_path / name)
        assert step.mode == rung.mode
        assert {group["fused"] for group in step.optimizer.param_groups} == {True if rung.fused_optimizer else None}
        scaler = torch.amp.GradScaler("cpu")  # on fp16 GPUs; it refused an optimizer that was fused once
        scaler.scale(step.optimizer.param_groups[0]["params"][0].sum()).backward()
        scaler.unscale_(step.optimizer)
        scaler.step(step.optimizer)
        weights.append(model.classifier.weight.detach())
    assert len(weights) > 4
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_the_whole_last_layer_gives_what_one_query_a_text_gives(work):
    model = work.model("first").eval()
    batch = TokenStore(work.encoded, CPU.device).gather(np.arange(5))
    layer, hidden = model.bert.encoder.layer[-1], torch.randn(len(batch.ids), model.config.hidden_size)
    for mode in ("packed", "rectangle"):
        attend, segments = common.training.compute.forward.choose_attention(batch, mode, hidden.dtype)
        whole = ladder._whole_layer(layer, hidden, batch, attend, segments)
        first = common.training.compute.forward._first_token_layer(layer, hidden, batch, attend, segments)
        torch.testing.assert_close(whole, first, rtol=1e-4, atol=1e-5)


def test_a_ladders_table_shows_what_is_missing():
    runs = {
        "plain": [{"tokens_per_second": 100.0}],
        "TF32": [],
        "bf16": [{"tokens_per_second": 200.0}],
        "packed": [{"tokens_per_second": 300.0}],
    }
    assert ladder.table(runs).splitlines()[2:] == [
        "| plain | 100 ± 0 | 1.00 | 1.00 |",
        "| TF32 | – | – | – |",
        "| bf16 | 200 ± 0 | 2.00 | 2.00 |",
        "| packed | 300 ± 0 | 1.50 | 3.00 |",
    ]


def test_texts_of_a_length_are_cut_from_the_stream_of_tokens():
    encoded = Encoded(np.arange(10, dtype=np.int32), np.array([0, 3, 10]))
    texts = scaling.of_length(encoded, 4, 4)
    assert texts.lengths.tolist() == [4, 4, 4, 4]
    assert texts.tokens.tolist() == [*range(10), *range(6)]


def test_pipeline_scores_are_put_into_class_order():
    scores = [
        [{"label": "b", "score": 0.9}, {"label": "a", "score": 0.1}],
        [{"label": "a", "score": 0.7}, {"label": "b", "score": 0.3}],
    ]
    assert in_class_order(scores, ["a", "b"]) == pytest.approx(np.array([[0.1, 0.9], [0.7, 0.3]]))


@pytest.mark.parametrize("name", ["gbert-base", "gbert-large", "gelectra-large"])
def test_the_memory_estimate_is_the_loops_own(name):
    """A GPU whose nine tenths hold the estimate for a budget is given that budget."""
    model = memory.build(name)
    millions = {"gbert-base": 110, "gbert-large": 335, "gelectra-large": 335}[name]  # as their cards have it
    assert count_parameters(model) / 1e6 == pytest.approx(millions, rel=0.08)
    for tokens in (1000, 5000):
        assert memory.choose_budget(model, memory.estimate(model, tokens) / 0.9) == pytest.approx(tokens, abs=2)
    assert memory.estimate_row(name)[3:] == [
        "–"
        if memory.estimate(model, 512) > 0.9 * size * memory.GIB
        else f"yes ({memory.choose_budget(model, size * memory.GIB):,})"
        for size in memory.SIZES
    ]


def test_time_to_accuracy():
    epochs = [{"seconds": 10, "accuracy": 0.5}, {"seconds": 20, "accuracy": 0.8}, {"seconds": 30, "accuracy": 0.7}]
    assert time_to_accuracy.seconds_to(epochs, 0.8) == 20
    assert time_to_accuracy.seconds_to(epochs, 0.4) == 10
    assert time_to_accuracy.seconds_to(epochs, 0.9) is None
    runs = {
        ("ours", 0): epochs,
        ("fair", 0): [{"seconds": 40, "accuracy": 0.6}, {"seconds": 80, "accuracy": 0.75}],
        ("ours", 1): epochs,
        ("fair", 1): [{"seconds": 45, "accuracy": 0.4}, {"seconds": 90, "accuracy": 0.6}],
        ("ours", 2): epochs,
    }
    lines = time_to_accuracy.table(runs, "fair").splitlines()
    assert lines[2] == "| 0 | 75.0% after 80 s | 70.0% after 30 s | 70.0% | 80 | 20 | 4.0 |"
    assert lines[3] == "| 1 | 60.0% after 90 s | 70.0% after 30 s | 60.0% | 90 | 20 | 4.5 |"
    assert lines[-1] == "4.2 ± 0.4 times sooner there, 2.8 ± 0.2 times to the end"
    assert len(lines) == 6


@pytest.mark.parametrize("rival", ["fair", "trainer"])
def test_a_race_is_recorded_and_not_run_again(small_data, tmp_path, rival, capsys):
    command = ["--model", "tiny", "--data", str(small_data), "--max-length", "32", "--seeds", "1", "--rival", rival]
    command += ["--epochs", "2", "--lengths", "16", "--rival-epochs", "2", "--results", str(tmp_path / "race.jsonl")]
    assert time_to_accuracy.main(command) == 0
    ours, theirs = map(json.loads, (tmp_path / "race.jsonl").read_text().splitlines())
    assert (ours["who"], theirs["who"]) == ("ours", rival)
    assert (len(ours["epochs"]), len(theirs["epochs"])) == (2, 2 if rival == "fair" else 3)
    seconds = [epoch["seconds"] for run in (ours, theirs) for epoch in run["epochs"]]
    assert seconds[0] < seconds[1] and seconds[2] < seconds[3]
    told = capsys.readouterr().out
    assert time_to_accuracy.main([*command, "--table"]) == 0
    assert told.endswith(capsys.readouterr().out)
    assert len((tmp_path / "race.jsonl").read_text().splitlines()) == 2
    command[command.index("32")] = "128"  # covers all texts
    assert time_to_accuracy.main([*command, "--rival-epochs", "1"]) == 0


def test_a_workload_repeats_its_articles(small_data):
    work = Workload("tiny", None, small_data, 16, 100)
    assert len(work.texts) == len(work.labels) == len(work.encoded.lengths) == 100
    assert work.texts[45:90] == work.texts[:45] and work.classes == list(CLASSES)
    first, second = (work.model().state_dict() for _ in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_the_end_of_a_text_and_both_ends():
    text = Encoded(np.array([1, 10, 11, 12, 13, 14, 2]), np.array([0, 7]))
    assert techniques.tails(text, 5).tokens.tolist() == [1, 12, 13, 14, 2]
    assert techniques.tails(text, 5, head_share=0.34).tokens.tolist() == [1, 10, 13, 14, 2]
    assert techniques.tails(text, 9).tokens.tolist() == text.tokens.tolist()


def test_a_layer_drawn_anew_is_new_and_the_others_are_not():
    model = BertForSequenceClassification(
        BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    )
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    techniques.reset_top_layers(model, 1)
    changed = {name for name, weights in model.state_dict().items() if not torch.equal(weights, before[name])}
    assert changed and all(".layer.1." in name for name in changed)
    matrices = {name for name in before if ".layer.1." in name and before[name].ndim == 2}
    assert matrices == changed  # biases and norms were as drawn


def test_variants_of_a_step_compute_its_gradient(capsys):
    """Up to rounding in bf16. Microbatches of other sizes are left out: their dropout masks differ."""
    arguments = ["--model", "tiny", "--max-length", "16", "--batch-size", "4", "--repeats", "1"]
    assert variants.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    off = {name: float(line.rsplit(" ", 1)[1]) for name, line in zip(variants.VARIANTS, lines, strict=True)}
    for name in ("casts once a step", "softmax in place", "fused attention", "contiguous heads"):
        assert off[name] < 0.02, lines
    assert off[variants.PLAIN] == 0


def test_shares_of_time_by_hand():
    seconds = {"aten::mm": 4.0, "aten::addmm": 2.0, "aten::gelu": 3.9, "aten::view": 0.1 * 0.99}
    shares = dict(operators.shares_of_time(seconds))
    assert shares["products"] == pytest.approx(6 / sum(seconds.values()))
    assert list(shares) == ["products", "aten::mm", "aten::gelu", "aten::addmm"]  # view takes less than 1 %


def test_a_blend_is_compared_with_the_mean_of_the_single_models():
    """Four rows of class a: the seeds predict 1 and 3 of them correctly, the blend all."""
    wrong, right = [0.0, 1.0], [1.0, 0.0]
    singles = [np.array([right, wrong, wrong, wrong]), np.array([right, right, right, wrong])]
    result = blend.compare(np.array(["a"] * 4, dtype=object), singles, {"both": np.array([right] * 4)}, ["a", "b"])
    assert result["one"]["accuracy"] == pytest.approx({"mean": 0.5, "deviation": np.std([0.25, 0.75], ddof=1)})
    assert result["systems"]["both"]["accuracy"]["value"] == 1
    assert result["systems"]["both"]["accuracy"]["difference"] == pytest.approx(0.5)
    low, high = result["systems"]["both"]["accuracy"]["interval"]
    assert 0 <= low < 0.5 < high <= 1


@pytest.mark.slow  # six trainings
def test_a_blend_from_start_to_end(small_data, in_tmp, capsys):
    arguments = ["--model", "tiny", "--data", str(small_data), "--folds", "3", "--seeds", "2", "--json", "blend.json"]
    options = ["--max-length", "16", "--max-steps", "2", "--device", "cpu"]
    assert blend.main([*arguments, *options]) == 0
    table = capsys.readouterr().out
    assert "15 rows set aside, 30 to learn from" in table and "| seeds, student, tfidf |" in table
    record = json.loads(Path("blend.json").read_text(encoding="utf-8"))
    assert list(record["systems"]) == ["seeds", "tfidf", "teacher", "student", *map(", ".join, blend.BLENDS)]
