"""One optimizer step.

A batch is computed in microbatches of texts of similar length, whose gradients are summed. So memory and padding affect
only the speed, not the result. All randomness of a step comes from (seed, step): a resumed run needs no random state
and ends with the same weights.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from common.cli import UserError
from common.training.compute.devices import Device
from common.training.compute.dropout import use_word_dropout
from common.training.compute.forward import choose_mode, compute_logits
from common.training.compute.memory import free_cached_memory, is_out_of_memory, microbatch_budget
from common.training.compute.processes import GradientExchange, sum_over_processes
from common.training.encoders.models import class_count
from common.training.optimizer import class_weights, make_optimizer
from common.training.recipe import Recipe
from common.training.tokens import Encoded, TokenStore, cut_heads, draw_windows, split_by_length


class Step:
    """One optimizer step: forward and backward in microbatches, clip, update; and the state for them.

    Trains `model` in place on the whole `texts` with class numbers `labels` [texts] (int), or soft labels
    [texts, classes] (float32). `budget` is the number of tokens computed at once (default: by memory); it is halved
    when memory runs out. Raises UserError if the recipe is adversarial and the model has no word embeddings.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        texts: Encoded,
        labels: np.ndarray,
        recipe: Recipe,
        seed: int,
        device: Device,
        budget: int | None = None,
        print_line: Callable[[str], None] = print,
    ):
        device.place(model)
        self.model, self.recipe, self.seed, self.device, self.print_line = model, recipe, seed, device, print_line
        self.texts = texts
        self.store: TokenStore  # what the epoch reads: see begin_epoch
        self.epoch: int | None = None
        self.budget = budget or microbatch_budget(model, device)
        self.mode = choose_mode(model, device)
        if device.device.type == "cpu":
            use_word_dropout(model)
        if recipe.adversarial:
            self._embeddings()  # raises now where there are none
        self.optimizer = make_optimizer(model, recipe)
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]  # from first layer to last
        self.exchange = GradientExchange(trained) if device.processes > 1 else None
        self.scaler = torch.amp.GradScaler("cuda") if device.precision == "fp16" else None
        weights = class_weights(labels, class_count(model), recipe.class_weights)
        self.row_weights = labels @ weights if labels.ndim == 2 else weights[labels]
        self.class_weights = torch.from_numpy(weights).float().to(device.device)
        self.labels = torch.tensor(labels, device=device.device)
        self.losses: list[torch.Tensor] = []

    def begin_epoch(self, epoch: int) -> None:
        """Choose the part of each text that this epoch reads, from (seed, epoch). Call it before every step."""
        if epoch == self.epoch:
            return
        max_length, windows = self.recipe.max_length, self.recipe.long_texts == "windows"
        if self.epoch is None or (windows and self.texts.lengths.max() > max_length):
            read = draw_windows(self.texts, max_length, self.seed, epoch) if windows else None
            self.store = TokenStore(read or cut_heads(self.texts, max_length), self.device.device)
        self.epoch = epoch

    def __call__(self, step: int, rows: np.ndarray, rate: float) -> None:
        """Train on the texts `rows`, the batch of step number `step`, at `rate` times the peak learning rates.

        Raises UserError if a single text or the optimizer's state does not fit into memory.
        """
        self.losses.append(self._backward(step, rows))
        try:
            self._update(rate)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                "GPU memory is too small for the model's gradients and the optimizer's state: use a smaller model, or "
                "a GPU that no other process uses"
            ) from None

    def _backward(self, step: int, rows: np.ndarray) -> torch.Tensor:
        """Compute the batch's gradients, in smaller microbatches if memory runs out; returns the loss."""
        direction, adversarial = None, bool(self.recipe.adversarial)
        if self.exchange:
            self.exchange.begin()
        while True:
            try:
                loss = self._accumulate(step, rows, last_pass=not adversarial)
                if adversarial:
                    direction = self._direction() if direction is None else direction  # processes agree on it once
                    with self._moved_embeddings(direction):
                        self._accumulate(step, rows, last_pass=True)
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.budget <= self.store.lengths[rows].max():
                    raise UserError(
                        "GPU memory is too small for a single text; lower --max-length, add --gradient-checkpointing, "
                        "or use a smaller model"
                    ) from None
            self._shrink_budget()  # outside `except`: the exception keeps the failed step's tensors alive
        if self.exchange:
            self.exchange.finish()
        return loss

    def _shrink_budget(self) -> None:
        """Discard the failed attempt's gradients and halve the budget."""
        if self.exchange:
            self.exchange.pause()
        self.optimizer.zero_grad()
        free_cached_memory(self.device)
        self.budget = max(self.budget // 2, 1)
        self.print_line(
            f"GPU memory is full: continuing with microbatches of {self.budget} tokens (same batches, same result)"
        )

    def _update(self, rate: float) -> None:
        """Clip the gradients and change the weights."""
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad()

    def _accumulate(self, step: int, rows: np.ndarray, last_pass: bool = False) -> torch.Tensor:
        """Sum the gradients of this process' share of the batch's mean loss; returns this share of the loss.

        In the step's `last_pass` the last microbatch completes the gradients, and the processes start to exchange them.
        """
        if not self.model.training:  # train() walks over hundreds of modules
            self.model.train()
        torch.manual_seed((self.seed * 1_000_003 + step) * 1009 + self.device.rank)
        normaliser = float(self.row_weights[rows].sum())
        share = rows[self.device.rank :: self.device.processes]
        scale = 1.0 if len(share) else 0.0  # fewer rows than processes: take part with weight 0
        total = torch.zeros((), device=self.device.device)
        lengths, padded = self.store.lengths, self.mode == "padded"
        microbatches = split_by_length(share if len(share) else rows[:1], lengths, self.budget, padded)
        for position, micro in enumerate(microbatches, 1):
            loss = self.loss(micro) * (scale / normaliser)
            if self.exchange and last_pass and position == len(microbatches):
                self.exchange.begin_last_pass()
            (self.scaler.scale(loss) if self.scaler else loss).backward()
            total += loss.detach()
        return total

    def _embeddings(self) -> torch.nn.Parameter:
        """The word embeddings, [vocabulary, width]. Raises UserError for a model without such a table."""
        try:
            return self.model.get_input_embeddings().get_parameter("weight")
        except (NotImplementedError, AttributeError) as error:
            kind = self.model.config.model_type
            raise UserError(f"--adversarial: {kind} has no table of word embeddings; leave the option out") from error

    def _direction(self) -> torch.Tensor:
        """The batch's gradient of the word embeddings over all processes, [vocabulary, width], scaled to length 1."""
        gradient = self._embeddings().grad
        assert gradient is not None  # the backward pass has just computed it
        direction = gradient.clone()
        if self.device.processes > 1:
            sum_over_processes([direction])
        return direction / direction.norm().clamp_min(1e-12)

    @contextlib.contextmanager
    def _moved_embeddings(self, direction: torch.Tensor) -> Iterator[None]:
        """Within this context, move the word embeddings by the recipe's `adversarial` in this direction.

        Adversarial training with one step of the fast gradient method, FGM (Miyato, Dai, Goodfellow 2017).
        """
        table = self._embeddings()
        before = table.detach().clone()
        with torch.no_grad():
            table.add_(direction, alpha=self.recipe.adversarial)
        try:
            yield
        finally:
            with torch.no_grad():
                table.copy_(before)

    def loss(self, rows: np.ndarray) -> torch.Tensor:
        """The summed loss of a microbatch."""
        return functional.cross_entropy(
            self.logits(rows),
            self.labels[self.store.to_device(rows)],  # indexing with a host array would make a GPU wait
            self.class_weights,
            reduction="sum",
            label_smoothing=self.recipe.label_smoothing,
        )

    def logits(self, rows: np.ndarray) -> torch.Tensor:
        """Logits of the texts `rows`, [texts, classes] float32."""
        with self.device.autocast():
            return compute_logits(self.model, self.store.gather(rows), self.mode).float()

    def read_losses(self) -> list[float]:
        """The batch losses since the last call, summed over processes. The host waits for the device only here."""
        if not self.losses:
            return []
        values = torch.stack(self.losses)
        self.losses = []
        if self.device.processes > 1:
            sum_over_processes([values])
        return values.tolist()
