"""A skorch net that trains a `Network`: skorch's loop and callbacks, the package's steps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, Never, TypeAlias

import numpy as np
import skorch
import torch
from packaging.version import Version
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochTimer, PassthroughScoring
from skorch.exceptions import SkorchException

from sklearn_lntune.network import Batch, Network
from sklearn_lntune.task import Task
from sklearn_lntune.training.batches import Batches, Begun
from sklearn_lntune.training.callbacks import not_recorded
from sklearn_lntune.training.checkpoint import Checkpoint
from sklearn_lntune.training.datasets import EncodedDataset
from sklearn_lntune.training.ranks import ALONE, Ranks
from sklearn_lntune.training.report import EpochLines, ProgressBar
from sklearn_lntune.training.rules import Progress, row_losses
from sklearn_lntune.training.scoring import validation_score
from sklearn_lntune.training.settings import Settings
from sklearn_lntune.training.steps import BAD_OUTPUT, Steps

#: The oldest version that has the hooks which the net overrides; the same as in pyproject.toml.
OLDEST_SKORCH = "1.1"
if Version(skorch.__version__) < Version(OLDEST_SKORCH):
    raise ImportError(
        f"sklearn-lntune needs skorch {OLDEST_SKORCH} or newer, but {skorch.__version__} is "
        f"installed: pip install 'skorch>={OLDEST_SKORCH}'."
    )

OWN_CALLBACKS = (EpochTimer, PassthroughScoring, ProgressBar, EpochLines, Checkpoint)


#: A batch as skorch and its callbacks expect it: inputs and targets.
Pair: TypeAlias = tuple[Batch, Any]


class StopFitError(Exception):
    """Raised inside the loop to end a fit early, as planned."""


class DeltaNet(NeuralNetClassifier):
    """A skorch net around a built network, whose training set is `Rows`.

    Parameters
    ----------
    module : Network
    task : Task
    settings : Settings
    n_epochs, n_steps : int
        Epochs and steps that the schedule spans.
    valid : Rows or None
        Scored after each epoch.
    ranks : Ranks
        The processes that fit together.
    """

    def __init__(
        self,
        module: Network,
        *,
        task: Task,
        settings: Settings,
        n_epochs: int,
        n_steps: int = 1,
        valid: EncodedDataset | None = None,
        callbacks: Any = None,
        ranks: Ranks = ALONE,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            criterion=torch.nn.CrossEntropyLoss,
            train_split=None,
            classes=getattr(task, "classes", None),
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
        self.n_steps = n_steps
        self.valid = valid
        self.ranks = ranks
        #: The batches that a resumed fit skips.
        self.epochs_left = n_epochs
        self.begun = Begun()

    # -- hooks of skorch -----------------------------------------------------------

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
        ]

    def check_data(self, X: Any, y: Any = None) -> None:
        """Do nothing: the rows have been checked already."""

    def initialize_optimizer(self, triggered_directly: Any = None) -> DeltaNet:
        """Build the optimiser from the settings."""
        self.steps_ = Steps(self.module_, [self.settings], [self.n_steps])
        self.optimizer_ = self.steps_.optimizer
        return self

    def get_split_datasets(self, X: EncodedDataset, y: Any = None, **fit_params: Any) -> Any:
        """The given training rows, and the validation rows."""
        return X, self.valid

    def get_iterator(self, dataset: EncodedDataset, training: bool = False) -> Batches:
        """Batches of rows of similar length; shuffled for training."""
        size = self.settings.batch_size
        return Batches(dataset, size, self.module_, training, self.ranks, self.begun)

    # -- the loop ------------------------------------------------------------------

    def train(
        self,
        rows: EncodedDataset,
        before_first_step: Callable[[DeltaNet], None] | None = None,
    ) -> DeltaNet:
        """Run skorch's loop. Unlike `fit`, an interrupt by the user is not swallowed."""
        self.initialize()
        self._patience_spent = False
        self._latest_loss = torch.tensor(torch.nan)
        self._reset_pending()
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
            if self.progress_.step and not self.steps_.has_best(0):
                self._check_last_step(rows)
        finally:
            self.steps_.settle(0)
            with contextlib.suppress(StopFitError):
                self.notify("on_train_end", X=rows, y=None)
        return self

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """As in skorch, but distinguish a callback that ends the fit from the user's Ctrl-C.

        skorch's callbacks (EarlyStopping) end a fit by raising KeyboardInterrupt. The other
        callbacks are still notified of the event. Between epochs, the main process decides
        for all processes.
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
            stop = self.ranks.broadcast(
                stop or self._patience_spent, f"{method_name} of a callback"
            )
        if stop:
            raise StopFitError

    def infer(self, x: Batch, **fit_params: Any) -> torch.Tensor:
        """Logits of a batch."""
        logits: torch.Tensor = self.module_(x)
        return logits

    def train_step(self, batch: Pair, **fit_params: Any) -> dict[str, Any]:
        """Accumulate a gradient; take a step after ``accumulate`` batches, and the last one."""
        result = self.train_step_single(batch, **fit_params)
        n_rows = batch[0].n_rows
        self._rows_pending += n_rows
        self._rows_seen += n_rows
        last = self._rows_seen == self._rows_total
        due = last or len(self._losses_pending) + 1 == self.settings.accumulate
        summed = [result["loss"], *(self._gradients() if due else ())]
        n_bytes = self.ranks.sum_(summed, "a training batch")
        self._losses_pending.append(result["loss"] * n_rows)
        if due:
            self._bytes_a_step = n_bytes
            pending = self.history[-1]["batches"][-len(self._losses_pending) : -1]
            self._latest_loss = torch.from_numpy(self._step(batch))[0]
            for record in pending:
                record["train_loss"] = float(self._latest_loss)
        # skorch reads the loss of each batch, and would wait for the device. What it finds here
        # is on the host already: the mean loss of the step, or, until that is taken, the last one.
        result["loss"] = self._latest_loss
        return result

    def train_step_single(self, batch: Pair, **fit_params: Any) -> dict[str, Any]:
        """Forward and backward; the gradient is that of the sum over rows."""
        self._set_training(True)
        rows, _ = batch
        network = self.module_
        if rows.windows is not None and network.dropout:
            factors = network.dropout_factors((len(rows), network.embedding_size), rows.share)
            rows = dataclasses.replace(rows, dropout=factors)
        logits, losses = [], []
        for piece in rows.pieces():
            logits.append(self.infer(piece))
            losses.append(row_losses(self.task, logits[-1], piece).sum())
            torch.autograd.backward(losses[-1])
        total = torch.stack(losses).detach().sum()
        return {"loss": total / rows.n_rows, "y_pred": torch.cat(logits).detach()}

    def validation_step(self, batch: Pair, **fit_params: Any) -> dict[str, Any]:
        """The loss of a batch, weighted and without smoothing; the logits are kept for scoring."""
        self._set_training(False)
        rows, _ = batch
        with torch.no_grad():
            logits = self.infer(rows)
            loss = row_losses(self.task, logits, rows, training=False).sum() / rows.n_rows
        logits = self.ranks.spread(logits, rows.n_rows)
        self.ranks.sum_([loss, logits], "a validation batch")
        self._valid_logits.append(logits)
        return {"loss": loss, "y_pred": logits}

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Start counting rows; a resumed fit continues its epoch."""
        super().on_epoch_begin(net, dataset_train=dataset_train, **kwargs)
        begun, self.begun = self.begun, Begun()
        self.history[-1]["batches"] = begun.records()
        self._rows_seen, self._rows_total = sum(begun.sizes), len(dataset_train)
        self._valid_logits: list[torch.Tensor] = []

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Record the rows of all processes, by which skorch weights the losses."""
        part = "train" if training else "valid"
        self.history.record_batch(f"{part}_batch_size", batch[0].n_rows)

    def on_epoch_end(self, net: Any, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Score, save the best delta, and stop when the patience is exhausted."""
        logits = None if dataset_valid is None else self._validation_logits(dataset_valid)
        if logits is not None and not np.isfinite(logits).all():
            raise self.steps_.fail(0, BAD_OUTPUT, after_step=True)
        self.history.record("lr", self.optimizer_.param_groups[0]["lr"])
        self.history.record("n_steps", self.progress_.step)
        if self.ranks.size > 1:
            self.history.record("bytes_a_step", self._bytes_a_step)
        if logits is None:
            self.steps_.end_epoch(0, None)
            return
        earlier = [row["valid_score"] for row in self.history if "valid_score" in row]
        score = validation_score(self.task, logits, dataset_valid, self.settings.scoring, earlier)
        score = self.ranks.broadcast(score, "the validation score")
        self.history.record("valid_score", score)
        self._patience_spent = self.steps_.end_epoch(0, score)

    @property
    def is_between_steps(self) -> bool:
        """Whether no gradient is pending."""
        return not self._losses_pending

    @property
    def progress_(self) -> Progress:
        """The progress of the fit."""
        return self.steps_.progress

    # -- parts of a step -----------------------------------------------------------

    def _step(self, batch: Pair) -> np.ndarray:
        """Take a step with the gradients of the pending batches; return their mean loss."""

        def tell() -> None:
            self.notify(
                "on_grad_computed",
                named_parameters=list(self.module_.learnt.items()),
                batch=batch,
                training=True,
            )

        loss = torch.stack(self._losses_pending).sum(0, keepdim=True)
        means = self.steps_.step(loss, [self._rows_pending], _raise, tell)
        self._reset_pending()
        return means

    def _reset_pending(self) -> None:
        self._losses_pending: list[torch.Tensor] = []
        self._rows_pending = 0

    def _gradients(self) -> list[torch.Tensor]:
        return [p.grad for p in self.steps_.parameters if p.grad is not None]

    def _validation_logits(self, rows: EncodedDataset) -> np.ndarray:
        found = [logits.cpu().numpy() for logits in self._valid_logits]
        return self.get_iterator(rows).in_row_order(found)

    def _check_last_step(self, rows: EncodedDataset) -> None:
        """Check the values after the last step, since no following step does.

        A batch of the longest rows is computed with them.
        """
        batch, _ = next(iter(self.get_iterator(rows.longest(self.settings.batch_size))))
        self._set_training(False)
        # With gradients, since a compiled backbone would be compiled again without.
        loss = row_losses(self.task, self.infer(batch), batch, training=False).detach().sum()
        self.ranks.sum_([loss], "the check of the last step")
        for error in self.steps_.check_values({0: loss}).values():
            raise error


def _raise(fit: int, error: Exception) -> Never:
    raise error
