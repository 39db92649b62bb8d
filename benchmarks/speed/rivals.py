"""Hugging Face Trainer as a rival of our loop: with its defaults, or with well-chosen options."""

import tempfile
from itertools import pairwise

import torch
from torch.nn import functional
from transformers import (
    AttentionInterface,
    DataCollatorWithFlattening,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput

SHAPES = ((16, 1), (4, 4))  # (texts per forward pass, passes per optimizer step); the fair rival uses the faster one


def fair_options(device, compiled, shape):
    """Options for TrainingArguments that bring Trainer as close to our loop as it gets. `shape` is one of SHAPES.

    The model's attention dropout must also be 0, as in our loop. Otherwise attention is not fused.
    """
    texts, passes = shape
    return {
        "per_device_train_batch_size": texts,
        "gradient_accumulation_steps": passes,
        "optim": "adamw_torch_fused",
        "train_sampling_strategy": "group_by_length",
        "bf16": device.precision == "bf16",
        "fp16": device.precision == "fp16",
        "torch_compile": compiled,
    }


def train_with_trainer(model, texts, labels, tokenizer, device, *, unpadded=False, callbacks=(), **options):
    """Train `model` in place with Trainer on `texts` (Encoded) with class numbers `labels` [texts].

    `options` go to TrainingArguments. With `unpadded`, each batch is one row of texts without padding (see `Unpadded`).
    """
    rows = [
        {"input_ids": texts.tokens[a:b].tolist(), "labels": int(label)}
        for (a, b), label in zip(pairwise(texts.offsets), labels, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            **{
                "num_train_epochs": 1,
                "save_strategy": "no",
                "report_to": "none",
                "disable_tqdm": True,
                "logging_strategy": "no",
                "use_cpu": device.device.type == "cpu",
                **options,
            },
        )
        settings._n_gpu = min(settings.n_gpu, 1)  # otherwise Trainer splits each batch over all visible GPUs
        trainer = Trainer(
            Unpadded(model) if unpadded else model,
            settings,
            train_dataset=rows,
            data_collator=flatten if unpadded else DataCollatorWithPadding(tokenizer),
            callbacks=list(callbacks),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def flatten(rows):
    """Collate rows into one row without padding, in transformers' format, but with one label per text."""
    batch = DataCollatorWithFlattening(return_flash_attn_kwargs=True)([{"input_ids": r["input_ids"]} for r in rows])
    batch["labels"] = torch.tensor([row["labels"] for row in rows])  # the collator's labels are per token
    return {name: batch[name] for name in ("input_ids", "position_ids", "cu_seq_lens_q", "labels")}


class Unpadded(torch.nn.Module):
    """A BERT classifier that reads several texts in one row: transformers' own layers, torch's fused attention.

    transformers supports such rows only with flash-attn, which has no kernel for CPUs. This class registers another
    attention function with transformers' AttentionInterface. It calls torch's attention once per text.
    """

    def __init__(self, model):
        super().__init__()
        AttentionInterface.register("each_text_by_sdpa", attend_each_text)
        model.config._attn_implementation = "each_text_by_sdpa"
        self.model, self.config = model, model.config

    def forward(self, input_ids, position_ids, cu_seq_lens_q, labels):
        """Loss and logits [texts, classes] of a row [1, tokens]; `cu_seq_lens_q` [texts + 1]: bounds of the texts."""
        hidden = self.model.base_model(
            input_ids, position_ids=position_ids, bounds=cu_seq_lens_q.tolist(), return_dict=True
        ).last_hidden_state[0]
        first = hidden[cu_seq_lens_q[:-1].long()][:, None]
        pooler = getattr(self.model.base_model, "pooler", None)
        logits = self.model.classifier(first if pooler is None else self.model.dropout(pooler(first)))
        return SequenceClassifierOutput(loss=functional.cross_entropy(logits.float(), labels), logits=logits)


def attend_each_text(module, query, key, value, mask, scaling=None, dropout=0.0, *, bounds, **_):
    """Attention within each text of a row: query, key, value [1, heads, tokens, size] -> [1, tokens, heads, size]."""
    outputs = [
        functional.scaled_dot_product_attention(
            query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], dropout_p=dropout, scale=scaling
        )
        for a, b in pairwise(bounds)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None
