"""Every architecture that transformers classifies texts with: equal to the library, or refused in one line."""

import pytest
import torch
from transformers import pipeline
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from common.cli import UserError
from common.training.compute.devices import Device
from common.training.compute.forward import choose_mode, compute_logits
from common.training.encoders.architectures import BERT_LIKE, can_pool_by_mean
from common.training.encoders.models import load_model
from common.training.encoders.sources import find_source
from common.training.encoders.tokenizer import load_tokenizer
from common.training.encoders.trial import try_model
from common.training.saved import write_model
from common.training.tokens import TokenStore, encode
from tests.training.encoder_folders import edit_json, load
from tests.training.small_encoders import TEXTS, save_small_encoder
from tests.training.test_train import QUICK as QUICK_RUN
from tests.training.test_train import files, refused

CPU = Device(torch.device("cpu"), "fp32")
CLASSES = ["Kultur", "Sport", "Wirtschaft"]
QUICK = ["bert", "electra", "roberta", "xlm-roberta", "camembert", "data2vec-text", "roberta-prelayernorm", "fnet"]
QUICK += ["distilbert", "deberta-v2", "modernbert", "eurobert", "mpnet", "xlnet", "bart", "gpt2", "llama", "falcon"]
# transformers 5.23 has no small form of these, or wants more than text; each was looked at by hand.
NOT_SMALL = {"axk1", "cohere_compass_text", "gemma3", "layoutlmv2", "modernvbert", "perceiver", "qwen3_5", "t5gemma"}
NOT_SMALL |= {"t5gemma2", "ultravbert", "zamba", "zamba2"}
REFUSED = {
    "qwen2": "gives other tokens than transformers",  # a WordPiece tokenizer, which it has not
    "reformer": "cannot classify texts in fp32: If training, sequence length",
    "xmod": "cannot classify texts in fp32: Input language unknown",
}


def compare_with_pipeline(model_type, folder, pooling="auto"):
    """The largest difference, relative to the largest logit, of this project's logits and the saved model's."""
    save_small_encoder(model_type, folder / "encoder")
    source = find_source(str(folder / "encoder"))
    tokenizer, _ = load_tokenizer(source, TEXTS)
    if pooling == "auto":
        pooling = "mean" if can_pool_by_mean(model_type) else "first"
    model = load_model(source, tokenizer, CLASSES, seed=0, pooling=pooling, print_line=lambda line: None)
    try_model(model, tokenizer, CPU)
    batch = TokenStore(encode(tokenizer, TEXTS), CPU.device)
    with torch.inference_mode():
        ours = compute_logits(model.eval(), batch.gather(list(range(len(TEXTS)))), choose_mode(model, CPU))
    write_model(folder / "model", model, tokenizer)
    classify = pipeline("text-classification", model=str(folder / "model"), device="cpu")
    answers = classify(TEXTS, top_k=None, function_to_apply="none")  # one text at a time: no padding
    logits = [[entry["score"] for entry in sorted(row, key=lambda entry: entry["label"])] for row in answers]
    theirs = torch.tensor(logits)
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("model_type", QUICK)
def test_logits_are_those_of_the_saved_model(model_type, tmp_path):
    assert compare_with_pipeline(model_type, tmp_path) < 1e-5


@pytest.mark.parametrize("model_type", sorted(BERT_LIKE))
def test_packed_is_for_types_that_are_tested(model_type, tmp_path):
    """With the first token too: the mean is tested above."""
    assert compare_with_pipeline(model_type, tmp_path, pooling="first") < 1e-5


@pytest.mark.parametrize(("model_type", "first"), [("modernbert", "cls"), ("eurobert", "bos")])
def test_pooling_is_as_asked_or_as_saved(model_type, first, tmp_path):
    """Whatever the checkpoint's own setting is."""
    save_small_encoder(model_type, tmp_path)
    for saved in (first, "mean"):
        edit_json(tmp_path / "config.json", classifier_pooling=saved)
        for pooling, expected in (("first", first), ("mean", "mean"), ("saved", saved)):
            assert load(tmp_path, pooling=pooling).config.classifier_pooling == expected


def test_a_saved_pooling_layer_is_kept_unless_the_first_token_is_asked_for(checkpoint, tokenizer, tmp_path):
    write_model(tmp_path / "model", load(checkpoint, pooling="mean"), tokenizer)
    batch = TokenStore(encode(tokenizer, TEXTS), CPU.device).gather([0, 1, 2, 3])

    def logits(folder, pooling):
        return compute_logits(load(folder, pooling=pooling).eval(), batch, "packed")

    first, mean = logits(checkpoint, "first"), logits(checkpoint, "mean")
    assert not torch.allclose(first, mean)
    assert torch.equal(logits(tmp_path / "model", "saved"), mean) and torch.equal(
        logits(tmp_path / "model", "mean"), mean
    )
    removed = load(tmp_path / "model", pooling="first")
    assert removed.config.num_hidden_layers == len(removed.bert.encoder.layer) == 2
    assert torch.equal(logits(tmp_path / "model", "first"), first)
    write_model(tmp_path / "again", removed, tokenizer)
    assert torch.equal(logits(tmp_path / "again", "saved"), first)


@pytest.mark.slow  # about 110 architectures, a second each
@pytest.mark.parametrize("model_type", sorted(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.keys() - set(QUICK)))
def test_every_architecture_is_equal_or_refused(model_type, tmp_path):
    if model_type in NOT_SMALL:
        pytest.skip("cannot be built small")
    if model_type in REFUSED:
        with pytest.raises(UserError, match=REFUSED[model_type]):
            compare_with_pipeline(model_type, tmp_path)
    else:
        assert compare_with_pipeline(model_type, tmp_path) < 1e-5


def test_a_bert_without_token_types_is_refused_and_a_trial_draws_no_random_numbers(checkpoint, tokenizer):
    model = load(checkpoint)
    state = torch.get_rng_state()
    try_model(model, tokenizer, CPU)
    assert torch.equal(torch.get_rng_state(), state) and all(p.grad is None for p in model.parameters())
    model.bert.embeddings.token_type_embeddings.weight = torch.nn.Parameter(torch.zeros(0, 16))
    model.config.type_vocab_size = 0
    model.save_pretrained(checkpoint)
    with pytest.raises(UserError, match=r"\(bert\) cannot classify texts in fp32"):
        try_model(load(checkpoint), tokenizer, CPU)


def test_an_architecture_that_cannot_compute_in_bf16_says_so(tmp_path):
    save_small_encoder("deberta", tmp_path)
    source = find_source(str(tmp_path))
    tokenizer, _ = load_tokenizer(source, TEXTS)
    model = load_model(source, tokenizer, CLASSES, seed=0, pooling="first")
    with pytest.raises(UserError, match=r"\(deberta\) cannot classify texts in bf16.*--precision fp32"):
        try_model(model, tokenizer, Device(torch.device("cpu"), "bf16"))


@pytest.mark.parametrize(
    ("model_type", "options", "message"),
    [
        ("mpnet", ["--gradient-checkpointing"], "--gradient-checkpointing: mpnet does not support it"),
        ("canine", ["--adversarial", "1"], "--adversarial: canine has no table of word embeddings"),
    ],
)
def test_what_an_architecture_cannot_is_refused(small_data, in_tmp, capsys, model_type, options, message):
    save_small_encoder(model_type, in_tmp / "encoder")
    capsys.readouterr()
    arguments = ["--model", "./encoder", *QUICK_RUN[2:], "--data", str(small_data), "--max-steps", "1", "--run", "x"]
    assert message in refused(capsys, *arguments, *options)
    assert files("runs") == {"x/config.json"}
