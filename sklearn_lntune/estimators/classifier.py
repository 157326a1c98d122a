"""The classifier: what is special about classifying."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass
from typing import Any, Never, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_lntune.backbone.where import BackboneRef
from sklearn_lntune.checks import check_choice, check_path
from sklearn_lntune.estimators.rows import RowEstimator
from sklearn_lntune.inputs.text.windows import LONG_TEXTS
from sklearn_lntune.task import Classifying, ManyLabels, OneLabel, Task
from sklearn_lntune.task.labels import check_labels
from sklearn_lntune.task.many_labels import is_indicator


@dataclass(eq=False, repr=False)
class LNTunedTransformerClassifier(ClassifierMixin, RowEstimator):
    """Classify texts or images by training only the norms of a frozen transformer, and a head.

    The backbone is loaded once per process and never changes; a fit learns a *delta* of
    some ten thousand numbers. So clones are free, pickles take kilobytes, and all
    candidates of a grid search share one backbone.

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
        In such a table, the column of the labels, read if ``y`` is not passed. A list names the
        columns of an indicator, one for each of several labels.
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
        Share of the training rows held out for early stopping, stratified if the classes
        allow it. Not used if ``X_val`` is passed.
    patience : int, default=5
        Number of epochs without improvement after which early stopping ends the fit.
    scoring : str or callable, default="loss"
        Score for early stopping: ``"loss"`` or a scikit-learn scorer.
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
    label_smoothing : float in [0, 1), default=0.0
        Share of the target that is spread evenly over all classes; with several labels per
        row, over the presence and the absence of each.
    class_weight : None, "balanced", dict or list of dict, default=None
        Weight of each class, 0 or more; classes left out of a dict have weight 1.
        "balanced" weights classes inversely to their frequency. With several labels per row, a
        dict has the weight of a label's presence, by the number of its column; a list has a dict
        for each label with the weights of 0 and 1, as for scikit-learn's forests; and
        "balanced" weights the presence and the absence of each label.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels; with several labels per row, the numbers of their columns, as in
        scikit-learn's `MLPClassifier`.
    label_names_ : ndarray of str of shape (n_labels,)
        With several labels per row: the names of the columns of ``y``, if it was a table whose
        columns have distinct names.
    target_kind_ : {"one_label", "many_labels"}
        Whether there is one label per row or several.
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
    >>> from sklearn_lntune import LNTunedTransformerClassifier
    >>> from sklearn_lntune.datasets import load_support_tickets
    >>> texts, labels = load_support_tickets(subset="train", return_X_y=True)
    >>> clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    >>> clf.fit(texts[:64], labels[:64]).predict(["it froze again"]).shape
    (1,)
    """

    _: KW_ONLY
    label_smoothing: float = 0.0
    class_weight: Any = None

    _kinds = (OneLabel.kind, ManyLabels.kind)

    # -- fitting -------------------------------------------------------------------

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None
    ) -> Self:
        """Train one epoch on ``X`` at constant ``lr``, continuing from the previous call.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, or an indicator of several per row, as for `fit`.
        classes : array-like of shape (n_classes,), optional
            All labels that will ever occur; required in the first call only, and not for an
            indicator.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each row.

        Returns
        -------
        self
            The fitted classifier.
        """
        options = self._task_options

        def make_task(y: Any) -> Task:
            known = None if not hasattr(self, "delta_") else self._task
            if is_indicator(y) or isinstance(known, ManyLabels):
                many = ManyLabels.from_targets(y, sample_weight, **options)
                if classes is not None and not np.array_equal(classes, many.classes):
                    raise ValueError(
                        f"classes={classes!r:.80} are not the numbers of the {many.n_outputs} "
                        "columns of y; leave them out."
                    )
                if known is not None:
                    self._check_goes_on(many)
                return many
            if known is None and classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            if classes is None:
                return OneLabel(self.classes_, **options)
            one = OneLabel.from_classes(classes, "classes", **options)
            if known is not None and not np.array_equal(one.classes, self.classes_):
                raise ValueError(
                    f"classes={one.classes.tolist()} differ from those of the first call, "
                    f"{self.classes_.tolist()}."
                )
            return one

        return self._fit_one_epoch(make_task, X, y, sample_weight)

    def _make_task(self, y: Any, sample_weight: Any) -> Task:
        made = ManyLabels if is_indicator(y) else OneLabel
        return made.from_targets(y, sample_weight, **self._task_options)

    def _check_goes_on(self, task: Task) -> None:
        if task.kind != self._task.kind:
            words = {OneLabel.kind: "one label per row", ManyLabels.kind: "several labels per row"}
            raise ValueError(
                f"the fit so far is of {words[self._task.kind]}, and y has {words[task.kind]}. "
                "Start anew with warm_start=False or a clone."
            )
        classes = task.state()["classes"]
        if not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start continues with the classes {self.classes_.tolist()}, but y has "
                f"{classes.tolist()}. Set warm_start=False to start anew."
            )
        if isinstance(task, ManyLabels) and isinstance(known := self._task, ManyLabels):
            task.keep_names(known.label_names)

    @property
    def _task_options(self) -> dict[str, Any]:
        return {"label_smoothing": self.label_smoothing, "class_weight": self.class_weight}

    @property
    def _task(self) -> Classifying:
        task = super()._task
        assert isinstance(task, Classifying)
        return task

    # -- predictions -----------------------------------------------------------------

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most likely label of each row, or all labels that are likely.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels from ``classes_``. After a fit on several labels per row, an indicator: 1 where
            the probability of a label exceeds 0.5.
        """
        logits = self._compute(X)
        return self._task.predict(logits)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, with columns in the order of ``classes_``. With several labels per
            row, each column is the probability of one label by itself.
        """
        logits = self._compute(X)
        return self._task.probabilities(logits)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Computed from the logits, so accurate even if a probability underflows.
        """
        logits = self._compute(X)
        return self._task.log_probabilities(logits)

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the logits; for two classes, of which a row has one, their difference.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Larger means more likely; for two classes, positive means ``classes_[1]``.
        """
        logits = self._compute(X)
        return self._task.decision_function(logits)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy of `predict` on ``X`` and ``y``.

        With several labels per row, a row counts as predicted correctly if all its labels are.

        Parameters
        ----------
        X : array-like of str
            Texts, sentence pairs or images, as for `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels; a label that the fit has not seen counts as a wrong prediction.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each row.

        Returns
        -------
        float
            Share of the rows that are predicted correctly.

        Raises
        ------
        ValueError, TypeError
            If a label is missing, or an argument is not as described.
        """
        check_is_fitted(self, "delta_")
        if isinstance(self._task, ManyLabels):
            y = self._task.decode(self._task.encode(y))
        else:
            y = check_labels(y)
        return float(super().score(X, y, sample_weight))

    @classmethod
    def from_peft(
        cls,
        folder: str | os.PathLike[str],
        classes: Any = None,
        *,
        backbone: str | os.PathLike[str] | None = None,
        **params: Any,
    ) -> Self:
        """Make a fitted classifier from an LN_TUNING or LORA adapter for sequence classification.

        Parameters
        ----------
        folder : str or path
            An adapter written by peft, or by `export_peft`.
        classes : array-like of shape (n_classes,), optional
            The label of each output; 0, 1, 2, ... if left out.
        backbone : str or path, optional
            Used instead of the model that the adapter names.
        **params : dict
            Other parameters of the estimator.

        Returns
        -------
        LNTunedTransformerClassifier
            Fitted, with ``pooling="native"``.

        Raises
        ------
        ValueError
            If the adapter is of another kind, or does not fit the backbone and the classes.
        DamagedFileError
            If its files are not what peft writes, or contain values that are not numbers.

        Examples
        --------
        >>> clf = LNTunedTransformerClassifier.from_peft(
        ...     "tickets-adapter", ["billing", "bug"])  # doctest: +SKIP
        """
        from sklearn_lntune.exchange.peft_reading import read_config, read_peft
        from sklearn_lntune.tuning.base import TuningSum

        path = check_path("folder", folder)
        config = read_config(path)
        if backbone is None and not config.get("base_model_name_or_path"):
            raise ValueError(f"{folder} does not name its base model; pass backbone=.")
        estimator = cls().set_params(
            backbone=backbone or config["base_model_name_or_path"],
            **{"revision": None if backbone else config.get("revision"), **params},
        )
        if check_choice("long_texts", estimator.long_texts, LONG_TEXTS) == "windows":
            raise ValueError(
                "long_texts='windows': the head of a peft adapter reads whole texts; leave it out."
            )
        methods, state = read_peft(
            path,
            classes,
            BackboneRef.from_params(vars(estimator)),
            max_length=estimator.max_length,
        )
        estimator.set_params(pooling="native", tuning=TuningSum(methods))
        return estimator._set_state(state, {"n_features_in": 1})  # noqa: SLF001 - our own

    @property
    def net_(self) -> Never:
        """Former name of `net`, which is a method since inspection reads every attribute."""
        raise AttributeError("net_ has become a method, since it builds a network: call net().")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        tags.classifier_tags.multi_label = True
        return tags
