"""The regressor: what is special about predicting numbers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_lntune.estimators.rows import RowEstimator
from sklearn_lntune.task import Numbers, Task
from sklearn_lntune.task.numbers import check_numbers


class _FittedScale:
    """Attributes that a fit sets besides the shared ones, declared for the type checker only."""

    target_mean_: np.ndarray
    target_scale_: np.ndarray


@dataclass(eq=False, repr=False)
class LNTunedTransformerRegressor(_FittedScale, RegressorMixin, RowEstimator):
    """Predict numbers from texts by training only the norms of a frozen transformer, and a head.

    Targets of one column or several are standardised for training, and predictions are in the unit
    of the targets. All else is as for `LNTunedTransformerClassifier`.

    Parameters
    ----------
    backbone : str or path, default="sentence-transformers/all-MiniLM-L6-v2"
        A folder written by transformers, or a name on the Hugging Face hub. An installed
        package that contains the backbone takes precedence over the hub.
    tuning : str, TuningMethod or TuningSum, default="layernorm"
        What is trained besides the head: ``"layernorm"``, ``"bias"``, ``"lora"``,
        ``"prefix"``, ``"adapter"``, ``"scale"``, several of them joined with ``+``,
        ``"full"``, ``"head"`` (the head alone), the name of a preset (`tuning.PRESETS`), or
        method objects. Nested parameters contain the method's name, for instance
        ``tuning__layernorm__terms``.
    pooling : {"auto", "cls", "mean", "max", "last", "pooler", "native"}, default="auto"
        How token states become one vector. ``"auto"`` follows the backbone's
        sentence-transformers files if there are any, and otherwise takes the last token of
        causal models and the mean of others; for images it is what the architecture does.
        ``"pooler"`` is the model's own pooled output, for images only. ``"native"`` trains the
        head of the model's ``...ForSequenceClassification`` or ``...ForImageClassification``
        class, whose pooler stays frozen.
    max_length : "auto" or int, default="auto"
        Longest input in tokens; ``long_texts`` says what is done with longer texts. ``"auto"``
        is the sentence-transformers limit if there is one, otherwise the smaller of 512 and
        the number of positions of the model. Images are not cut: leave it
        at ``"auto"``.
    text_column : "auto", str or two str, default="auto"
        If ``X`` is a ``datasets`` table or Parquet: the column of the texts, or two columns
        of sentence pairs. ``"auto"`` is ``"text"``, else ``"text_a"`` and ``"text_b"``, else
        the only column of strings.
    label_column : str or list of str, default="label"
        In such a table, the column of the numbers, read if ``y`` is not passed. A list names
        several columns of numbers.
    lr : "auto", float or dict, default="auto"
        Peak learning rate. ``"auto"`` is the default of each tuning method (2e-3 for
        ``"layernorm"``). In a sum, a dict gives one for each method, for instance
        ``{"layernorm": 2e-3, "prefix": 1e-2}``; methods left out use ``"auto"``.
    head_lr : "auto" or float, default="auto"
        Peak learning rate of the head; ``"auto"`` is 3e-3.
    batch_size : int, default=16
        Rows per batch.
    max_epochs : int, default=5
        Passes over the training rows, unless ``min_steps`` asks for more.
    min_steps : int, default=150
        Smallest number of optimiser steps: small data sets get more epochs.
    accumulate : int, default=1
        Number of batches whose gradients are summed for one step.
    warmup : float, default=0.1
        Share of the steps during which the learning rate rises.
    schedule : {"linear", "cosine", "constant"}, default="linear"
        How the learning rate falls afterwards.
    weight_decay : float, default=0.01
        Weight decay of AdamW, for matrices only: never for gains or biases.
    max_grad_norm : float or None, default=1.0
        Largest norm of the gradient; a larger gradient is scaled down to it.
    dropout : float in [0, 1), default=0.1
        On the pooled vector. The backbone always runs without dropout.
    early_stopping : bool, default=False
        Score a validation set after each epoch, stop when it does not improve and keep
        the delta of the best epoch.
    validation_fraction : float in (0, 1), default=0.1
        Share of the training rows held out for early stopping. Not used if ``X_val`` is passed.
    patience : int, default=5
        Number of epochs without improvement after which early stopping ends the fit.
    scoring : str or callable, default="loss"
        Score for early stopping: ``"loss"`` or a scikit-learn scorer, such as ``"r2"``.
    callbacks : list of skorch callbacks, optional
        They see the actual epochs and batches, and may end the fit as in skorch.
    device : str, default="auto"
        ``"auto"`` is CUDA if available, then Apple's GPU, then the CPU.
    distributed : bool, default=False
        Whether all processes started by ``accelerate launch`` fit together, each with a
        share of every batch; ``batch_size`` is that of the whole batch. In a script started
        in the usual way, it changes nothing.
    precision : {"auto", "int8", "bfloat16", "float32", "float64"}, default="auto"
        Type of the frozen weights. ``"auto"`` trains in bfloat16 if the hardware supports
        it, and predicts in float32. ``"int8"`` trains in the same way, and predicts on a CPU
        with products of rounded weights and activations; not with full tuning. The delta is
        always float32 (float64 with ``"float64"``).
    compile : bool, default=False
        Whether the backbone runs through `torch.compile`, in training and prediction.
        Compilation takes time and pays off in long fits only. On a CPU it needs a C++
        compiler.
    revision : str, optional
        Branch, tag or commit of the backbone on the hub.
    trust_remote_code : bool, default=False
        Whether a backbone may run code that comes with it.
    random_state : int, RandomState or None, default=None
        Seed of the head, dropout, shuffling and the validation split. None takes fresh
        entropy. The global random state is neither used nor changed.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints one line per epoch.
    warm_start : bool, default=False
        Whether `fit` continues from the delta of the previous fit.
    checkpoint : str or path, optional
        A folder for this fit alone. `fit` writes its state there; after an interruption, the
        same call on the same data resumes from it and ends with the same delta, bit for
        bit. Once a fit is finished, the same call returns its result at once. A call with
        other data or parameters is refused. `partial_fit` ignores the folder.
    checkpoint_every : int, default=100
        Optimiser steps between two checkpoints; there is also one after each epoch.
    image_column : "auto" or str, default="auto"
        In such a table, the column of the images, if the backbone takes images. ``"auto"`` is
        ``"image"``, else the only column of images.
    long_texts : {"truncate", "windows"}, default="truncate"
        ``"truncate"`` drops what is beyond ``max_length``, with one warning. ``"windows"`` cuts
        longer texts into windows of ``max_length`` tokens, computes a vector for each of them,
        and joins these into one vector, which the head reads. No batch takes more memory than
        ``batch_size`` texts of ``max_length`` tokens, however long a text is. Sentence pairs and
        ``pooling="native"`` cannot have windows.
    stride : int, default=0
        Number of tokens that a window shares with the one before it, as in transformers.
    window_pooling : {"mean", "max", "attention"}, default="mean"
        How the vectors of the windows become one: their mean, the maximum of each component, or
        a mean weighted by how well each vector matches a query vector. The query is learnt with
        the head, and starts at zero, which gives the plain mean.
    pairs : {"auto", "joined", "separate"}, default="auto"
        How sentence pairs are read. ``"joined"``: both texts as one row of tokens (a
        cross-encoder). ``"separate"``: each by itself, up to ``max_length`` tokens, and the head
        reads how their vectors differ and agree (a bi-encoder). ``"auto"`` reads them separately
        if the backbone has the files of sentence-transformers, which tell that it was trained to
        embed single texts, and ``pooling`` is not ``"native"``. Single texts are not affected.
    loss : {"squared_error", "absolute_error", "huber"}, default="squared_error"
        Loss of the standardised targets, the mean over their columns. "huber" is squared up to
        an error of one standard deviation, and linear beyond it.

    Attributes
    ----------
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        Weighted mean and standard deviation of the training targets; a column that is constant
        has scale 1.
    target_kind_ : str
        Always ``"numbers"``.
    delta_ : dict of str to ndarray
        The learnt values, by ``<method>/<module path>/<array>``.
    backbone_ : dict
        Name, revision, folder and fingerprints of the backbone and its tokenizer, and the
        parts that the fingerprints are computed from (``"parts"``).
    history_ : pandas.DataFrame
        One row per epoch.
    n_steps_, n_epochs_ : int
        Numbers of optimiser steps and epochs completed.
    pooling_, max_length_ : str, int
        The values used, with ``"auto"`` resolved.
    stride_, window_pooling_ : int, str
        The values used; None if long texts are truncated, 0 and ``"compared"`` if the texts of
        pairs were read separately.
    tuning_ : list of dict
        The tuning methods of the fit, by name, with their parameters.
    embedding_size_ : int
        Length of the vectors that `embed` returns; twice the backbone's if the texts of pairs
        were read separately.
    n_features_in_ : int
        Number of columns of ``X``: 1 for texts, 2 for pairs.
    feature_names_in_ : ndarray of str
        Names of these columns, if ``X`` was a table.

    References
    ----------
    W. Qi, Y.-P. Ruan, Y. Zuo, T. Li (2022). Parameter-Efficient Tuning on Layer
    Normalization for Pre-trained Language Models. arXiv:2211.08682.

    Examples
    --------
    >>> from sklearn_lntune import LNTunedTransformerRegressor
    >>> texts = ["good", "very good", "bad", "very bad"] * 8
    >>> reg = LNTunedTransformerRegressor(max_epochs=1, min_steps=0, random_state=0)
    >>> reg.fit(texts, [4.0, 5.0, 2.0, 1.0] * 8).predict(["rather good"]).shape
    (1,)
    """

    _: KW_ONLY
    loss: str = "squared_error"

    _kinds = (Numbers.kind,)

    # -- fitting -------------------------------------------------------------------

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train one epoch on ``X`` at constant ``lr``, continuing from the previous call.

        The first call determines how targets are standardised.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers, as for `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each row.

        Returns
        -------
        self
            The fitted regressor.
        """

        def make_task(y: Any) -> Task:
            return self._continued() or self._new_task(y, sample_weight)

        return self._fit_one_epoch(make_task, X, y, sample_weight)

    def _make_task(self, y: Any, sample_weight: Any) -> Task:
        return (self.warm_start and self._continued()) or self._new_task(y, sample_weight)

    def _new_task(self, y: Any, sample_weight: Any) -> Numbers:
        return Numbers.from_targets(y, sample_weight, loss=self.loss)

    def _continued(self) -> Numbers | None:
        """The task of the previous fit, whose outputs mean what they meant."""
        if not hasattr(self, "delta_"):
            return None
        return Numbers(self.target_mean_, self.target_scale_, loss=self.loss)

    def _check_goes_on(self, task: Task) -> None:
        """Nothing to compare: `encode` compares the number of columns."""

    # -- predictions -----------------------------------------------------------------

    def predict(self, X: Any) -> np.ndarray:
        """Predict the numbers of each row.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Numbers in the unit of the training targets, in one dimension if those had one
            column.
        """
        outputs = self._compute(X)
        return np.asarray(self._task.predict(outputs))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the coefficient of determination R2 of `predict` on ``X`` and ``y``.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each row.

        Returns
        -------
        float
            1 for perfect predictions, 0 for those of the mean; of several columns, the mean.

        Raises
        ------
        ValueError, TypeError
            If a number is missing, or an argument is not as described.
        """
        check_is_fitted(self, "delta_")
        return float(super().score(X, check_numbers(y, warn=False), sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        tags.target_tags.multi_output = True
        return tags
