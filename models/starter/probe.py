"""Measure an encoder without fine-tuning it: logistic regression on its mean-pooled last layer.

Used by distill.py --probe.
"""

import csv

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer


def probe(folder, path, max_lengths=(256, 512), seeds=3):
    """Print the accuracy in 5 stratified folds, mean +- deviation over `seeds` splits, for each length and several C.

    Raises ValueError if the CSV file `path` lacks the columns text and label.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"text", "label"} <= rows[0].keys():
        raise ValueError(f"{path}: expected the columns text and label")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    labels = np.array([row["label"] for row in rows])
    for max_length in max_lengths:
        vectors = []
        for start in range(0, len(rows), 16):
            texts = [row["text"] for row in rows[start : start + 16]]
            batch = tokenizer(texts, truncation=True, max_length=max_length, padding=True, return_tensors="pt")
            with torch.inference_mode():
                hidden = encoder(**batch).last_hidden_state  # [B, T, H]
            mask = batch["attention_mask"].unsqueeze(-1)
            vectors.append(((hidden * mask).sum(1) / mask.sum(1)).numpy())
        for c in (0.001, 0.003, 0.01, 0.03, 0.1):
            scores = []
            for seed in range(seeds):
                folds = StratifiedKFold(5, shuffle=True, random_state=seed)
                model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
                scores.append(cross_val_score(model, np.concatenate(vectors), labels, cv=folds).mean())
            print(f"probe: {max_length} tokens, C={c}: accuracy {np.mean(scores):.4f} +- {np.std(scores):.4f}")
