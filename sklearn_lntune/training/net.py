"""skorch's loop over our batches, with our rules at its hooks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import skorch
import torch
from packaging.version import Version
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochTimer, PassthroughScoring
from skorch.exceptions import SkorchException

from sklearn_lntune.network import Batch, Network
from sklearn_lntune.task import OneLabel
from sklearn_lntune.training.callbacks import not_recorded
from sklearn_lntune.training.checkpoint import Checkpoint
from sklearn_lntune.training.optimizer import build_optimizer
from sklearn_lntune.training.ranks import ALONE, Ranks
from sklearn_lntune.training.report import EpochLines, ProgressBar
from sklearn_lntune.training.rows import Batches, Begun, Rows
from sklearn_lntune.training.rules import (
    BAD_OUTPUT,
    BAD_VALUES,
    Progress,
    Snapshot,
    clip_gradients,
    divergence,
    divide_gradients,
    finite_fits,
    lr_factor,
    on_host,
    row_losses,
    set_lr,
)
from sklearn_lntune.training.scoring import validation_score
from sklearn_lntune.training.settings import Settings

#: The oldest version whose hooks are those that the net overrides; as in pyproject.toml.
OLDEST_SKORCH = "1.1"
if Version(skorch.__version__) < Version(OLDEST_SKORCH):
    raise ImportError(
        f"sklearn-lntune needs skorch {OLDEST_SKORCH} or newer, but {skorch.__version__} is "
        f"installed: pip install 'skorch>={OLDEST_SKORCH}'."
    )

OWN_CALLBACKS = (EpochTimer, PassthroughScoring, ProgressBar, EpochLines, Checkpoint)


#: What skorch and its callbacks call a batch: inputs and targets.
Pair: TypeAlias = tuple[Batch, Any]


class StopFitError(Exception):
    """Raised inside the loop to end a fit early, as planned."""


class DeltaNet(NeuralNetClassifier):
    """A skorch net around a built network, whose training set is `Rows`.

    Parameters
    ----------
    module : Network
    task : OneLabel
    settings : Settings
    n_epochs : int
        Epochs that the schedule spans.
    valid : Rows or None
        Scored after each epoch.
    ranks : Ranks
        The processes that fit together.
    """

    def __init__(
        self,
        module: Network,
        *,
        task: OneLabel,
        settings: Settings,
        n_epochs: int,
        valid: Rows | None = None,
        callbacks: Any = None,
        ranks: Ranks = ALONE,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            criterion=torch.nn.CrossEntropyLoss,
            train_split=None,
            classes=task.classes,
            max_epochs=n_epochs,
            batch_size=settings.batch_size,
            callbacks=callbacks,
            device=None,
            verbose=0,
            **kwargs,
        )
        self.task = task
        self.settings = settings
        self.n_epochs = n_epochs
        self.valid = valid
        self.ranks = ranks
        #: Where a fit that resumes goes on.
        self.epochs_left = n_epochs
        self.begun = Begun()

    # -- what skorch asks for ------------------------------------------------------

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
        ]

    def check_data(self, X: Any, y: Any = None) -> None:
        """Nothing: rows were checked before they were made."""

    def initialize_optimizer(self, triggered_directly: Any = None) -> DeltaNet:
        """Build the optimiser from the settings."""
        self.optimizer_ = build_optimizer(
            self.module_, self.settings.rates, self.settings.weight_decay
        )
        return self

    def get_split_datasets(self, X: Rows, y: Any = None, **fit_params: Any) -> Any:
        """The rows given, and those kept for validation."""
        return X, self.valid

    def get_iterator(self, dataset: Rows, training: bool = False) -> Batches:
        """Batches of like length; shuffled for training."""
        size = self.settings.batch_size
        return Batches(dataset, size, self.module_, training, self.ranks, self.begun)

    # -- the loop ------------------------------------------------------------------

    def train(
        self,
        rows: Rows,
        before_first_step: Callable[[DeltaNet], None] | None = None,
    ) -> DeltaNet:
        """Run skorch's loop. Unlike `fit`, an interrupt by the user is not swallowed."""
        self.initialize()
        self._parameters = list(self.module_.learnt.values())
        self.progress_ = Progress(n_fits=1)
        self._last_good = Snapshot(self._parameters)
        self._best = Snapshot(self._parameters)
        self._steps_an_epoch = self.settings.steps_an_epoch(len(rows))
        self._patience_spent = False
        self._reset_step()
        if before_first_step is not None:
            before_first_step(self)
        epochs = self.epochs_left
        try:
            self.notify("on_train_begin", X=rows, y=None)
        except StopFitError:
            epochs = 0
        try:
            with contextlib.suppress(StopFitError):
                self.fit_loop(rows, epochs=epochs)
            if self.progress_.step and not self._has_best:
                self._check_last_step(rows)
        finally:
            if self._has_best:
                self._best.restore()
            with contextlib.suppress(StopFitError):
                self.notify("on_train_end", X=rows, y=None)
        return self

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """As skorch's, but tell a callback's wish to stop from the user's Ctrl-C.

        skorch's callbacks (EarlyStopping) end a fit by raising KeyboardInterrupt. The other
        callbacks hear of the event all the same. Between epochs, the main process decides for
        all.
        """
        getattr(self, method_name)(self, **cb_kwargs)
        stop = False
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except KeyboardInterrupt:
                if isinstance(callback, OWN_CALLBACKS):
                    raise
                stop = True
            except (KeyError, SkorchException) as error:
                told = method_name == "on_epoch_end" and not_recorded(
                    callback, self.history[-1].keys() - {"batches"}
                )
                if not told:
                    raise
                raise told from error
        if method_name in ("on_train_begin", "on_epoch_end"):
            stop = self.ranks.broadcast(stop or self._patience_spent)
        if stop:
            raise StopFitError

    def infer(self, x: Batch, **fit_params: Any) -> torch.Tensor:
        """Logits of a batch."""
        logits: torch.Tensor = self.module_(x)
        return logits

    def train_step(self, batch: Pair, **fit_params: Any) -> dict[str, Any]:
        """Add a batch's gradient; after ``accumulate`` batches, or the epoch's last, step."""
        result = self.train_step_single(batch, **fit_params)
        n_rows = batch[0].n_rows
        self._batches_pending += 1
        self._rows_pending += n_rows
        self._rows_seen += n_rows
        last = self._rows_seen == self._rows_total
        due = last or self._batches_pending == self.settings.accumulate
        n_bytes = self.ranks.sum_([result["loss"], *(self._gradients() if due else ())])
        if due:
            self._bytes_a_step = n_bytes
            # Of all that a batch does, only this waits for the device: skorch, too, reads
            # the loss, and finds it on the host.
            losses, norms = on_host(result["loss"].view(1), self._gradient_norms(batch))
            result["loss"] = torch.from_numpy(losses)[0]
            if not np.isfinite(losses).all():
                self._diverged(f"the loss is {losses[0]}", self.progress_.step + 1)
            if not np.isfinite(norms).all():
                self._diverged("the gradient is not finite", self.progress_.step + 1)
            self._step()
        return result

    def train_step_single(self, batch: Pair, **fit_params: Any) -> dict[str, Any]:
        """Forward and backward; the gradient is that of the sum over rows."""
        self._set_training(True)
        rows, _ = batch
        logits = self.infer(rows)
        total = row_losses(self.task, logits, rows, self.settings.label_smoothing).sum()
        torch.autograd.backward(total)
        return {"loss": total.detach() / rows.n_rows, "y_pred": logits.detach()}

    def validation_step(self, batch: Pair, **fit_params: Any) -> dict[str, Any]:
        """The loss of a batch, weighted and without smoothing; the logits are kept for scoring."""
        self._set_training(False)
        rows, _ = batch
        with torch.no_grad():
            logits = self.infer(rows)
            loss = row_losses(self.task, logits, rows).sum() / rows.n_rows
        logits = self.ranks.spread(logits, rows.n_rows)
        self.ranks.sum_([loss, logits])
        self._valid_logits.append(logits)
        return {"loss": loss, "y_pred": logits}

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Start counting rows, from where a fit that resumes goes on."""
        super().on_epoch_begin(net, dataset_train=dataset_train, **kwargs)
        begun, self.begun = self.begun, Begun()
        self.history[-1]["batches"] = begun.records()
        self._rows_seen, self._rows_total = sum(begun.sizes), len(dataset_train)
        self._valid_logits: list[torch.Tensor] = []

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Count the rows of all processes, which skorch weighs the losses by."""
        part = "train" if training else "valid"
        self.history.record_batch(f"{part}_batch_size", batch[0].n_rows)

    def on_epoch_end(self, net: Any, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Score, keep the best delta, stop when patience is spent."""
        logits = None if dataset_valid is None else self._validation_logits(dataset_valid)
        if logits is not None and not np.isfinite(logits).all():
            self._diverged(BAD_OUTPUT, self.progress_.step)
        self.history.record("lr", self.optimizer_.param_groups[0]["lr"])
        self.history.record("n_steps", self.progress_.step)
        if self.ranks.size > 1:
            self.history.record("bytes_a_step", self._bytes_a_step)
        if logits is None:
            return
        earlier = [row["valid_score"] for row in self.history if "valid_score" in row]
        score = validation_score(self.task, logits, dataset_valid, self.settings.scoring, earlier)
        score = self.ranks.broadcast(score)
        self.history.record("valid_score", score)
        if not self.settings.early_stopping:
            return
        if self.progress_.note_scores(len(self.history), np.array([score]))[0]:
            self._best.take()
        self._patience_spent = bool(self.progress_.out_of_patience(self.settings.patience)[0])

    @property
    def is_between_steps(self) -> bool:
        """Whether no gradient is pending."""
        return self._batches_pending == 0

    @property
    def snapshots(self) -> dict[str, Snapshot]:
        """The values that training may go back to."""
        return {"best": self._best, "last_good": self._last_good}

    # -- parts of a step -----------------------------------------------------------

    def _gradient_norms(self, batch: Pair) -> torch.Tensor:
        """Of each fit, before the gradients are clipped."""
        divide_gradients(self._parameters, [self._rows_pending])
        self.notify(
            "on_grad_computed",
            named_parameters=list(self.module_.learnt.items()),
            batch=batch,
            training=True,
        )
        return clip_gradients(self._parameters, [self.settings.max_grad_norm])

    def _step(self) -> None:
        self._last_good.take(self.progress_.step)
        n_steps = self.n_epochs * self._steps_an_epoch
        set_lr(
            self.optimizer_,
            lr_factor(self.progress_.step, n_steps, self.settings.warmup, self.settings.schedule),
        )
        self.optimizer_.step()
        self.progress_.step += 1
        self._reset_step()

    def _gradients(self) -> list[torch.Tensor]:
        return [p.grad for p in self._parameters if p.grad is not None]

    def _reset_step(self) -> None:
        self.optimizer_.zero_grad()
        self._batches_pending = self._rows_pending = 0

    def _validation_logits(self, rows: Rows) -> np.ndarray:
        found = [logits.cpu().numpy() for logits in self._valid_logits]
        return self.get_iterator(rows).in_row_order(found)

    @property
    def _has_best(self) -> bool:
        """Whether an earlier epoch is what stays."""
        return bool(self.settings.early_stopping and self.progress_.best_epoch[0])

    def _check_last_step(self, rows: Rows) -> None:
        """Check the values that the last step led to, as the next step checks those of all others.

        They meet the longest rows of one batch.
        """
        batch, _ = next(iter(self.get_iterator(rows.longest(self.settings.batch_size))))
        self._set_training(False)
        # With gradients, so that a compiled backbone need not be compiled anew.
        loss = row_losses(self.task, self.infer(batch), batch).detach().sum()
        self.ranks.sum_([loss])
        finite = finite_fits(self._parameters, 1) & loss.isfinite()
        if not finite.item():
            self._diverged(BAD_VALUES, self.progress_.step)

    def _diverged(self, what: str, step: int) -> None:
        """Go back to the last good values, since ``step``, counted from 1, is not good."""
        self._last_good.restore()
        self.progress_.best_epoch[:] = 0  # the last good delta is what stays
        lr = max(group["lr"] for group in self.optimizer_.param_groups)
        raise divergence(what, len(self.history), step, lr)
