"""Explain predictions: how much each word spoke for them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_lntune.backbone.where import BackboneRef, Where
from sklearn_lntune.checks import check_choice, check_number
from sklearn_lntune.estimators.base import BaseTuned
from sklearn_lntune.inputs.base import Examples, Rows
from sklearn_lntune.inputs.per_word import for_examples
from sklearn_lntune.inspection.explanations import Explanation, Explanations
from sklearn_lntune.inspection.reading import Reading, read_rows
from sklearn_lntune.persistence.state import FittedState
from sklearn_lntune.prediction.asking import answerer
from sklearn_lntune.task import Classifying, Task

if TYPE_CHECKING:
    from sklearn_lntune.backbone.placement import Placement
    from sklearn_lntune.backbone.pool import Backbone
    from sklearn_lntune.network import Network

_CHUNK_ROWS = 256


def explain(
    estimator: BaseTuned,
    X: Any,
    target: Any = None,
    *,
    baseline: str = "auto",
    n_steps: int = 32,
    tolerance: float = 0.01,
) -> Explanations:
    """Compute which words of each text spoke for a prediction, and which against it.

    The method is integrated gradients: the output is followed on a straight line from a text
    without its words (the baseline) to the text, and the change is divided among the words. So
    the attributions of a text add up to the difference between the two outputs. They describe
    the model, not the world: a word that misleads the model is shown as speaking for its error.

    Parameters
    ----------
    estimator : estimator of this package
        Fitted. Of a pipeline, pass the last step and what the steps before it return.
    X : array-like of str
        Texts, sentence pairs or sentences, as for the estimator's `predict`.
    target : label, int or (int, label), optional
        What to explain for every row: a label from ``classes_``, or the number of a column of
        the targets of a regressor. By default, the most likely label of each row. Of a tagger,
        the number of a word in each sentence, whose most likely tag is explained, or a pair of
        it and a tag.
    baseline : {"auto", "mask", "mean"}, default="auto"
        What stands in the place of a word that is absent: the embedding of the tokenizer's mask
        token, or the mean of all embeddings. ``"auto"`` is ``"mask"`` if there is such a token,
        and otherwise ``"mean"``. Tokens that the tokenizer adds stay as they are.
    n_steps : int, default=32
        Points on the line at which gradients are computed.
    tolerance : float, default=0.01
        By how much the attributions of a text may miss their sum, as a share of the sum of
        their absolute values. A text that misses it by more is computed again with twice as
        many points, 16 times as many at most; if that does not suffice, there is a warning.
        `Explanation.gap` is what remains.

    Returns
    -------
    Explanations
        One `Explanation` per row. A notebook shows them as coloured texts.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError, TypeError
        If an argument is not as described, the tokenizer does not say which characters its
        tokens stand for, or the backbone has no token embeddings.
    BackboneMismatchError
        If the backbone found is not that of the fit.

    Notes
    -----
    Time and memory: each text costs ``n_steps + 1`` forward and ``n_steps`` backward passes,
    computed in batches of a bounded number of tokens. For a classifier, the output is the logit
    of a class, before softmax or sigmoid; for a regressor, the prediction in the units of ``y``.

    References
    ----------
    M. Sundararajan, A. Taly, Q. Yan (2017). Axiomatic Attribution for Deep Networks.
    arXiv:1703.01365.

    Examples
    --------
    >>> from sklearn_lntune import LNTunedTransformerClassifier
    >>> from sklearn_lntune.datasets import load_support_tickets
    >>> from sklearn_lntune.inspection import explain
    >>> X, y = load_support_tickets(subset="train", return_X_y=True)
    >>> clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    >>> explained = explain(clf.fit(X[:64], y[:64]), ["i want my money back!"])
    >>> explained[0].words
    ['i', 'want', 'my', 'money', 'back', '!']
    """
    if not isinstance(estimator, BaseTuned):
        raise TypeError(
            f"estimator must be a fitted estimator of sklearn_lntune; got "
            f"{type(estimator).__name__}. Of a pipeline or a search, pass the fitted estimator "
            "inside it, and the texts as that gets them."
        )
    state = estimator._state()  # noqa: SLF001 - within the package
    examples = estimator._open_fitted(X)  # noqa: SLF001
    params = estimator.get_params(deep=False)
    # torch and transformers are imported from here on only.
    from sklearn_lntune.prediction.predictor import located

    place = located(state, BackboneRef.from_params(params), Where.from_params(params))
    other = answerer()
    with contextlib.nullcontext() if other is None else other.computing():
        return explain_state(
            state,
            *place,
            examples,
            target=target,
            baseline=baseline,
            n_steps=n_steps,
            tolerance=tolerance,
        )


def explain_state(
    state: FittedState,
    backbone: Backbone,
    placement: Placement,
    examples: Examples,
    *,
    target: Any = None,
    baseline: str = "auto",
    n_steps: int = 32,
    tolerance: float = 0.01,
) -> Explanations:
    """As `explain`, for a fitted state on a backbone that has been found."""
    import torch

    from sklearn_lntune.prediction.attributing import BASELINES, baseline_vector, check_explainable
    from sklearn_lntune.prediction.predictor import ready_network

    check_choice("baseline", baseline, BASELINES)
    check_number("n_steps", n_steps, integer=True, low=1, high=10_000)
    check_number("tolerance", tolerance, open_low=True)
    chosen = _target(state.task, target)
    check_explainable(backbone)
    found: list[Explanation] = []
    # Tensors that are made in the caller's inference mode could never have gradients.
    with torch.inference_mode(False):
        network = ready_network([state], backbone, placement.with_gradients())
        vector = baseline_vector(network, backbone, baseline)
        for chunk in examples.chunks(_CHUNK_ROWS):
            found += _explain_chunk(
                state, backbone, network, chunk, chosen, vector, n_steps, tolerance
            )
    return Explanations(found)


def _explain_chunk(
    state: FittedState,
    backbone: Backbone,
    network: Network,
    chunk: Rows,
    target: _Target,
    baseline: Any,
    n_steps: int,
    tolerance: float,
) -> list[Explanation]:
    from sklearn_lntune.network import compute
    from sklearn_lntune.prediction.attributing import attribute
    from sklearn_lntune.prediction.predictor import checked_finite

    table, readings = read_rows(state, backbone, chunk)
    found = for_examples(checked_finite(compute(network, table)), table)
    labels, chosen = _labels(state.task), np.zeros(len(readings))
    # Where each row's output is in the network's: a column, or a word and a column.
    places = np.zeros((len(readings), 2 if state.task.per_token else 1), np.int64)
    for i, outputs in enumerate(found):
        own = target.of(outputs, readings[i])
        places[i], chosen[i] = own, outputs[own]
    is_text = [reading.is_text for reading in readings]
    tokens = attribute(network, table, places, chosen, is_text, baseline, n_steps, tolerance)
    columns = places[:, -1]
    offset, factor = np.zeros(len(readings)), np.ones(len(readings))
    if (scale := state.task.output_scale) is not None:
        offset, factor = (np.asarray(each)[columns] for each in scale)
    explanations = []
    for i, reading in enumerate(readings):
        values = factor[i] * tokens.values[i]
        explanations.append(
            Explanation(
                texts=reading.texts,
                spans=[(word.sentence, word.start, word.end) for word in reading.words],
                attributions=np.array([values[list(word.tokens)].sum() for word in reading.words]),
                target=labels[columns[i]] if len(labels) > 1 else None,
                output=float(offset[i] + factor[i] * chosen[i]),
                at_baseline=float(offset[i] + factor[i] * tokens.at_baseline[i]),
            )
        )
    return explanations


@dataclass(frozen=True)
class _Target:
    """What to explain of each row.

    Attributes
    ----------
    column : int or None
        Of the outputs; None for the largest.
    word : int or None
        Which word of a sentence, if there are outputs for words.
    """

    column: int | None
    word: int | None = None

    def of(self, outputs: np.ndarray, reading: Reading) -> tuple[int, ...]:
        """The place of the output to explain among those of a row."""
        if self.word is None:
            return (int(outputs.argmax()) if self.column is None else self.column,)
        if self.word >= len(outputs):
            raise ValueError(
                f"target names the word {self.word}, counted from 0, and the sentence "
                f"{reading.texts[0]!r:.60} has {len(outputs)} words."
            )
        column = int(outputs[self.word].argmax()) if self.column is None else self.column
        return self.word, column


def _target(task: Task, target: Any) -> _Target:
    """The target that the user means by ``target``."""
    if not task.per_token:
        return _Target(_column(task, target))
    word, tag = target if isinstance(target, tuple) and len(target) == 2 else (target, None)
    if not isinstance(word, int | np.integer) or isinstance(word, bool) or word < 0:
        raise ValueError(
            "the estimator predicts a tag for each word: target must be the number of the word "
            f"to explain, counted from 0, or a pair of it and a tag; got {target!r:.80}."
        )
    return _Target(_column(task, tag), int(word))


def _labels(task: Task) -> list[Any]:
    """What the columns of the outputs are called: labels, or else their numbers."""
    return task.labels if isinstance(task, Classifying) else list(range(task.n_outputs))


def _column(task: Task, target: Any) -> int | None:
    """The column of the outputs that ``target`` names; None: the largest of each row."""
    labels = _labels(task)
    if target is None:
        if isinstance(task, Classifying):
            return None
        if len(labels) == 1:
            return 0
        raise ValueError(
            f"the estimator predicts {len(labels)} numbers; pass target, the number of the one "
            f"to explain (0 to {len(labels) - 1})."
        )
    # Of one kind only: True equals 1, and is not a number of an output.
    matches = [column for column, label in enumerate(labels) if _is_same(label, target)]
    if not matches and isinstance(task, Classifying):  # several labels, by number
        matches = [column for column, each in enumerate(task.classes) if _is_same(each, target)]
    if not matches:
        raise ValueError(
            f"target={target!r:.80} is not among what the estimator predicts: {labels[:20]}."
        )
    return matches[0]


def _is_same(label: Any, target: Any) -> bool:
    target = target.item() if isinstance(target, np.generic) else target
    kinds = isinstance(label, bool) == isinstance(target, bool)
    return kinds and isinstance(target, str | int | float) and bool(label == target)
