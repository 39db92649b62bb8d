"""Reduce a teacher's unigram vocabulary to the pieces that a German corpus uses most.

Student and teacher then read the same tokens: every piece of the student is also a piece of the teacher.
`teacher_ids[i]` is the teacher's id of the student's piece i. Used by distill.py.
"""

import json
import unicodedata
from collections import Counter

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]  # ids 0 to 3, as in XLM-RoBERTa; <mask> is the last id
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
    "model_max_length": 512,
    "model_input_names": ["input_ids", "attention_mask"],
}
# Plain Unicode NFKC replaces the teacher's compiled character map, which is as large as the whole reduced vocabulary.
# On German text both give the same pieces. NFKC keeps upper case and umlauts.
NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {
            "type": "Replace",
            "pattern": {"Regex": "[\u00ad\u200b-\u200d\u2060\ufeff]"},
            "content": "",
        },  # invisible characters
        {"type": "NFKC"},
        {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
    ],
}


def cut_vocabulary(teacher_tokenizer, lines, size):
    """Return the student's tokenizer and `teacher_ids` [size] int64, in the order of the student's pieces.

    Raises ValueError if the teacher's vocabulary is not suitable, or if the corpus uses fewer than `size` pieces.
    """
    spec = json.loads(teacher_tokenizer.backend_tokenizer.to_str())
    if spec["model"]["type"] != "Unigram":
        raise ValueError(f"the teacher's tokenizer is {spec['model']['type']}, expected Unigram")
    vocab = spec["model"]["vocab"]  # [[piece, log probability], ...]
    id_of = {piece: i for i, (piece, _) in enumerate(vocab)}
    if any(piece not in id_of for piece in [*SPECIALS, "<mask>"]):
        raise ValueError(f"the teacher's vocabulary lacks one of {', '.join(SPECIALS)}, <mask>")
    if size > len(vocab):
        raise ValueError(f"--vocab-size {size} is larger than the teacher's vocabulary ({len(vocab)})")

    spec["normalizer"] = NORMALIZER
    spec["truncation"] = spec["padding"] = None
    counts = count_pieces(Tokenizer.from_str(json.dumps(spec)), lines)

    # Single characters are kept first, so that no German word, name or number becomes <unk>.
    special = {id_of[piece] for piece in [*SPECIALS, "<mask>"]}
    characters = {i for i, (piece, _) in enumerate(vocab) if i not in special and is_needed_character(piece, counts[i])}
    frequent = [i for i, _ in counts.most_common() if i not in special and i not in characters]
    kept = sorted(characters | set(frequent[: size - len(special) - len(characters)]))
    if len(kept) + len(special) < size:
        raise ValueError(f"the corpus uses only {len(kept) + len(special)} pieces, fewer than --vocab-size {size}")

    order = [id_of[piece] for piece in SPECIALS] + kept + [id_of["<mask>"]]
    spec["model"]["vocab"] = [[vocab[i][0], round(vocab[i][1], 4)] for i in order]
    spec["model"]["unk_id"] = SPECIALS.index("<unk>")
    for added in spec["added_tokens"]:
        added["id"] = order.index(id_of[added["content"]])
    return Tokenizer.from_str(json.dumps(spec)), np.array(order)


def count_pieces(tokenizer, lines):
    counts = Counter()
    for start in tqdm(range(0, len(lines), 4000), desc="count pieces", disable=None):
        for encoding in tokenizer.encode_batch_fast(lines[start : start + 4000], add_special_tokens=False):
            counts.update(encoding.ids)
    return counts


def is_needed_character(piece, count):
    """Whether a piece is a single character of the corpus, or a letter or ASCII sign that new texts may have."""
    reachable = len(piece) == 1 and unicodedata.normalize("NFKC", piece) == piece  # NFKC replaces all others
    return reachable and piece.isprintable() and (count > 0 or piece.isascii() or piece.isalpha())


def save_tokenizer(tokenizer, folder):
    """Write tokenizer.json and tokenizer_config.json. Without indentation, tokenizer.json has half the size."""
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=1) + "\n", encoding="utf-8")
