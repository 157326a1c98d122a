"""The tagger: what is special about a tag for each word."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Never, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_lntune.estimators.base import BaseTuned
from sklearn_lntune.inputs.base import Examples
from sklearn_lntune.inputs.image.opening import ImageInput
from sklearn_lntune.inputs.text.words import WordInput, check_lengths
from sklearn_lntune.task import Task, TokenTags
from sklearn_lntune.task.tags import check_tags
from sklearn_lntune.task.weights import check_sample_weight


@dataclass(eq=False, repr=False)
class LNTunedTransformerTagger(BaseTuned):
    """Tag the words of sentences by training only the norms of a frozen transformer, and a head.

    For named entities, parts of speech, and any other target of which each word has one. The
    arguments are those of sklearn-crfsuite: ``X`` is a list of lists of words, and ``y`` a list of
    lists of tags. The state of the first token of a word goes to the head, and has the loss.
    Sentences longer than ``max_length`` are cut into windows that overlap by half, and a word is
    tagged in the window whose middle is nearest, so that nothing is truncated.

    Parameters
    ----------
    backbone : str or path, default="sentence-transformers/all-MiniLM-L6-v2"
        As for `LNTunedTransformerClassifier`. Models that read in both directions suit best: a
        causal model has seen only the beginning of a word when it comes to its first token.
    tuning : str, TuningMethod or TuningSum, default="layernorm"
        As for `LNTunedTransformerClassifier`.
    pooling : {"auto", "cls", "mean", "max", "last"}, default="auto"
        How token states become the vector of a sentence, which `transform` returns. Tags do not
        depend on it.
    max_length : "auto" or int, default="auto"
        Longest window in tokens. ``"auto"`` is the sentence-transformers limit if there is one,
        otherwise the smaller of 512 and the number of positions of the model.
    text_column : "auto" or str, default="auto"
        If ``X`` is a ``datasets`` table or Parquet: the column of the sentences, as lists of
        words or as texts. ``"auto"`` is ``"tokens"``, else ``"words"``, else ``"text"``, else
        the only column that may be meant.
    label_column : str, default="tags"
        In such a table, the column of the lists of tags, read if ``y`` is not passed. If its
        type names the numbers in it (``ClassLabel``), the names are the tags.
    lr : "auto", float or dict, default="auto"
        Peak learning rate, as for `LNTunedTransformerClassifier`.
    head_lr : "auto" or float, default="auto"
        Peak learning rate of the head; ``"auto"`` is 3e-3.
    batch_size : int, default=16
        Windows per batch: sentences, unless they are longer than ``max_length``.
    max_epochs : int, default=5
        Passes over the training sentences, unless ``min_steps`` asks for more.
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
        On the vectors that the head reads; the same entries are dropped in all words of a
        sentence. The backbone always runs without dropout.
    early_stopping : bool, default=False
        Score a validation set after each epoch, stop when it does not improve and keep
        the delta of the best epoch.
    validation_fraction : float in (0, 1), default=0.1
        Share of the training sentences held out for early stopping. Not used if ``X_val`` is
        passed.
    patience : int, default=5
        Number of epochs without improvement after which early stopping ends the fit.
    scoring : {"auto", "loss", "entity_f1", "accuracy"} or callable, default="auto"
        Score for early stopping. ``"entity_f1"`` is the F1 score of whole entities, as seqeval
        computes it; ``"accuracy"`` the share of words with the right tag; ``"auto"`` the first of
        them for tags like ``"B-person"``, else the second, as `score`. A callable gets an
        estimator, sentences and lists of tags.
    callbacks : list of skorch callbacks, optional
        They see the actual epochs and batches, and may end the fit as in skorch.
    device : str, default="auto"
        ``"auto"`` is CUDA if available, then Apple's GPU, then the CPU.
    distributed : bool, default=False
        Whether all processes started by ``accelerate launch`` fit together.
    precision : {"auto", "int8", "bfloat16", "float32", "float64"}, default="auto"
        Type of the frozen weights, as for `LNTunedTransformerClassifier`.
    compile : bool, default=False
        Whether the backbone runs through `torch.compile`.
    revision : str, optional
        Branch, tag or commit of the backbone on the hub.
    trust_remote_code : bool, default=False
        Whether a backbone may run code that comes with it.
    random_state : int, RandomState or None, default=None
        Seed of the head, dropout, shuffling and the validation split.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints one line per epoch.
    warm_start : bool, default=False
        Whether `fit` continues from the delta of the previous fit.
    checkpoint : str or path, optional
        A folder from which the same call resumes after an interruption, as for
        `LNTunedTransformerClassifier`.
    checkpoint_every : int, default=100
        Optimiser steps between two checkpoints; there is also one after each epoch.
    label_smoothing : float in [0, 1), default=0.0
        Share of the target that is spread evenly over all tags.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The tags.
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
    tuning_ : list of dict
        The tuning methods of the fit, by name, with their parameters.
    embedding_size_ : int
        Length of the vectors that `embed` returns.
    n_features_in_ : int
        1.
    feature_names_in_ : ndarray of str
        Name of the column of sentences, if ``X`` was a table.

    See Also
    --------
    LNTunedTransformerClassifier : One label for each text.

    Notes
    -----
    A word of which the tokenizer makes no token at all, such as one that consists of characters
    which it drops, becomes its token for unknown words, and so gets a tag like any other.

    Examples
    --------
    >>> from sklearn_lntune import LNTunedTransformerTagger
    >>> X = [["Ada", "lives", "in", "Paris"], ["He", "met", "Ada"]] * 8
    >>> y = [["B-person", "O", "O", "B-place"], ["O", "O", "B-person"]] * 8
    >>> tagger = LNTunedTransformerTagger(max_epochs=5, min_steps=0, random_state=0).fit(X, y)
    >>> [len(tags) for tags in tagger.predict([["Ada", "smiles"], "to Paris we go"])]
    [2, 4]
    """

    _: KW_ONLY
    label_column: str = "tags"
    scoring: Any = "auto"
    label_smoothing: float = 0.0

    _kinds = (TokenTags.kind,)

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
    ) -> Self:
        """Train the delta and the head.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Sentences: lists of words, or texts, which are split at white space. Or a table that
            is streamed and never loaded whole: a ``datasets.Dataset``, a
            ``datasets.IterableDataset``, the path of a Parquet file or of a folder of them.
        y : array-like of shape (n_samples,)
            For each sentence a list of tags, one for each word. Tags are strings, whole numbers
            or booleans. May be left out if ``X`` is a table with a column of tags.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each sentence, and so of each of its words; a sentence of weight zero is
            ignored.
        X_val, y_val, sample_weight_val : array-like, optional
            A validation set, scored after each epoch; with early stopping it is used
            instead of held-out sentences.

        Returns
        -------
        self
            The fitted tagger.

        Raises
        ------
        ValueError, TypeError
            If an argument or the data is not as described: a sentence with another number of
            tags than words is named. Before any training.
        ImportError
            If early stopping needs seqeval and it is missing.
        DamagedFileError
            If the files in ``checkpoint`` were changed or damaged.
        TrainingDivergedError
            If the loss becomes NaN or infinite. The estimator has the last good delta.
        KeyboardInterrupt
            On Ctrl-C, after the best delta so far has been set.
        """
        return super().fit(
            X, y, sample_weight, X_val=X_val, y_val=y_val, sample_weight_val=sample_weight_val
        )

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None
    ) -> Self:
        """Train one epoch on ``X`` at constant ``lr``, continuing from the previous call.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Sentences, as for `fit`.
        y : array-like of shape (n_samples,)
            Lists of tags, as for `fit`.
        classes : array-like of shape (n_classes,), optional
            All tags that will ever occur; required in the first call only.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each sentence.

        Returns
        -------
        self
            The fitted tagger.
        """
        return self._fit_one_epoch(lambda y: self._task_of_classes(classes), X, y, sample_weight)

    def _task_of_classes(self, classes: Any) -> TokenTags:
        first = not hasattr(self, "delta_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        options = {"label_smoothing": self.label_smoothing}
        if classes is None:
            return TokenTags(self.classes_, **options)
        task = TokenTags.from_classes(classes, "classes", **options)
        if not first and not np.array_equal(task.classes, self.classes_):
            raise ValueError(
                f"classes={task.classes.tolist()} differ from those of the first call, "
                f"{self.classes_.tolist()}."
            )
        return task

    def _make_task(self, y: Any, sample_weight: Any) -> Task:
        return TokenTags.from_targets(y, sample_weight, label_smoothing=self.label_smoothing)

    def _check_goes_on(self, task: Task) -> None:
        classes = task.state()["classes"]
        if not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start continues with the tags {self.classes_.tolist()}, but y has "
                f"{classes.tolist()}. Set warm_start=False to start anew."
            )

    def _check_targets(
        self, examples: Examples, y: Any, sample_weight: Any, task: Task, name: str = "y"
    ) -> Any:
        data = super()._check_targets(examples, y, sample_weight, task, name)
        check_lengths(examples, list(map(len, data.targets)), name)
        return data

    @property
    def _task(self) -> TokenTags:
        check_is_fitted(self, "delta_")
        return TokenTags(self.classes_)

    def _input(self, *, reset: bool) -> WordInput:
        if isinstance(super()._input(reset=reset), ImageInput):
            raise ValueError(
                f"a tagger takes words, and backbone={self.backbone!r} takes images: choose a "
                "backbone of texts, or another estimator."
            )
        return WordInput(self.text_column, self.label_column)

    # -- predictions -----------------------------------------------------------------

    def predict(self, X: Any) -> list[list[Any]]:
        """Predict the most likely tag of each word.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Sentences, as for `fit`.

        Returns
        -------
        list of list
            Tags from ``classes_``, as many for each sentence as it has words.
        """
        return self._task.predict(self._compute(X))

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """Predict the probability of each tag for each word.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Sentences, as for `fit`.

        Returns
        -------
        list of ndarray of shape (n_words, n_classes)
            An array for each sentence, with columns in the order of ``classes_``.
        """
        return list(self._task.probabilities(self._compute(X)))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Compute the F1 score of entities, or the accuracy of words.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Sentences, as for `fit`.
        y : array-like of shape (n_samples,)
            Lists of tags; one that the fit has not seen counts as missed. May be left out if
            ``X`` is a table with a column of tags.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each sentence.

        Returns
        -------
        float
            If the tags of the fit mark entities (``"B-person"``), the micro-averaged F1 score of
            whole entities, as ``seqeval.metrics.f1_score``: an entity is right if its kind, its
            first and its last word are. Otherwise the share of words with the right tag.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or the lengths do not match.
        ImportError
            If tags mark entities, and seqeval is missing.
        """
        check_is_fitted(self, "delta_")
        examples, y = self._open(X, y, reset=False).for_training()
        task, y_true = self._task, check_tags(y)
        check_lengths(examples, list(map(len, y_true)))
        task.check_scorable(y_true)
        weights = check_sample_weight(sample_weight, len(y_true))
        return task.score_tags(y_true, self.predict(X), weights)

    # -- what other estimators have --------------------------------------------------

    def net(self) -> Never:
        """Raise an error: a skorch net has one prediction for each row.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "a tagger has no skorch net, whose predictions are one for each row; use predict and "
            "predict_proba of the tagger itself."
        )

    @classmethod
    def from_peft(
        cls, folder: Any, classes: Any = None, *, backbone: Any = None, **params: Any
    ) -> Never:
        """Raise an error: only adapters for the classification of texts can be read.

        Parameters
        ----------
        folder : str or path
            An adapter.
        classes : array-like of shape (n_classes,), optional
            The tag of each output.
        backbone : str or path, optional
            The backbone.
        **params : dict
            Parameters of the estimator.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "adapters of peft are read for the classification of texts only: use "
            "LNTunedTransformerClassifier.from_peft."
        )
