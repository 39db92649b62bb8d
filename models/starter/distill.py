"""Make the starter encoder: distill a small German BERT from a larger teacher.

    python models/starter/distill.py --corpus german.txt --rows 48000  # shipped
    python models/starter/distill.py --corpus german.txt --rows 200 --output t
    python models/starter/distill.py --probe data/kaggle/train.csv  # measure it

It has five steps. Cut the teacher's vocabulary to German. Arrange the corpus in rows of tokens. Compute the teacher's
hidden states of every row once and store them. Train the student to predict these states for each token and their mean
for each text. Save the student as float16. After an interruption, the same command continues and ends with the same
weights. README.md has times and figures.
"""

import json
import math
import os
import sys
import time
from pathlib import Path
from pickle import UnpicklingError

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))  # python itself adds only the script's folder

import numpy as np
import targets as T
import torch
import vocabulary
from student import Objective, build_student
from tokenizers import Tokenizer
from tqdm import tqdm

from common.cli import Parser, exit_codes

HERE = Path(__file__).resolve().parent
MAX_TOKENS = 512
# Options that may change between two starts of the same run. Most do not affect the weights; device, precision and
# threads affect only rounding. `prepare_rows` checks corpus and teacher.
NOT_RECIPE = {"corpus", "teacher", "work", "run", "output", "device", "precision", "threads", "save_minutes", "probe"}


def parse_args(argv):
    p = Parser(__doc__)
    g = p.add_argument_group("data")
    g.add_argument(
        "--teacher",
        metavar="NAME_OR_FOLDER",
        default="intfloat/multilingual-e5-small",
        help="hub id or folder; its tokenizer must be a unigram model",
    )
    g.add_argument("--corpus", type=Path, metavar="FILE", help="UTF-8 text, one paragraph per line")
    g.add_argument(
        "--prefix", metavar="TEXT", default="", help="text that the teacher reads before every row (default: none)"
    )
    g.add_argument(
        "--vocab-size",
        type=int,
        metavar="N",
        default=12000,
        help="pieces to keep; 16000 would save only 2 %% of the tokens",
    )
    g.add_argument(
        "--join-rate", type=float, metavar="X", default=0.1, help="share of rows that join paragraphs up to 512 tokens"
    )
    g.add_argument("--rows", type=int, metavar="N", help="use only this many rows instead of all")
    g = p.add_argument_group("student")
    g.add_argument("--layers", type=int, metavar="N", default=1, help="transformer layers")
    g.add_argument("--hidden", type=int, metavar="N", default=384, help="hidden size, at most the teacher's (384)")
    g.add_argument("--ffn", type=int, metavar="N", default=384, help="size of the feed-forward part")
    g.add_argument("--heads", type=int, metavar="N", default=6, help="attention heads")
    g.add_argument(
        "--init",
        choices=["embeddings", "random"],
        default="embeddings",
        help="initial word and position embeddings: the teacher's, or random",
    )
    g = p.add_argument_group("losses")
    g.add_argument(
        "--token-weight", type=float, metavar="X", default=1.0, help="weight of the loss on each token's hidden state"
    )
    g.add_argument(
        "--text-weight", type=float, metavar="X", default=1.0, help="weight of the loss on the mean over the text"
    )
    g.add_argument(
        "--similarity-weight",
        type=float,
        metavar="X",
        default=0.0,
        help="weight of the loss on cosine similarities within a batch",
    )
    g.add_argument(
        "--whiten",
        type=float,
        metavar="X",
        default=0.0,
        help="0: text targets unchanged; 1: equal variance in all directions",
    )
    g.add_argument(
        "--mask-rate", type=float, metavar="X", default=0.0, help="share of the student's tokens to replace by <mask>"
    )
    g = p.add_argument_group("optimization")
    g.add_argument("--epochs", type=int, metavar="N", default=5, help="passes over the rows")
    g.add_argument(
        "--batch-tokens", type=int, metavar="N", default=2048, help="tokens per batch; many small steps learn faster"
    )
    g.add_argument("--lr", type=float, metavar="X", default=1e-3, help="peak learning rate; it falls linearly to zero")
    g.add_argument("--seed", type=int, metavar="N", default=0, help="random seed of rows, batches, masks and weights")
    g = p.add_argument_group("running")
    g.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        help="number format of matrix products (default: bfloat16 on CUDA, else float32)",
    )
    g.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to compute",
    )
    g.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
    g.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        default=Path("runs/starter"),
        help="folder for the teacher's states, 384 bytes per token",
    )
    g.add_argument(
        "--run", type=Path, metavar="FOLDER", help="folder for checkpoint and log (default: student in --work)"
    )
    g.add_argument("--save-minutes", type=float, metavar="X", default=5, help="minutes between checkpoints")
    g.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        default=HERE,
        help="folder for the model files (default: the script's folder)",
    )
    g.add_argument(
        "--probe",
        type=Path,
        metavar="CSV",
        help="only measure the model in --output, with a linear probe on this train.csv",
    )
    return p.parse_args(argv)


@exit_codes
def main(argv=None):
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        if args.probe:
            from probe import probe  # the only part that needs scikit-learn

            probe(args.output, args.probe)
            return 0
        check(args)
        T.prepare_rows(args, MAX_TOKENS)
        T.prepare_targets(args)
        train(args)
    except (OSError, ValueError) as error:
        message = f"{error.filename}: {error.strerror}" if getattr(error, "filename", None) else str(error)
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command continues from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def check(args):
    if args.corpus is None:
        raise ValueError("--corpus is missing: expected a UTF-8 text file, one paragraph per line")
    if not args.corpus.is_file():
        raise ValueError(f"{args.corpus}: no such file")
    for name in ("rows", "epochs", "batch_tokens", "layers", "hidden", "ffn", "heads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}: must be at least 1")
    if not (args.token_weight or args.text_weight or args.similarity_weight):
        raise ValueError("--token-weight, --text-weight and --similarity-weight are all 0: nothing to learn")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: no CUDA device is available")
    if args.hidden % args.heads:
        raise ValueError(f"--hidden {args.hidden} is not a multiple of --heads {args.heads}")
    args.run = args.run or args.work / "student"
    args.precision = args.precision or ("bfloat16" if args.device == "cuda" else "float32")
    for folder in (args.work, args.run, args.output):
        folder.mkdir(parents=True, exist_ok=True)


def train(args):
    """Train the student on the teacher's hidden states, from the last checkpoint if there is one, and export it."""
    rows = np.load(args.work / "rows.npz")
    ids, offsets = rows["ids"], rows["offsets"]
    lengths = np.diff(offsets)
    states, ready = T.load_targets(args.work, offsets)
    count = min(args.rows or ready, ready)
    T.keep_settings(args.run / "settings.json", {k: v for k, v in vars(args).items() if k not in NOT_RECIPE})

    def targets_of(batch):  # float32 [tokens, H], standardized
        steps = np.concatenate([states[offsets[row] : offsets[row + 1]] for row in batch])
        return torch.from_numpy(steps).float() / T.STEPS_PER_SD

    torch.manual_seed(args.seed)
    student = build_student(
        args, rows["teacher_ids"], MAX_TOKENS
    ).eval()  # eval: no dropout, as the student is too small to overfit
    objective = Objective(args, torch.stack([targets_of([row]).mean(0) for row in range(min(8192, count))]))
    modules = torch.nn.ModuleDict({"student": student, "objective": objective}).to(args.device)
    optimizer = torch.optim.AdamW(modules.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    plan = [(epoch, i) for epoch in range(args.epochs) for i in range(len(epoch_batches(args, lengths, count, epoch)))]
    warmup = min(200, len(plan) // 10)
    step, tokens, seconds = load_checkpoint(args, modules, optimizer)
    recent = []  # losses since the last log entry
    batches_of = None  # the epoch that `batches` belongs to
    begin = saved_at = time.monotonic()
    bar = tqdm(total=len(plan), initial=step, desc="train", disable=None)
    while step < len(plan):
        epoch, index = plan[step]
        if epoch != batches_of:
            batches, batches_of = epoch_batches(args, lengths, count, epoch), epoch
        torch.manual_seed(args.seed * 1_000_003 + step)  # a resumed run draws the same masks
        inputs, mask = T.pad_rows(ids, offsets, batches[index])  # [B, T]
        if args.mask_rate:
            inputs[mask & (inputs > 2) & (torch.rand(mask.shape) < args.mask_rate)] = args.vocab_size - 1
        inputs, mask, target = (x.to(args.device) for x in (inputs, mask, targets_of(batches[index])))
        for group in optimizer.param_groups:  # rises over `warmup` steps, then falls to zero
            group["lr"] = args.lr * min((step + 1) / (warmup + 1), 1 - (step - warmup) / (len(plan) - warmup))
        with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bfloat16"):
            hidden = student(input_ids=inputs, attention_mask=mask).last_hidden_state  # [B, T, h]
            loss, losses = objective(hidden.float(), mask, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

        step += 1
        tokens += len(target)
        recent.append({name: value.detach() for name, value in losses.items()})
        done, elapsed = step == len(plan), seconds + time.monotonic() - begin
        if step % 50 == 0 or done:
            means = {name: round(sum(float(loss[name]) for loss in recent) / len(recent), 4) for name in losses}
            if not all(map(math.isfinite, means.values())):
                raise ValueError(f"the loss is not finite at step {step}: lower --lr")
            bar.set_postfix(means)
            entry = {"step": step, "epoch": epoch, **means, "tokens": tokens, "seconds": round(elapsed, 1)}
            with (args.run / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
            recent = []
        bar.update()
        if done or time.monotonic() - saved_at > args.save_minutes * 60:
            save_checkpoint(args, modules, optimizer, {"step": step, "tokens": tokens, "seconds": elapsed})
            saved_at = time.monotonic()
    bar.close()
    export(args, student)


def load_checkpoint(args, modules, optimizer):
    """Return the steps, tokens and seconds done so far. Removes log entries that are newer than the checkpoint.

    Raises ValueError if the checkpoint is damaged.
    """
    path, log = args.run / "checkpoint.pt", args.run / "log.jsonl"
    progress = {"step": 0, "tokens": 0, "seconds": 0.0}
    if path.exists():
        try:
            saved = torch.load(path, map_location=args.device, weights_only=True)
        except (RuntimeError, EOFError, UnpicklingError):
            raise ValueError(f"{path} is damaged: delete it to restart the training") from None
        modules.load_state_dict(saved["modules"])
        optimizer.load_state_dict(saved["optimizer"])
        progress = saved["progress"]
        print(f"resumed at step {progress['step']}")
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["step"] <= progress["step"]]
        log.write_text("".join(kept), encoding="utf-8")
    return progress["step"], progress["tokens"], progress["seconds"]


def save_checkpoint(args, modules, optimizer, progress):
    path = args.run / "checkpoint.pt"
    state = {"modules": modules.state_dict(), "optimizer": optimizer.state_dict(), "progress": progress}
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def export(args, student):
    student.half().cpu().save_pretrained(args.output)
    (args.output / "model.safetensors").chmod(0o644)
    vocabulary.save_tokenizer(Tokenizer.from_file(str(args.work / "tokenizer.json")), args.output)
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    size = sum((args.output / name).stat().st_size for name in names)
    print(f"wrote {args.output}: {size / 1e6:.2f} MB, {student.num_parameters() / 1e6:.2f} million parameters")


def epoch_batches(args, lengths, count, epoch):
    return T.batch_rows(lengths, np.arange(count), args.batch_tokens, np.random.default_rng([args.seed, epoch]))


if __name__ == "__main__":
    sys.exit(main())
