"""scikit-learn's callbacks (``sklearn.callback``, since 1.9): a fit reports its epochs to them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sklearn_lntune.training.job import Outcome

try:
    from sklearn import callback as _callback
except ImportError:  # an older scikit-learn
    _callback = None


class _WithoutCallbacks:
    """Stands for scikit-learn's class; `object` cannot, since it comes after all other bases."""


_Method = TypeVar("_Method", bound=Callable[..., Any])
CallbackSupportMixin: Any = getattr(_callback, "CallbackSupportMixin", _WithoutCallbacks)


def with_callbacks(fit: _Method) -> _Method:
    """scikit-learn's decorator of a method that calls callbacks."""
    decorated: _Method = fit if _callback is None else _callback.with_callbacks(fit)
    return decorated


class FitCallbacks:
    """The callbacks of an estimator during one of its fits.

    Parameters
    ----------
    estimator : estimator
        With the callbacks that `set_callbacks` or a meta-estimator gave it.
    X, y : array-like
        As passed to `fit`; shown to callbacks that ask for them.
    sample_weight : array-like or None
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
        self._estimator = estimator
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._shown = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._root: Any = None
        self._epoch: Any = None
        self._n_left = 0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(getattr(self._estimator, "_skl_callbacks", ()))

    @property
    def need_estimator(self) -> bool:
        """Whether one looks at the estimator as it is after each epoch."""
        return any(
            "fitted_estimator" in inspect.signature(callback.on_fit_task_end).parameters
            for callback in self._estimator._skl_callbacks  # noqa: SLF001 - scikit-learn's name
        )

    def begin(self, n_epochs: int) -> None:
        """Tell them that a fit of ``n_epochs`` begins."""
        self._root = self._estimator._init_callback_context(max_subtasks=n_epochs)  # noqa: SLF001
        self._root.call_on_fit_task_begin(**self._shown)
        self._n_left = n_epochs
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._epoch = self._root.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._shown)

    def end_epoch(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Tell them that an epoch is over; return whether one asks to stop.

        ``attributes`` returns the fitted attributes as they would be if the fit ended now.
        """
        stop = self._epoch.call_on_fit_task_end(**self._shown, reconstruction_attributes=attributes)
        self._n_left -= 1
        if self._n_left and not stop:
            self._begin_epoch()
        return bool(stop)

    def end(self) -> None:
        """Tell them that the fit is over, and the estimator fitted."""
        self._root.call_on_fit_task_end(**self._shown, reconstruction_attributes=dict)


def epoch_hook(
    callbacks: FitCallbacks, attributes: Callable[[Outcome], dict[str, Any]]
) -> Callable[[Callable[[], Outcome]], bool]:
    """A function for ``Job.on_epoch``; ``attributes`` are those that an outcome stands for."""
    return lambda outcome: callbacks.end_epoch(lambda: attributes(outcome()))
