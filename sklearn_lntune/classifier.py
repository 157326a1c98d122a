"""The estimator: scikit-learn's face of the rooms below. No torch code here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from sklearn_lntune.persistence import FittedState, check_format, with_format
from sklearn_lntune.saving import SavingMixin
from sklearn_lntune.task import OneLabel
from sklearn_lntune.text.stream import Texts, TextTable, open_texts, with_labels
from sklearn_lntune.training.labelled import Labelled
from sklearn_lntune.tuning.base import TuningMethod, TuningSum
from sklearn_lntune.tuning.names import as_plain, methods_of, nested_params, with_params

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_lntune.prediction import Predictor
    from sklearn_lntune.training.fitting import Outcome
    from sklearn_lntune.training.net import DeltaNet

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


class LNTunedTransformerClassifier(
    SavingMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator
):
    """Classify texts by training only the norms of a frozen transformer, and a head.

    The backbone is loaded once a process and never changes; what a fit learns is a
    *delta* of some ten thousand numbers. So clones are free, pickles are kilobytes and
    all candidates of a grid search share one backbone.

    Parameters
    ----------
    backbone : str or path, default="sentence-transformers/all-MiniLM-L6-v2"
        A folder written by transformers, or a name on the Hugging Face hub. Installed
        packages that carry a backbone come before the hub.
    tuning : str, TuningMethod or TuningSum, default="layernorm"
        What is trained beside the head: ``"layernorm"``, ``"bias"``, ``"lora"``,
        ``"prefix"``, ``"adapter"``, several of them joined with ``+``, ``"full"``,
        ``"head"`` (nothing else), the name of a preset (`tuning.PRESETS`), or method
        objects. Nested parameters go by the method's name, for instance
        ``tuning__layernorm__terms``.
    pooling : {"auto", "cls", "mean", "max", "last", "native"}, default="auto"
        How token states become one vector. ``"auto"`` follows the backbone's
        sentence-transformers files, else takes the last token of causal models and the
        mean of others. ``"native"`` trains the head of the model's own
        ``...ForSequenceClassification``, whose pooler stays frozen.
    max_length : "auto" or int, default="auto"
        Longest input in tokens; longer texts are cut, with one warning. ``"auto"`` is
        the sentence-transformers limit where there is one, else the smaller of 512 and
        the model's positions.
    text_column : "auto", str or two str, default="auto"
        Where ``X`` is a ``datasets`` table or Parquet: the column of the texts, or two of
        sentence pairs. ``"auto"`` is ``"text"``, else ``"text_a"`` and ``"text_b"``, else
        the only column of strings.
    label_column : str, default="label"
        In such a table, the column of the labels, read where ``y`` is not passed.
    lr : "auto", float or dict, default="auto"
        Peak learning rate. ``"auto"`` is each tuning method's own (5e-3 for
        ``"layernorm"``). In a sum, a dict gives one for each method, for instance
        ``{"layernorm": 5e-3, "prefix": 1e-2}``; those left out are ``"auto"``.
    head_lr : "auto" or float, default="auto"
        Peak learning rate of the head.
    batch_size : int, default=32
        Rows a batch.
    max_epochs : int, default=5
        Passes over the training rows, unless ``min_steps`` asks for more.
    min_steps : int, default=300
        Optimiser steps at the least: small data gets more epochs.
    accumulate : int, default=1
        Batches whose gradients make one step.
    warmup : float, default=0.1
        Share of the steps over which the learning rate rises.
    schedule : {"linear", "cosine", "constant"}, default="linear"
        How the learning rate falls afterwards.
    weight_decay : float, default=0.01
        AdamW's, on matrices only: never on gains, biases.
    max_grad_norm : float or None, default=1.0
        Longest gradient; a longer one is scaled down.
    dropout : float in [0, 1), default=0.1
        On the pooled vector. The backbone always runs without.
    label_smoothing : float in [0, 1), default=0.0
        Share of the target spread over all classes.
    class_weight : None, "balanced" or dict, default=None
        Weight of each class; "balanced" is the inverse of its frequency.
    early_stopping : bool, default=False
        Score a validation set after each epoch, stop when it does not improve and keep
        the delta of the best epoch.
    validation_fraction : float in (0, 1), default=0.1
        Share of the training rows held out for early stopping, stratified where the
        classes allow it. Not used when ``X_val`` is passed.
    patience : int, default=5
        Epochs without improvement that early stopping waits.
    scoring : str or callable, default="loss"
        Early stopping's score: ``"loss"`` or a scikit-learn scorer.
    callbacks : list of skorch callbacks, optional
        They see real epochs and batches, and may end the fit as skorch's do.
    device : str, default="auto"
        ``"auto"`` is CUDA where there is one, then Apple's GPU, then the CPU.
    distributed : bool, default=False
        Whether all processes that ``accelerate launch`` started fit together, each a share
        of every batch; ``batch_size`` stays that of the whole. In a script that runs by
        itself, the plain fit.
    precision : {"auto", "bfloat16", "float32", "float64"}, default="auto"
        Type of the frozen weights. ``"auto"`` trains in bfloat16 where the hardware has
        it and predicts in float32. What is learnt is always float32 (float64 under
        "float64").
    compile : bool, default=False
        Whether the backbone runs through `torch.compile`, in training and prediction.
        Compiling takes its time and pays for long fits only. On a CPU it needs a C++
        compiler.
    revision : str, optional
        Branch, tag or commit of the backbone on the hub.
    trust_remote_code : bool, default=False
        Whether a backbone may run code that comes with it.
    random_state : int, RandomState or None, default=None
        Seed of the head, dropout, shuffling and the validation split. None takes fresh
        entropy. The global random state is never used nor changed.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints a line an epoch.
    warm_start : bool, default=False
        Whether `fit` goes on from the delta of the previous fit.
    checkpoint : str or path, optional
        A folder of this fit's own. `fit` writes its state there, and the same call on the
        same data goes on from it and ends with the same delta, bit for bit. When a fit is
        finished, the same call returns its result at once. A call with other data or
        parameters is refused. `partial_fit` leaves the folder alone.
    checkpoint_every : int, default=100
        Optimiser steps between two writings; the end of each epoch is written too.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    delta_ : dict of str to ndarray
        The learnt values, by ``<method>/<module path>/<array>``.
    backbone_ : dict
        Name, revision and fingerprints of the backbone and its tokenizer.
    history_ : pandas.DataFrame
        A row an epoch.
    n_steps_, n_epochs_ : int
        Optimiser steps taken and epochs passed.
    net_ : skorch.NeuralNetClassifier
        A skorch net around the fitted network, for inspection.
    pooling_, max_length_ : str, int
        As resolved.
    tuning_ : list of dict
        The tuning methods of the fit, by name, with their parameters.
    embedding_size_ : int
        Length of the vectors that `embed` gives.
    n_features_in_ : int
        Columns of ``X``: 1 for texts, 2 for pairs.
    feature_names_in_ : ndarray of str
        Names of these columns, where ``X`` was a frame.

    References
    ----------
    W. Qi, Y.-P. Ruan, Y. Zuo, T. Li (2022). Parameter-Efficient Tuning on Layer
    Normalization for Pre-trained Language Models. arXiv:2211.08682.

    Examples
    --------
    >>> from sklearn_lntune import LNTunedTransformerClassifier
    >>> from sklearn_lntune.datasets import load_support_tickets
    >>> texts, labels = load_support_tickets(subset="train", return_X_y=True)
    >>> clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    >>> clf.fit(texts[:64], labels[:64]).predict(["it froze again"]).shape
    (1,)
    """

    # Set by fitting; declared for the type checker only.
    backbone_: dict[str, Any]
    tuning_: list[dict[str, Any]]
    pooling_: str
    max_length_: int
    classes_: np.ndarray
    delta_: dict[str, np.ndarray]
    embedding_size_: int
    log_: list[dict[str, Any]]
    n_steps_: int
    n_epochs_: int
    n_features_in_: int

    def __init__(
        self,
        backbone: str | os.PathLike[str] = DEFAULT_BACKBONE,
        *,
        tuning: str | TuningMethod | TuningSum = "layernorm",
        pooling: str = "auto",
        max_length: int | Literal["auto"] = "auto",
        text_column: str | Sequence[str] = "auto",
        label_column: str = "label",
        lr: float | Literal["auto"] | Mapping[str, float] = "auto",
        head_lr: float | Literal["auto"] = "auto",
        batch_size: int = 32,
        max_epochs: int = 5,
        min_steps: int = 300,
        accumulate: int = 1,
        warmup: float = 0.1,
        schedule: str = "linear",
        weight_decay: float = 0.01,
        max_grad_norm: float | None = 1.0,
        dropout: float = 0.1,
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 5,
        scoring: Any = "loss",
        callbacks: Any = None,
        device: Any = "auto",
        distributed: bool = False,
        precision: str = "auto",
        compile: bool = False,  # noqa: A002 - as torch calls it
        revision: str | None = None,
        trust_remote_code: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 100,
    ) -> None:
        self.backbone = backbone
        self.tuning = tuning
        self.pooling = pooling
        self.max_length = max_length
        self.text_column = text_column
        self.label_column = label_column
        self.lr = lr
        self.head_lr = head_lr
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.min_steps = min_steps
        self.accumulate = accumulate
        self.warmup = warmup
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.scoring = scoring
        self.callbacks = callbacks
        self.device = device
        self.distributed = distributed
        self.precision = precision
        self.compile = compile
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every

    # -- fitting -------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> LNTunedTransformerClassifier:
        """Train the delta and the head.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,), (n_samples, 1) or (n_samples, 2)
            Texts, or sentence pairs: list, array, Series, frame or ``datasets`` column. Or
            a table that is read in a stream and never held whole: ``datasets.Dataset``,
            ``datasets.IterableDataset``, path of a Parquet file or of a folder of them.
        y : array-like of shape (n_samples,)
            Labels: strings, integers or booleans. May be left out where ``X`` is a table
            that has them.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each row; a row of weight zero counts as absent.
        X_val, y_val, sample_weight_val : array-like, optional
            A validation set of your own, scored after each epoch; with early stopping
            it takes the place of the held-out rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If an argument or the data is not as described, or ``checkpoint`` holds another
            fit or is in use; before any training.
        DamagedFileError
            If ``checkpoint`` is not as it was written.
        TrainingDivergedError
            If the loss becomes NaN or infinite. The last good delta is kept.
        KeyboardInterrupt
            On Ctrl-C, after the best delta so far is set.
        """
        with self._columns_kept_on_error():
            texts, y = with_labels(self._check_texts(X, reset=True), y, self.label_column)
            task = OneLabel.from_targets(y)
            data = self._check_targets(texts, y, sample_weight, task)
            validation = self._check_validation(X_val, y_val, sample_weight_val, task)
            start = self._previous_delta(task) if self.warm_start else None
            outcome = self._train(self.get_params(deep=False), task, data, validation, start=start)
        self.__dict__.pop("moments_", None)
        return self._finish(outcome)

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None
    ) -> LNTunedTransformerClassifier:
        """Train one epoch on ``X`` at constant ``lr``, going on from where one left off.

        Parameters
        ----------
        X, y, sample_weight : array-like
            As for `fit`.
        classes : array-like of shape (n_classes,), optional
            All labels there will ever be; needed at the first call only.

        Returns
        -------
        self
        """
        first = not hasattr(self, "delta_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        task = OneLabel(self.classes_) if classes is None else OneLabel.from_targets(classes)
        if not first and not np.array_equal(task.classes, self.classes_):
            raise ValueError(
                f"classes={task.classes.tolist()} differ from those of the first call, "
                f"{self.classes_.tolist()}."
            )
        texts, y = with_labels(self._check_texts(X, reset=first), y, self.label_column)
        data = self._check_targets(texts, y, sample_weight, task)
        n_steps, log = (0, []) if first else (self.n_steps_, self.log_)
        outcome = self._train(
            self.get_params(deep=False) | _ONE_EPOCH,
            task,
            data,
            start=None if first else self._previous_delta(task),
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
        task: OneLabel,
        data: Labelled,
        validation: Labelled | None = None,
        *,
        start: Any = None,
        moments: Any = None,
        steps_before: int = 0,
    ) -> Outcome:
        """Train, and set the fitted attributes however the training ended."""
        # torch and transformers are imported from here on only.
        from sklearn_lntune.fusion.entering import run
        from sklearn_lntune.training.checkpoint import opened
        from sklearn_lntune.training.preparing import prepare
        from sklearn_lntune.training.ranks import find_ranks

        seed, ranks = self._seed(steps_before), find_ranks(params["distributed"])
        folder, every = params["checkpoint"], params["checkpoint_every"]
        with opened(folder, every, writes=ranks.is_main) as checkpoint:
            options = {"start": start, "moments": moments, "checkpoint": checkpoint}
            job = prepare(params, task, data, validation, seed=seed, ranks=ranks, **options)
            outcome = run(job)
        state = FittedState(
            backbone=job.backbone.identity,
            tuning=as_plain(job.methods),
            pooling=job.pooling,
            max_length=job.max_length,
            classes=task.classes,
            delta=outcome.delta,
            embedding_size=outcome.embedding_size,
            log=outcome.log,
            n_steps=outcome.n_steps,
            n_epochs=outcome.n_epochs,
        )
        self._set_state(state, {})
        return outcome

    def _finish(self, outcome: Outcome) -> LNTunedTransformerClassifier:
        """With all attributes set, let an early end be known."""
        if outcome.error is not None:
            raise outcome.error
        return self

    # -- answers -------------------------------------------------------------------

    def predict(self, X: Any) -> np.ndarray:
        """The most likely label of each row.

        Parameters
        ----------
        X : array-like of str
            As for `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        logits = self._compute(X)
        return self._task.decide(logits)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, in the order of ``classes_``.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        logits = self._compute(X)
        return self._task.probabilities(logits)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithm of `predict_proba`, exact also where a probability underflows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        logits = self._compute(X)
        return self._task.log_probabilities(logits)

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits; for two classes their difference, positive for ``classes_[1]``.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
        """
        logits = self._compute(X)
        return self._task.decision(logits)

    def embed(self, X: Any) -> np.ndarray:
        """The pooled vectors that the head reads, with the learnt delta.

        Returns
        -------
        ndarray of shape (n_samples, embedding_size)
        """
        return self._compute(X, "pooled")

    def transform(self, X: Any) -> np.ndarray:
        """As `embed`, so that the classifier can stand inside a pipeline as a step.

        Returns
        -------
        ndarray of shape (n_samples, embedding_size)
        """
        return self.embed(X)

    @property
    def history_(self) -> pd.DataFrame:
        """A row an epoch: losses, validation score, learning rate, seconds."""
        check_is_fitted(self, "log_")
        import pandas as pd

        return pd.DataFrame(self.log_)

    @property
    def net_(self) -> DeltaNet:
        """A skorch net around the fitted network, with the history of the fit."""
        check_is_fitted(self, "delta_")
        from sklearn_lntune.training.net import DeltaNet
        from sklearn_lntune.training.settings import Settings

        predictor = self._predictor()
        methods = methods_of(self.tuning)
        net = DeltaNet(
            predictor.network,
            task=self._task,
            settings=Settings.check(methods, self.get_params(deep=False)),
            pad_id=predictor.pad_id,
            n_epochs=self.n_epochs_,
        ).initialize()
        net.history.extend(self.log_)
        return net

    def _compute(self, X: Any, output: str = "logits") -> np.ndarray:
        check_is_fitted(self, "delta_")
        texts = self._check_texts(X, reset=False)
        from sklearn_lntune.fusion.entering import ask

        state = FittedState.from_attributes(vars(self))
        return ask(self, state, texts, output, self.verbose, **self._where)

    def _predictor(self) -> Predictor:
        from sklearn_lntune.prediction import located, predictor_for

        state = FittedState.from_attributes(vars(self))
        return predictor_for(self, state, *located(state, **self._where))

    @property
    def _where(self) -> dict[str, Any]:
        """The parameters that say where and on what to predict."""
        names = ("backbone", "revision", "trust_remote_code", "device", "precision", "compile")
        return {name: getattr(self, name) for name in names}

    @property
    def _task(self) -> OneLabel:
        return OneLabel(self.classes_)

    @property
    def _n_features_out(self) -> int:
        return int(self.embedding_size_)

    # -- checks --------------------------------------------------------------------

    def _check_texts(self, X: Any, *, reset: bool) -> Texts:
        """The rows of ``X``; its columns are noted, or compared with those of the fit."""
        texts = open_texts(X, self.text_column, self.label_column)
        if isinstance(texts, TextTable) or _has_columns(X):
            if isinstance(texts, TextTable):
                # Whoever fitted on texts without a name may predict a table of any.
                X = texts.header(named=reset or hasattr(self, "feature_names_in_"))
            validate_data(self, X, reset=reset, skip_check_array=True)
        elif reset:
            self.n_features_in_ = 1
            self.__dict__.pop("feature_names_in_", None)
        elif self.n_features_in_ != 1:
            raise ValueError(
                f"X has 1 features, but {type(self).__name__} is expecting {self.n_features_in_} "
                "features as input: it was fitted on sentence pairs."
            )
        return texts

    @contextlib.contextmanager
    def _columns_kept_on_error(self) -> Iterator[None]:
        """Let a fit that fails early leave an estimator that still predicts as before."""
        names = ("n_features_in_", "feature_names_in_")
        before = {name: vars(self)[name] for name in names if name in vars(self)}
        try:
            yield
        except BaseException:  # Ctrl-C while tokenising, too
            for name in names:
                self.__dict__.pop(name, None)
            self.__dict__.update(before)
            raise

    def _check_targets(
        self, texts: Texts, y: Any, sample_weight: Any, task: OneLabel, name: str = "y"
    ) -> Labelled:
        """``texts`` with class number and weight of each row."""
        check_consistent_length(texts, y)
        codes = task.encode(y, name)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, np.empty((len(texts), 1)), dtype=float, ensure_non_negative=True
            )
        weights = task.row_weights(codes, sample_weight, self.class_weight)
        if not weights.any():
            raise ValueError(f"every row of {name} has weight zero: nothing to learn from.")
        return Labelled(texts, codes, weights)

    def _check_validation(
        self, X_val: Any, y_val: Any, sample_weight_val: Any, task: OneLabel
    ) -> Labelled | None:
        if X_val is None and y_val is None and sample_weight_val is None:
            return None
        if X_val is None:
            raise ValueError("X_val and y_val must be passed together.")
        texts, y_val = with_labels(self._check_texts(X_val, reset=False), y_val, self.label_column)
        if y_val is None:
            raise ValueError("X_val and y_val must be passed together.")
        return self._check_targets(texts, y_val, sample_weight_val, task, "y_val")

    def _previous_delta(self, task: OneLabel) -> dict[str, np.ndarray] | None:
        """The delta to go on from; its classes and tuning must be those of this fit."""
        if not hasattr(self, "delta_"):
            return None
        if not np.array_equal(task.classes, self.classes_):
            raise ValueError(
                f"warm_start goes on with the classes {self.classes_.tolist()}, but y has "
                f"{task.classes.tolist()}. Set warm_start=False to start anew."
            )
        if as_plain(methods_of(self.tuning)) != self.tuning_:
            raise ValueError(
                f"tuning={self.tuning!r} is not what the delta so far was learnt with "
                f"({self.tuning_}); a fit can only go on with the same."
            )
        return self.delta_

    def _seed(self, steps_before: int) -> int:
        """A seed for this fit; calls of `partial_fit` after the first draw afresh."""
        if self.random_state is None:
            entropy = np.random.SeedSequence().generate_state(1)[0]
        else:
            entropy = check_random_state(self.random_state).randint(2**31 - 1)
        return int(np.random.SeedSequence([int(entropy), steps_before]).generate_state(1)[0])

    # -- scikit-learn's protocols ----------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; deep ones of ``tuning`` as ``tuning__<method>__<name>``."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            params |= {_NESTED + key: value for key, value in nested_params(self.tuning).items()}
        return params

    def set_params(self, **params: Any) -> LNTunedTransformerClassifier:
        """Set parameters; a nested one of ``tuning`` changes a copy, never your object."""
        nested = {
            key.removeprefix(_NESTED): params.pop(key)
            for key in list(params)
            if key.startswith(_NESTED)
        }
        super().set_params(**params)
        if nested:
            self.tuning = with_params(self.tuning, nested)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True  # in rows of numbers, which become texts
        tags.classifier_tags.poor_score = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return with_format(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles from before a parameter was there have its default.
        defaults = {name: each.default for name, each in signature(type(self)).parameters.items()}
        super().__setstate__({**defaults, **check_format(state)})


def load(
    path: str | os.PathLike[str],
    *,
    backbone: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    trust_remote_code: bool = False,
) -> LNTunedTransformerClassifier:
    """Read a classifier written by `LNTunedTransformerClassifier.save` or `push_to_hub`.

    Every byte is compared with the digests written with it, and what the files say is
    checked before memory is taken for it. No code can run: the files hold numbers and
    text. Others may save to ``path`` meanwhile. The backbone is read at the first
    prediction.

    Parameters
    ----------
    path : str or path
        A folder, a ``.zip``, or ``"user/name"`` on the Hugging Face hub.
    backbone : str or path, optional
        In place of where the backbone was when the classifier was saved. It must be the
        same model; its fingerprint is compared at the first prediction.
    revision : str, optional
        Of the classifier's repository on the hub.
    token : str or bool, optional
        As in huggingface_hub.
    trust_remote_code : bool, default=False
        The parameter of the loaded estimator, whatever the files say of it.

    Returns
    -------
    LNTunedTransformerClassifier

    Raises
    ------
    DamagedFileError
        If a byte is not as it was written, a file is missing or too many, or what the
        files say cannot be.
    ValueError
        If there is no such thing, or a newer version wrote it.

    Examples
    --------
    >>> import sklearn_lntune
    >>> clf = sklearn_lntune.load("tickets.zip")  # doctest: +SKIP
    """
    from sklearn_lntune.persistence.document import read_document

    document, own_backbone = read_document(path, revision=revision, token=token)
    params = document.params | {"trust_remote_code": trust_remote_code}
    if backbone is not None or own_backbone is not None:
        params |= {"backbone": backbone or own_backbone, "revision": None}
    try:
        clf = LNTunedTransformerClassifier(**params)
    except TypeError as error:
        raise ValueError(
            f"{path} has a parameter that this version of sklearn-lntune does not know ({error}); "
            "upgrade it."
        ) from error
    return clf._set_state(document.state, document.columns)  # noqa: SLF001 - of this module


def _has_columns(X: Any) -> bool:
    """Whether ``X`` is a table (a list of pairs is), rather than one sequence of texts."""
    if hasattr(X, "shape") or hasattr(X, "__array__"):
        return len(getattr(X, "shape", None) or np.asarray(X).shape) == 2
    return not isinstance(X[0], str)
