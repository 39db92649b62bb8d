"""The student's training data: the corpus as rows of tokens, and the teacher's hidden state of every token.

The teacher costs ten times as much time as the student. So it reads each row once, and its hidden states are stored on
disk for later epochs and other students. Used by distill.py.
"""

import hashlib
import json
import os

import numpy as np
import torch
import vocabulary
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer

SHARD = 1024  # rows between two updates of targets.json
STEPS_PER_SD = 32  # int8 steps per standard deviation: the range is +-4 deviations, the rounding error at most 0.016


def prepare_rows(args, max_tokens):
    """Cut the vocabulary and arrange the corpus in rows; writes tokenizer.json and rows.npz."""
    with args.corpus.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
    names = ["teacher", "prefix", "vocab_size", "join_rate", "seed"]
    settings = {"corpus": fingerprint} | {name: getattr(args, name) for name in names}
    if (args.work / "rows.npz").exists():
        return keep_settings(args.work / "settings.json", settings)
    lines = args.corpus.read_text(encoding="utf-8").splitlines()
    teacher_tokenizer = AutoTokenizer.from_pretrained(args.teacher)
    tokenizer, teacher_ids = vocabulary.cut_vocabulary(teacher_tokenizer, lines, args.vocab_size)
    vocabulary.save_tokenizer(tokenizer, args.work)
    prefix_ids = teacher_tokenizer(args.prefix, add_special_tokens=False)["input_ids"] if args.prefix else []
    # Rows leave room for the prefix in the teacher's 512 positions.
    ids, offsets = plan_rows(tokenizer, lines, args.join_rate, max_tokens - len(prefix_ids), args.seed)
    temporary = args.work / "rows.tmp.npz"
    np.savez(temporary, ids=ids, offsets=offsets, teacher_ids=teacher_ids, prefix_ids=np.array(prefix_ids, np.int64))
    write_json(args.work / "settings.json", settings)
    os.replace(temporary, args.work / "rows.npz")  # last: if it exists, the other files are complete


def prepare_targets(args):
    """Compute the teacher's hidden states of the missing rows; writes targets.i8 and targets.json."""
    rows = np.load(args.work / "rows.npz")
    count = min(args.rows or len(rows["offsets"]) - 1, len(rows["offsets"]) - 1)
    progress = args.work / "targets.json"
    if progress.exists() and json.loads(progress.read_text())["rows"] >= count:
        return
    dtype = getattr(torch, args.precision)
    teacher = AutoModel.from_pretrained(args.teacher, dtype=dtype, add_pooling_layer=False).eval().to(args.device)
    write_targets(
        teacher,
        rows["ids"],
        rows["offsets"],
        count,
        rows["teacher_ids"],
        rows["prefix_ids"].tolist(),
        args.work,
        batch_tokens=65536 if args.device == "cuda" else 4096,
    )


def plan_rows(tokenizer, lines, join_rate, max_tokens, seed):
    """Return `ids` [tokens of all rows] (uint16) and `offsets` [rows + 1]; the rows are in random order.

    A row is <s> paragraph </s>, cut to `max_tokens` tokens. With probability `join_rate` more paragraphs are added to a
    row until it is full, so that all positions are trained.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lines))
    rows, joined = [], []
    joining = False
    for start in tqdm(range(0, len(order), 4000), desc="tokenize", disable=None):
        chunk = [lines[i] for i in order[start : start + 4000]]
        for encoding in tokenizer.encode_batch_fast(chunk, add_special_tokens=False):
            joining = joining or rng.random() < join_rate
            joined += encoding.ids
            if not joining or len(joined) >= max_tokens - 2:
                rows.append([0, *joined[: max_tokens - 2], 2])  # 0 = <s>, 2 = </s>
                joined, joining = [], False
    # without this, a joined row comes where its last paragraph was
    rows = [rows[i] for i in rng.permutation(len(rows))]
    offsets = np.cumsum([0] + [len(row) for row in rows])
    return np.concatenate([np.array(row, np.uint16) for row in rows]), offsets


def pad_rows(ids, offsets, rows, pad_id=1):
    """Return token ids [B, T] and mask [B, T] as tensors; T is the length of the longest row."""
    lengths = offsets[rows + 1] - offsets[rows]
    mask = np.arange(lengths.max()) < lengths[:, None]
    padded = np.full(mask.shape, pad_id, np.int64)
    padded[mask] = np.concatenate([ids[offsets[r] : offsets[r + 1]] for r in rows])
    return torch.from_numpy(padded), torch.from_numpy(mask)


def batch_rows(lengths, rows, max_tokens, rng):
    """Split `rows` into batches of about `max_tokens` tokens with little padding, in random order."""
    rows = rng.permutation(rows)
    batches = []
    for pool in np.array_split(
        rows, max(1, len(rows) // 8192)
    ):  # sort only within pools, so that the content of batches varies
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batch = []
        for row in pool:
            if batch and lengths[row] * (len(batch) + 1) > max_tokens:
                batches.append(np.array(batch))
                batch = []
            batch.append(row)
        batches.append(np.array(batch))
    return [batches[i] for i in rng.permutation(len(batches))]


@torch.inference_mode()
def read_rows(teacher, ids, offsets, rows, teacher_ids, prefix_ids):
    """Return the teacher's last hidden states of all tokens of `rows`, [tokens, H] float32, in the order of `rows`."""
    device = next(teacher.parameters()).device
    tokens, mask = pad_rows(ids, offsets, rows)
    tokens = torch.from_numpy(teacher_ids)[tokens]
    prefix = torch.tensor(prefix_ids, dtype=torch.long).expand(len(rows), -1)
    tokens = torch.cat([tokens[:, :1], prefix, tokens[:, 1:]], 1)  # <s> prefix text </s>
    seen = torch.cat([torch.ones_like(mask[:, :1]), torch.ones_like(prefix, dtype=torch.bool), mask[:, 1:]], 1)
    hidden = teacher(input_ids=tokens.to(device), attention_mask=seen.to(device)).last_hidden_state
    hidden = torch.cat([hidden[:, :1], hidden[:, 1 + len(prefix_ids) :]], 1)  # the student does not read the prefix
    return hidden[mask.to(device)].float()


def write_targets(teacher, ids, offsets, count, teacher_ids, prefix_ids, folder, batch_tokens):
    """Fill folder/targets.i8 for the first `count` rows. Continues where an earlier call stopped."""
    progress_path = folder / "targets.json"
    lengths = np.diff(offsets)
    if progress_path.exists():
        progress = json.loads(progress_path.read_text())
    else:
        sample = read_all(teacher, ids, offsets, np.arange(min(256, count)), teacher_ids, prefix_ids, batch_tokens)[1]
        progress = {"rows": 0, "mean": sample.mean(0).tolist(), "std": sample.std(0).tolist()}
        write_json(progress_path, progress)
    mean, std = torch.tensor(progress["mean"]), torch.tensor(progress["std"])
    path = folder / "targets.i8"
    shape = (int(offsets[-1]), len(mean))
    targets = np.memmap(path, np.int8, "r+" if path.exists() else "w+", shape=shape)
    done, total = int(offsets[progress["rows"]]), int(offsets[count])
    with tqdm(total=total, initial=done, desc="teacher", unit="token", disable=None) as bar:
        while progress["rows"] < count:
            rows = np.arange(progress["rows"], min(progress["rows"] + SHARD, count))
            order, hidden = read_all(teacher, ids, offsets, rows, teacher_ids, prefix_ids, batch_tokens)
            steps = ((hidden - mean) / std * STEPS_PER_SD).round().clamp(-127, 127).to(torch.int8).numpy()
            places = np.concatenate([np.arange(offsets[r], offsets[r + 1]) for r in order])
            targets[places] = steps
            targets.flush()
            progress["rows"] = int(rows[-1]) + 1
            write_json(progress_path, progress)
            bar.update(int(lengths[rows].sum()))


def read_all(teacher, ids, offsets, rows, teacher_ids, prefix_ids, batch_tokens):
    batches = batch_rows(np.diff(offsets), rows, batch_tokens, np.random.default_rng(0))
    hidden = [read_rows(teacher, ids, offsets, batch, teacher_ids, prefix_ids).cpu() for batch in batches]
    return np.concatenate(batches), torch.cat(hidden)


def load_targets(folder, offsets):
    """Return the targets as a read-only memory map, [tokens, H] int8, and the number of rows that are complete."""
    progress = json.loads((folder / "targets.json").read_text())
    shape = (int(offsets[-1]), len(progress["mean"]))
    return np.memmap(folder / "targets.i8", np.int8, "r", shape=shape), progress["rows"]


def keep_settings(path, settings):
    """Write `settings` if the file does not exist. Raises ValueError if it has other settings."""
    if not path.exists():
        return write_json(path, settings)
    old = json.loads(path.read_text())
    changed = [name for name in settings if old.get(name) != settings[name]]
    if changed:
        name = changed[0]
        raise ValueError(f"{path} has {name} {old.get(name)!r}, not {settings[name]!r}: name another folder")


def write_json(path, value):
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    os.replace(temporary, path)
