"""What all estimators share: parameters, fitting, vectors, and scikit-learn's protocols.

No torch code here: the rooms that need torch are imported inside the methods.
"""

from __future__ import annotations

import contextlib
import copy
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_lntune.backbone.modality import input_of_backbone, input_of_fit
from sklearn_lntune.backbone.where import Where
from sklearn_lntune.checks import check_flag
from sklearn_lntune.documentation import Documented
from sklearn_lntune.estimators.fit_callbacks import (
    CallbackSupportMixin,
    FitCallbacks,
    epoch_hook,
    with_callbacks,
)
from sklearn_lntune.estimators.saving import SavingMixin
from sklearn_lntune.estimators.showing import visual_block
from sklearn_lntune.inputs.base import Examples, Input, Opened
from sklearn_lntune.persistence import FittedState, check_format, with_format
from sklearn_lntune.task import Task
from sklearn_lntune.task.weights import check_sample_weight
from sklearn_lntune.tuning.base import TuningMethod, TuningSum
from sklearn_lntune.tuning.registry import as_plain, methods_of, nested_params, with_params

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_lntune.estimators.fitted_net import FittedNet
    from sklearn_lntune.prediction.predictor import Predictor
    from sklearn_lntune.training.datasets import RawDataset
    from sklearn_lntune.training.job import Outcome
    from sklearn_lntune.training.ranks import Ranks

DEFAULT_BACKBONE = "sentence-transformers/all-MiniLM-L6-v2"
_NESTED = "tuning__"
#: What `partial_fit` changes about the training parameters.
_ONE_EPOCH = {
    "max_epochs": 1,
    "min_steps": 0,
    "schedule": "constant",
    "warmup": 0.0,
    "early_stopping": False,
    "checkpoint": None,
}


class Fitted:
    """Attributes that a fit sets, declared for the type checker only."""

    backbone_: dict[str, Any]
    tuning_: list[dict[str, Any]]
    pooling_: str
    max_length_: int
    stride_: int | None
    window_pooling_: str | None
    delta_: dict[str, np.ndarray]
    embedding_size_: int
    log_: list[dict[str, Any]]
    n_steps_: int
    n_epochs_: int
    target_kind_: str
    n_features_in_: int
    moments_: dict[str, dict[str, np.ndarray]]


# The dataclass generates the constructor, which only stores: each parameter is declared once.
@dataclass(eq=False, repr=False)
class BaseTuned(
    Documented,
    Fitted,
    SavingMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """An estimator over a frozen backbone; its public subclass documents the parameters."""

    backbone: str | os.PathLike[str] = DEFAULT_BACKBONE
    _: KW_ONLY
    tuning: str | TuningMethod | TuningSum = "layernorm"
    pooling: str = "auto"
    max_length: int | Literal["auto"] = "auto"
    text_column: str | Sequence[str] = "auto"
    label_column: str | Sequence[str] = "label"
    lr: float | Literal["auto"] | Mapping[str, float] = "auto"
    head_lr: float | Literal["auto"] = "auto"
    batch_size: int = 16
    max_epochs: int = 5
    min_steps: int = 150
    accumulate: int = 1
    warmup: float = 0.1
    schedule: str = "linear"
    weight_decay: float = 0.01
    max_grad_norm: float | None = 1.0
    dropout: float = 0.1
    early_stopping: bool = False
    validation_fraction: float = 0.1
    patience: int = 5
    scoring: Any = "loss"
    callbacks: Any = None
    device: Any = "auto"
    distributed: bool = False
    precision: str = "auto"
    compile: bool = False
    revision: str | None = None
    trust_remote_code: bool = False
    random_state: Any = None
    verbose: int = 0
    warm_start: bool = False
    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_every: int = 100

    # -- for subclasses --------------------------------------------------------------

    #: Kinds of task that the estimator can have, by which `load` finds it.
    _kinds: ClassVar[tuple[str, ...]]

    @abstractmethod
    def _make_task(self, y: Any, sample_weight: Any) -> Task:
        """The task that the training targets and their weights describe, with our options."""

    @abstractmethod
    def _check_goes_on(self, task: Task) -> None:
        """Raise a ValueError if ``task`` is not that of the previous fit."""

    @property
    def _task(self) -> Task:
        """What the outputs of the fitted estimator mean."""
        return self._state().task

    # -- fitting -------------------------------------------------------------------

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train the delta and the head.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,), (n_samples, 1) or (n_samples, 2)
            Texts, or sentence pairs: a list, array, Series, frame, Arrow or ``datasets`` column.
            Or a table that is streamed and never loaded whole: a ``datasets.Dataset``, a
            ``datasets.IterableDataset``, the path of a Parquet file or of a folder of them.
            If the backbone takes images: paths of files, arrays, PIL images, an array of shape
            (n_samples, height, width) or (n_samples, height, width, 3), or such a table.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Of a classifier: labels, which are strings, whole numbers or booleans, in any
            form that scikit-learn's classifiers accept; or an indicator, dense or sparse, with a
            column of 0 and 1 for each of several labels. Of a regressor: numbers. May be left
            out if ``X`` is a table with a column of labels, or several.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each row; a row of weight zero is ignored.
        X_val, y_val, sample_weight_val : array-like, optional
            A validation set, scored after each epoch; with early stopping it is used
            instead of held-out rows.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If an argument or the data is not as described, or ``checkpoint`` holds another
            fit or is in use; before any training.
        DamagedFileError
            If the files in ``checkpoint`` were changed or damaged.
        TrainingDivergedError
            If the loss becomes NaN or infinite. The estimator has the last good delta.
        KeyboardInterrupt
            On Ctrl-C, after the best delta so far has been set.
        """
        callbacks = FitCallbacks(self, X, y, sample_weight)
        with self._fitting() as ranks:
            taken = self._input(reset=True)
            examples, y = self._open(X, y, reset=True, taken=taken).for_training()
            task = self._make_task(y, sample_weight)
            data = self._check_targets(examples, y, sample_weight, task)
            validation = self._check_validation(X_val, y_val, sample_weight_val, task, taken)
            goes_on = check_flag("warm_start", self.warm_start)
            previous = self._previous_fit(task) if goes_on else None
            outcome = self._train(
                self.get_params(deep=False),
                task,
                data,
                validation,
                ranks=ranks,
                previous=previous,
                callbacks=callbacks or None,
            )
        self.__dict__.pop("moments_", None)
        return self._finish(outcome)

    def _fit_one_epoch(
        self, make_task: Callable[[Any], Task], X: Any, y: Any, sample_weight: Any
    ) -> Self:
        """Train one epoch at constant ``lr``, from where an earlier call left off.

        ``make_task`` makes the task from the targets.
        """
        first = not hasattr(self, "delta_")
        n_steps, log = (0, []) if first else (self.n_steps_, self.log_)
        with self._fitting() as ranks:
            examples, y = self._open(X, y, reset=first).for_training()
            task = make_task(y)
            data = self._check_targets(examples, y, sample_weight, task)
            outcome = self._train(
                self.get_params(deep=False) | _ONE_EPOCH,
                task,
                data,
                ranks=ranks,
                previous=None if first else self._previous_fit(task),
                moments=getattr(self, "moments_", None),
                steps_before=n_steps,
            )
        self.log_ = log + [
            {**row, "epoch": row["epoch"] + len(log), "n_steps": row["n_steps"] + n_steps}
            for row in outcome.log
        ]
        self.n_steps_, self.n_epochs_ = n_steps + outcome.n_steps, len(self.log_)
        self.moments_ = outcome.moments
        return self._finish(outcome)

    def _train(
        self,
        params: dict[str, Any],
        task: Task,
        data: RawDataset,
        validation: RawDataset | None = None,
        *,
        ranks: Ranks,
        previous: FittedState | None = None,
        moments: Any = None,
        steps_before: int = 0,
        callbacks: FitCallbacks | None = None,
    ) -> Outcome:
        """Train, and set the fitted attributes however the training ended."""
        # torch and transformers are imported from here on only.
        from sklearn_lntune.backbone.matching import folder_of
        from sklearn_lntune.fusion.dispatch import run
        from sklearn_lntune.training.checkpoint import opened
        from sklearn_lntune.training.preparing import prepare

        seed = self._seed(steps_before)
        kept, every = params["checkpoint"], params["checkpoint_every"]
        with opened(kept, every, writes=ranks.is_main) as checkpoint:
            options = {"previous": previous, "moments": moments, "checkpoint": checkpoint}
            job = prepare(params, task, data, validation, seed=seed, ranks=ranks, **options)
            # Computed before training, so that it describes the files as they were loaded
            # and the folder that a relative path means now.
            fitted = None if previous is None else previous.backbone
            folder = folder_of(params["backbone"], fitted)
            backbone = job.backbone.identity(params["backbone"], folder)

            def state(outcome: Outcome) -> FittedState:
                return FittedState(
                    backbone=backbone,
                    tuning=as_plain(job.methods),
                    pooling=job.pooling,
                    max_length=job.max_length,
                    stride=job.stride,
                    window_pooling=job.window_pooling,
                    delta=outcome.delta,
                    embedding_size=outcome.embedding_size,
                    log=outcome.log,
                    n_steps=outcome.n_steps,
                    n_epochs=outcome.n_epochs,
                    target_kind=task.kind,
                    target_state=task.state(),
                )

            if callbacks is not None:
                callbacks.begin(job.n_epochs)
                hook = epoch_hook(callbacks, lambda outcome: state(outcome).attributes())
                predicts = callbacks.need_estimator
                job = replace(job, on_epoch=hook, on_epoch_predicts=predicts)
            outcome = run(job)
        self._set_state(state(outcome), {})
        if callbacks is not None and outcome.error is None:
            callbacks.end()
        return outcome

    def _finish(self, outcome: Outcome) -> Self:
        """Raise the error that ended training early, now that all attributes are set."""
        if outcome.error is not None:
            raise outcome.error
        return self

    # -- predictions -----------------------------------------------------------------

    def embed(self, X: Any) -> np.ndarray:
        """Compute the pooled vectors that the head reads, with the learnt delta.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.

        Returns
        -------
        ndarray of shape (n_samples, embedding_size)
            One vector per row.
        """
        return self._compute(X, "pooled")

    def transform(self, X: Any) -> np.ndarray:
        """Return `embed` of ``X``, so that the estimator can be a step of a pipeline.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.

        Returns
        -------
        ndarray of shape (n_samples, embedding_size)
            One vector per row.
        """
        return self.embed(X)

    def accept_backbone(self) -> Self:
        """Tie the fitted classifier to the backbone that is found now.

        A backbone other than that of the fit raises a `BackboneMismatchError`. If you know that
        it computes the same (weights stored in another type, say, or code in which a comment
        changed), this accepts it: `predict`, `save`, warm starts and a `DeltaBank` then treat
        it as the backbone of the fit. Nothing else changes.

        Returns
        -------
        self
            The classifier, with a new ``backbone_``.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        ValueError
            If there is no such backbone, or the delta does not fit it.

        Examples
        --------
        >>> clf.set_params(backbone="/models/half-precision").accept_backbone()  # doctest: +SKIP
        """
        state = self._state()
        from sklearn_lntune.prediction.predictor import accepted

        self.backbone_ = accepted(state, self._ref, self._where)
        return self

    def net(self) -> FittedNet:
        """Make a skorch net around the fitted network, with the history of the fit.

        Its `predict`, `predict_proba` and `score` take texts or sentence pairs and return what this
        estimator returns now; a later fit of the estimator does not change the net. The net
        itself cannot be fitted.

        Returns
        -------
        skorch.NeuralNet
            With the network, the values learnt and the history; for a classifier, a
            ``NeuralNetClassifier``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the backbone is not found, or is not that of the fit.
        """
        check_is_fitted(self, "delta_")
        from sklearn_lntune.estimators.fitted_net import net_class

        fitted = copy.copy(self)  # a later fit changes what self expects of X
        predictor = self._predictor()
        made = net_class(predictor.state.task)
        net = made(
            predictor.network,
            state=predictor.state,
            params=self.get_params(deep=False),
            open_examples=fitted._open_fitted,  # noqa: SLF001 - a copy of self
            find_backbone=fitted._checked_backbone,  # noqa: SLF001
        ).initialize()
        net.history.extend(fitted.log_)
        return net

    @property
    def history_(self) -> pd.DataFrame:
        """One row per epoch: losses, validation score, learning rate, seconds."""
        check_is_fitted(self, "log_")
        import pandas as pd

        return pd.DataFrame(self.log_)

    def _compute(self, X: Any, output: str = "logits") -> np.ndarray:
        check_is_fitted(self, "delta_")
        examples = self._open_fitted(X)
        from sklearn_lntune.prediction.asking import ask

        state = FittedState.from_attributes(vars(self))
        ref, where = self._ref, self._where
        return ask(self, state, examples, output, ref=ref, where=where, verbose=self.verbose)

    def _predictor(self) -> Predictor:
        from sklearn_lntune.prediction.predictor import located, predictor_for

        state = FittedState.from_attributes(vars(self))
        return predictor_for(self, state, *located(state, self._ref, self._where))

    @property
    def _where(self) -> Where:
        return Where.from_params(vars(self))

    @property
    def _n_features_out(self) -> int:
        return int(self.embedding_size_)

    # -- checks --------------------------------------------------------------------

    def _input(self, *, reset: bool) -> Input:
        """The kind of input that ``X`` is, with the parameters that concern it."""
        params = vars(self)
        return input_of_backbone(params) if reset else input_of_fit(self.backbone_, params)

    def _open(self, X: Any, y: Any = None, *, reset: bool, taken: Input | None = None) -> Opened:
        """The rows of ``X``; its columns are recorded, or compared with those of the fit.

        ``taken`` is the kind of input, if it is known already.
        """
        opened = (taken or self._input(reset=reset)).open(X, y)
        header = opened.header
        if header is not None:
            if opened.examples.held is None and not (reset or hasattr(self, "feature_names_in_")):
                # After a fit on texts without a column name, any column name is accepted.
                header = header.to_numpy()
            validate_data(self, header, reset=reset, skip_check_array=True)
        elif reset:
            self.n_features_in_ = 1
            self.__dict__.pop("feature_names_in_", None)
        elif self.n_features_in_ != 1:
            raise ValueError(
                f"X has 1 features, but {type(self).__name__} is expecting {self.n_features_in_} "
                "features as input: it was fitted on sentence pairs."
            )
        return opened

    def _open_fitted(self, X: Any) -> Examples:
        """The rows of ``X``, whose columns are those of the fit."""
        return self._open(X, reset=False).examples

    @contextlib.contextmanager
    def _fitting(self) -> Iterator[Ranks]:
        """Fit in this context, which has the processes that fit together; all fail, or none."""
        from sklearn_lntune.training.ranks import find_ranks

        ranks = find_ranks(self.distributed)
        with ranks.together(), self._columns_kept_on_error():
            yield ranks

    @contextlib.contextmanager
    def _columns_kept_on_error(self) -> Iterator[None]:
        """Restore the columns if a fit fails early, so that the estimator predicts as before."""
        names = ("n_features_in_", "feature_names_in_")
        before = {name: vars(self)[name] for name in names if name in vars(self)}
        try:
            yield
        except BaseException:  # including Ctrl-C while tokenising
            for name in names:
                self.__dict__.pop(name, None)
            self.__dict__.update(before)
            raise

    def _check_targets(
        self, examples: Examples, y: Any, sample_weight: Any, task: Task, name: str = "y"
    ) -> RawDataset:
        """``examples`` with target and weight of each row."""
        from sklearn_lntune.training.datasets import RawDataset

        suffix = name.removeprefix("y")
        targets = task.encode(y, name)
        if len(targets) != len(examples):
            raise ValueError(
                f"X{suffix} and y{suffix} have inconsistent numbers of samples: {len(examples)} "
                f"and {len(targets)}."
            )
        sample_weight = check_sample_weight(sample_weight, len(targets), f"sample_weight{suffix}")
        weights = task.weights(targets, sample_weight)
        if not weights.any():
            raise ValueError(
                f"every row of {name} has weight zero, by sample_weight{suffix} or class_weight: "
                "nothing to learn from."
            )
        return RawDataset(examples, targets, weights)

    def _check_validation(
        self, X_val: Any, y_val: Any, sample_weight_val: Any, task: Task, taken: Input
    ) -> RawDataset | None:
        if X_val is None and y_val is None and sample_weight_val is None:
            return None
        if X_val is None:
            raise ValueError("X_val and y_val must be passed together.")
        examples, y_val = self._open(X_val, y_val, reset=False, taken=taken).for_training()
        if y_val is None:
            raise ValueError("X_val and y_val must be passed together.")
        return self._check_targets(examples, y_val, sample_weight_val, task, "y_val")

    def _previous_fit(self, task: Task) -> FittedState | None:
        """The fit to continue from; its targets and tuning must be those of this one."""
        if not hasattr(self, "delta_"):
            return None
        self._check_goes_on(task)
        if as_plain(methods_of(self.tuning)) != self.tuning_:
            raise ValueError(
                f"tuning={self.tuning!r} is not what the delta so far was learnt with "
                f"({self.tuning_}); a fit can only continue with the same."
            )
        return self._state()

    def _seed(self, steps_before: int) -> int:
        """A seed for this fit; calls of `partial_fit` after the first draw afresh."""
        if self.random_state is None:
            entropy = np.random.SeedSequence().generate_state(1)[0]
        else:
            entropy = check_random_state(self.random_state).randint(2**31 - 1)
        return int(np.random.SeedSequence([int(entropy), steps_before]).generate_state(1)[0])

    # -- scikit-learn's protocols ----------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include those of ``tuning``, as ``tuning__<method>__<name>``.

        Returns
        -------
        dict of str to object
            The parameters and their values.
        """
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            params |= {_NESTED + key: value for key, value in nested_params(self.tuning).items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including nested ones of ``tuning``.

        Parameters
        ----------
        **params : dict
            Values by name. A nested parameter, such as ``tuning__layernorm__terms``, sets a
            changed copy of ``tuning``; your object stays as it was.

        Returns
        -------
        self
            The estimator.
        """
        nested = {
            key.removeprefix(_NESTED): params.pop(key)
            for key in list(params)
            if key.startswith(_NESTED)
        }
        super().set_params(**params)
        if nested:
            self.tuning = with_params(self.tuning, nested)
        return self

    def _sk_visual_block_(self) -> Any:
        return visual_block(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True  # in rows of numbers, which are converted to texts
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return with_format(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A pickle from before a parameter was added gets its default.
        defaults = {name: each.default for name, each in signature(type(self)).parameters.items()}
        super().__setstate__({**defaults, **check_format(state)})
