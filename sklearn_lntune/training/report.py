"""The progress of a fit, as a bar or as printed lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skorch.callbacks import Callback

from sklearn_lntune.console import print_line, progress_bar
from sklearn_lntune.training.job import Outcome


class ProgressBar(Callback):
    """A bar over all batches of the fit, with loss and validation score."""

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Open the bar."""
        an_epoch = -(-len(X) // net.settings.batch_size)
        self.bar_ = progress_bar(
            total=net.n_epochs * an_epoch,
            initial=len(net.history) * an_epoch + len(net.begun),
            desc="fit",
            unit="batch",
        )
        self.shown_: dict[str, str] = {}

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Advance by a training batch."""
        if training:
            self.shown_["loss"] = f"{kwargs['loss'].item():.3f}"
            self.bar_.set_postfix(self.shown_, refresh=False)
            self.bar_.update()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Show the epoch's validation score."""
        row = net.history[-1]
        if "valid_score" in row:
            self.shown_["valid"] = f"{row['valid_score']:.3f}"
            self.bar_.set_postfix(self.shown_)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar_.close()


class EpochLines(Callback):
    """Prints one line per epoch."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Print loss, score and time."""
        row = net.history[-1]
        parts = [f"epoch {row['epoch']:>3}/{net.n_epochs}"]
        parts += [
            f"{name} {row[name]:.4f}"
            for name in ("train_loss", "valid_loss", "valid_score")
            if name in row
        ]
        print_line("  ".join((*parts, f"{row.get('dur', 0.0):.1f} s")))


class EpochHook(Callback):
    """Calls a function after each epoch, which may end the fit.

    Parameters
    ----------
    hook : callable
        As ``Job.on_epoch``.
    outcome : callable
        Returns the outcome of a net as of now.
    """

    def __init__(
        self, hook: Callable[[Callable[[], Outcome]], bool], outcome: Callable[[Any], Outcome]
    ) -> None:
        self.hook = hook
        self.outcome = outcome

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Call the function."""
        if self.hook(lambda: self.outcome(net)):
            raise KeyboardInterrupt  # which is how a callback of skorch ends a fit


def reporters(verbose: int) -> list[tuple[str, Callback]]:
    """The callbacks for ``verbose``: 0 is silent, 1 shows a bar, 2 prints one line per epoch."""
    if verbose <= 0:
        return []
    return [("report", ProgressBar() if verbose == 1 else EpochLines())]
