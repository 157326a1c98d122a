"""The skorch net of a fitted estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Never, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin

from sklearn_lntune.backbone.pool import Backbone
from sklearn_lntune.inputs.base import Examples
from sklearn_lntune.network import Network
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.prediction.predictor import Predictor
from sklearn_lntune.task import Classifying, Task
from sklearn_lntune.training.net import DeltaNet
from sklearn_lntune.training.settings import Settings
from sklearn_lntune.tuning.registry import from_plain


class FittedNet(DeltaNet):
    """A skorch net that predicts as the estimator it comes from, and does not train.

    Parameters
    ----------
    module : Network
        Holds the learnt values.
    state : FittedState
        The fit.
    params : mapping
        The parameters of the estimator.
    open_examples : callable
        Checks what is predicted, and compares its columns with those of the fit.
    find_backbone : callable
        Returns the backbone of the fit.
    """

    def __init__(
        self,
        module: Network,
        *,
        state: FittedState,
        params: Mapping[str, Any],
        open_examples: Callable[[Any], Examples],
        find_backbone: Callable[[], Backbone],
    ) -> None:
        super().__init__(
            module,
            task=state.task,
            settings=Settings.check(from_plain(state.tuning), params, state.task.check_scoring),
            n_epochs=state.n_epochs,
        )
        self.device = module.device  # skorch warns of None when it unpickles
        self.state = state
        self.answers = state.task
        self.open_examples = open_examples
        self.find_backbone = find_backbone

    def forward_iter(
        self, X: Any, training: bool = False, device: Any = "cpu"
    ) -> Iterator[torch.Tensor]:
        """Logits of the texts or sentence pairs ``X``, one batch at a time."""
        if training:
            raise ValueError("training=True: the net of a fitted estimator only predicts.")
        logits = torch.from_numpy(self._logits(X)).to(device)
        for start in range(0, len(logits), self.batch_size):
            yield logits[start : start + self.batch_size]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class, as the classifier does.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            What `predict` returns, if the estimator is no classifier.
        """
        if not isinstance(self.answers, Classifying):
            return self.predict(X)
        return self.answers.probabilities(self._logits(X))

    def predict(self, X: Any) -> np.ndarray:
        """Predict as the estimator does.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return np.asarray(self.answers.predict(self._logits(X)))

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Never:
        """Raise TypeError: only the estimator can be fitted."""
        what = "classifier" if isinstance(self.answers, Classifying) else "regressor"
        raise TypeError(
            f"the net of a fitted {what} only predicts; to train, call fit or partial_fit of "
            f"the {what}."
        )

    partial_fit = fit

    def __sklearn_clone__(self) -> Self:
        """The net itself, as for scikit-learn's FrozenEstimator: it cannot be fitted again."""
        return self

    def _logits(self, X: Any) -> np.ndarray:
        examples = self.open_examples(X)
        tokens = self.find_backbone().tokens
        return Predictor(self.state, self.module_, tokens).run(examples)


class FittedRegressorNet(RegressorMixin, FittedNet):
    """A `FittedNet` whose `score` is that of regressors."""


def net_class(task: Task) -> type[FittedNet]:
    """The class of the net for an estimator with ``task``."""
    return FittedNet if isinstance(task, Classifying) else FittedRegressorNet
