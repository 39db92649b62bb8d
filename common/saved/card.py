"""The model card: a README.md in the model folder with data, scores and usage."""

from pathlib import Path

from common.files import read_json, write_text
from common.saved.settings import settings_of_run, write_settings

SHOWN_CLASSES = 40


def describe_model(folder: Path, run: Path, results: dict) -> None:
    """Write predicting.json and README.md into the model folder of a run with these `results`."""
    settings, config = settings_of_run(run), read_json(run / "config.json")
    write_settings(folder, settings)
    data, encoder = config["data"], config["model"]["name"]
    revision = f" (revision {config['model']['revision']})" if config["model"].get("revision") else ""
    reading = {
        "windows": f"Texts of more than {settings.max_length} tokens are read in windows, whose probabilities are "
        "averaged. transformers' pipeline reads only the beginning.",
        "head": f"Only the first {settings.max_length} tokens of a text are read.",
        None: "Texts are read whole.",
    }[settings.long_texts]
    pipeline = f"""
Or, with `pip install transformers torch`:

    from transformers import pipeline
    classify = pipeline("text-classification", model="FOLDER")
    classify("...", truncation=True, max_length={settings.max_length})
"""
    how = "fine-tuned" if settings.max_length else "fitted"
    shown = ", ".join(settings.classes[:SHOWN_CLASSES])
    more = len(settings.classes) - SHOWN_CLASSES
    write_text(
        folder / "README.md",
        f"""---
language: de
pipeline_tag: text-classification
---

# {run.name}

A text classifier for {len(settings.classes)} classes: {shown}{f", and {more} more" if more > 0 else ""}.
It is `{encoder}`{revision}, {how}.
Its licence follows from that of `{encoder}` and of the training texts.

## Data

`{data["name"]}`, {results["train_rows"]:,} training rows. SHA-256 of its files:

{_table(["file", "SHA-256"], [[file, f"`{digest}`"] for file, digest in data["fingerprint"].items()])}

## Scores

{_scores(results)}

## Use

    python predict.py FOLDER new.csv

`FOLDER` is this folder; `new.csv` has the text in `{settings.text_column}`.
{reading}
{pipeline if settings.max_length else ""}""",
    )


def _scores(results: dict) -> str:
    """A table of the scores on labelled rows."""
    rows: list[list[str]] = []
    for name, scores in ((results["evaluated_on"], results), ("test", results.get("test"))):
        if name and scores:
            low, high = scores["accuracy_interval"]
            accuracy = f"{scores['accuracy']:.1%} ({low:.1%} to {high:.1%})"
            rows.append([name, f"{scores['rows']:,}", accuracy, f"{scores['macro_f1']:.1%}"])
    if not rows:
        return "Not measured: the model was trained on all labelled rows."
    table = _table(["rows", "number", "accuracy (95 % interval)", "macro-F1"], rows)
    if results.get("selected_on_validation"):
        table += "\n\nThe epoch was selected on the validation rows, so their scores are too high."
    return table


def _table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
