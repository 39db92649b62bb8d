"""An encoder's folder as pre-training leaves it, and its tokenizer."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from common.training.encoders.tiny import build_tiny_tokenizer
from tests.training.encoder_folders import SIZES, TEXTS


@pytest.fixture(scope="module")
def tokenizer():
    """A cased WordPiece tokenizer of TEXTS."""
    return build_tiny_tokenizer(TEXTS)


@pytest.fixture
def checkpoint(tmp_path, tokenizer):
    """A folder as pre-training leaves it: an encoder without pooler and head, in float16."""
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **SIZES)
    BertForMaskedLM(config).half().save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"
