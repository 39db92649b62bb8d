"""The student, a small BERT that starts with the teacher's embeddings, and its training objective.

Used by distill.py.
"""

import torch
import torch.nn.functional as F
from transformers import AutoModel, BertConfig, BertModel


def build_student(args, teacher_ids, max_tokens):
    """A BertModel without pooler. With --init embeddings, it starts with projections of the teacher's embeddings."""
    config = BertConfig(
        vocab_size=args.vocab_size,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        intermediate_size=args.ffn,
        max_position_embeddings=max_tokens,
        attention_probs_dropout_prob=0.0,  # with dropout, attention is not fused: a third of the speed
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    student = BertModel(config, add_pooling_layer=False)
    if args.init == "embeddings":
        teacher = AutoModel.from_pretrained(args.teacher, dtype=torch.float32, add_pooling_layer=False)
        copy_embeddings(teacher.embeddings, student.embeddings, torch.from_numpy(teacher_ids))
    return student


@torch.no_grad()
def copy_embeddings(source, target, teacher_ids):
    words = source.word_embeddings.weight[teacher_ids]  # [pieces, H]
    width, max_tokens = target.word_embeddings.embedding_dim, target.position_embeddings.num_embeddings
    same = width == words.shape[1]
    mean = 0 if same else words.mean(0)
    # The right singular vectors are the directions in which the kept pieces differ most.
    basis = torch.eye(width) if same else torch.linalg.svd(words - mean, full_matrices=False).Vh[:width].T
    target.word_embeddings.weight.copy_((words - mean) @ basis)
    target.position_embeddings.weight.copy_(source.position_embeddings.weight[:max_tokens] @ basis)
    target.token_type_embeddings.weight.copy_(source.token_type_embeddings.weight @ basis)
    if same:
        target.LayerNorm.load_state_dict(source.LayerNorm.state_dict())


class Objective(torch.nn.Module):
    """The losses, and the linear maps from the student's hidden size h to the teacher's H (dropped after training).

    A token's target is the teacher's last hidden state, standardized per dimension. A text's target is the mean of its
    tokens' targets. The losses are scaled so that a constant prediction has loss 1.
    """

    def __init__(self, args, text_targets):
        """text_targets [texts, H]: a sample for the mean and covariance of the texts' targets."""
        super().__init__()
        self.weights = {"token": args.token_weight, "text": args.text_weight, "similarity": args.similarity_weight}
        width = text_targets.shape[1]
        self.token_head = torch.nn.Linear(args.hidden, width)
        self.text_head = torch.nn.Linear(args.hidden, width)
        # --whiten above 0 scales up the directions in which texts differ little.
        self.register_buffer("text_mean", text_targets.mean(0))
        variance, directions = torch.linalg.eigh(torch.cov(text_targets.T))
        scale = variance.clamp(min=1e-4 * variance.max().item()) ** (-args.whiten / 2)
        self.register_buffer("text_map", directions * (scale / (variance * scale**2).mean().sqrt()))

    def forward(self, hidden, mask, target):
        """hidden [B, T, h], mask [B, T], target [tokens, H] -> the weighted sum of the losses, {name: loss}."""
        counts = mask.sum(1, keepdim=True)
        text = (hidden * mask.unsqueeze(-1)).sum(1) / counts  # [B, h]
        row_of = mask.nonzero()[:, 0]  # [tokens]
        text_target = torch.zeros(len(mask), target.shape[1], device=target.device).index_add_(0, row_of, target)
        text_target = (text_target / counts - self.text_mean) @ self.text_map  # [B, H]
        losses = {}
        if self.weights["token"]:
            losses["token"] = F.mse_loss(self.token_head(hidden[mask]), target)
        if self.weights["text"]:
            losses["text"] = F.mse_loss(self.text_head(text), text_target)
        if self.weights["similarity"]:
            wanted, found = cosines(text_target), cosines(text)
            losses["similarity"] = F.mse_loss(found, wanted) / wanted.square().mean().clamp(min=1e-6)  # 0 if B is 1
        return sum(self.weights[name] * loss for name, loss in losses.items()), losses


def cosines(vectors):
    vectors = F.normalize(vectors - vectors.mean(0), dim=1)
    return vectors @ vectors.T
