"""A tag for each word of a sentence: named entities, parts of speech."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_lntune.inputs.per_word import cells, pieces
from sklearn_lntune.task.base import Classifying
from sklearn_lntune.task.entities import check_seqeval, entity_f1, mark_entities
from sklearn_lntune.task.one_label import OneLabel
from sklearn_lntune.task.scoring import as_number, takes
from sklearn_lntune.task.tags import check_tags
from sklearn_lntune.task.weights import row_weights

if TYPE_CHECKING:
    import torch

#: Stands in a row of targets where there is no word.
NO_TARGET = -1
SCORES = ("auto", "loss", "entity_f1", "accuracy")


class TokenTags(Classifying):
    """Encode tags, and turn the logits of words into tags.

    In training a row is a window of a sentence. Its targets are first 1 if the sentence begins in
    it, else 0, and then the numbers of its tags, followed by `NO_TARGET`.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The distinct tags, sorted.
    label_smoothing : float in [0, 1), default=0.0
        Share of the target that is spread over all tags in training.

    Examples
    --------
    >>> task = TokenTags.from_targets([["O", "B-place"], ["O"]])
    >>> task.classes
    array(['B-place', 'O'], dtype='<U7')
    >>> task.encode([["O", "B-place"], ["O"]])
    array([array([1, 0], dtype=int32), array([1], dtype=int32)], dtype=object)
    """

    kind = "token_tags"
    per_token: ClassVar[bool] = True
    state_names = ("classes",)
    pipeline_tag = "token-classification"

    def __init__(self, classes: np.ndarray, *, label_smoothing: float = 0.0) -> None:
        self.classes = classes
        self._word = OneLabel(classes, label_smoothing=label_smoothing)

    @classmethod
    def from_targets(cls, y: Any, sample_weight: Any = None, **options: Any) -> Self:
        """The task that the training targets ``y`` describe."""
        return cls.from_classes(list(chain.from_iterable(check_tags(y))), **options)

    @classmethod
    def from_classes(cls, classes: Any, name: str = "y", **options: Any) -> Self:
        """The task with the tags ``classes``, which may come in any order and repeat."""
        return cls(OneLabel.from_classes(classes, name).classes, **options)

    @property
    def loss_options(self) -> Hashable:
        """The smoothing."""
        return self._word.label_smoothing

    @property
    def n_outputs(self) -> int:
        """Logits per word: one per tag."""
        return len(self.classes)

    def encode(self, y: Any, name: str = "y") -> np.ndarray:
        """The numbers of the tags of each sentence, an array of arrays."""
        rows = check_tags(y, name)
        flat = list(chain.from_iterable(rows))
        codes = self._word.encode(flat, name) if flat else np.zeros(0, np.int32)
        return pieces(codes, np.fromiter(map(len, rows), np.int64, len(rows)))

    def weights(self, targets: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
        """Sample weight times number of words: every word of equal sentences counts the same."""
        n_words = np.fromiter(map(len, targets), float, len(targets))
        return n_words * row_weights(self.classes, n_words, sample_weight, None)

    def strata(self, targets: np.ndarray) -> None:
        """None: sentences have no class."""

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, *, training: bool = True
    ) -> torch.Tensor:
        """Mean cross-entropy of the words of each row.

        ``outputs`` are padded, of shape (n_rows, n_words, n_classes); or those of all words, of
        shape (n_all_words, n_classes).
        """
        if outputs.dim() == 2:
            codes = targets[:, 1:]
            padded = outputs.new_zeros(*codes.shape, outputs.shape[1])
            padded[codes != NO_TARGET] = outputs
            outputs = padded
        codes = targets[:, 1 : outputs.shape[1] + 1]
        there = codes != NO_TARGET
        flat = self._word.loss(
            outputs.flatten(0, 1), codes.clamp(min=0).flatten(), training=training
        )
        losses = flat.view(codes.shape) * there
        return losses.sum(1) / there.sum(1)

    def predict(self, outputs: np.ndarray) -> list[list[Any]]:
        """The tags of each sentence."""
        return [self._word.predict(logits).tolist() for logits in outputs]

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """The probability of each tag, an array for each sentence."""
        return cells([self._word.probabilities(logits) for logits in outputs])

    def log_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Logarithms of the probabilities, an array for each sentence."""
        return cells([self._word.log_probabilities(logits) for logits in outputs])

    def decision_function(self, outputs: np.ndarray) -> np.ndarray:
        """The logits, an array for each sentence."""
        return outputs

    # -- scores --------------------------------------------------------------------

    def check_scoring(self, scoring: Any) -> None:
        """Raise a ValueError if ``scoring`` is no score of these tags."""
        self.resolve_scoring(scoring)

    def resolve_scoring(self, scoring: Any) -> Any:
        """``scoring`` with "auto" resolved, if the tags allow it.

        Raises
        ------
        ValueError
            If it is none of `SCORES` and no callable, or entities are asked for and the tags do
            not mark any.
        """
        if callable(scoring):
            return scoring
        if not isinstance(scoring, str) or scoring not in SCORES:
            raise ValueError(
                f"scoring must be one of {SCORES} or a callable; got {scoring!r}. A metric of "
                "sequences becomes a callable with sklearn.metrics.make_scorer."
            )
        marked = mark_entities(self.classes.tolist())
        if scoring == "auto":
            return "entity_f1" if marked else "accuracy"
        if scoring == "entity_f1" and not marked:
            raise ValueError(
                "scoring='entity_f1' needs tags that mark entities, such as 'B-person', 'I-person' "
                f"and 'O'; the tags are {self.classes[:20].tolist()}. Use 'accuracy'."
            )
        return scoring

    def score(
        self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, scoring: Any
    ) -> float:
        """Score a validation set; ``outputs`` are those of all words."""
        scoring = self.resolve_scoring(scoring)
        if scoring == "loss":
            return self.negative_loss(outputs, targets, weights)
        codes = targets[:, 1:]
        n_words = (codes != NO_TARGET).sum(axis=1)
        flat = codes[codes != NO_TARGET]
        per_word = np.repeat(weights / n_words, n_words)
        if scoring == "accuracy":
            return float(np.average(outputs.argmax(axis=1) == flat, weights=per_word))
        begins = targets[:, 0] == 1
        sizes = np.bincount(np.cumsum(begins) - 1, weights=n_words).astype(np.int64)
        y_true = [self.classes[row].tolist() for row in pieces(flat, sizes)]
        logits = pieces(outputs, sizes)
        of_sentence = (weights / n_words)[begins]
        uneven = None if np.allclose(of_sentence, of_sentence[0]) else of_sentence
        if scoring == "entity_f1":
            return entity_f1(y_true, self.predict(logits), uneven)
        options = {}
        if uneven is not None and takes(scoring, "sample_weight"):
            options["sample_weight"] = uneven
        rows = list(range(len(sizes)))
        return as_number(scoring(_KnownTags(self, logits), rows, y_true, **options), scoring)

    def check_scorable(self, y_true: list[list[Any]]) -> None:
        """Raise a ValueError if tags cannot be compared with those that this task predicts."""
        tags = set(chain.from_iterable(y_true))
        if not tags:
            raise ValueError("the sentences have no words to score.")
        first = self.classes.tolist()[0]
        odd = next((tag for tag in tags if isinstance(tag, str) != isinstance(first, str)), None)
        if odd is not None:
            raise ValueError(
                f"y holds the tag {odd!r}, and those of the fit are like {first!r}: one is a "
                "string, the other a number. Pass the tags in the form of the fit."
            )
        if self.resolve_scoring("auto") == "entity_f1" and not mark_entities(tags - {"O"}):
            unlike = sorted(tag for tag in tags - {"O"} if not mark_entities([tag]))
            if unlike:
                raise ValueError(
                    f"y holds the tag {unlike[0]!r}, which marks no entity: the F1 score of "
                    "entities needs tags such as 'B-person', 'I-person' and 'O'."
                )

    def score_tags(
        self, y_true: list[list[Any]], y_pred: list[list[Any]], sample_weight: np.ndarray | None
    ) -> float:
        """F1 of entities if the tags mark them, else the share of words with the right tag."""
        sizes = np.fromiter(map(len, y_true), np.int64, len(y_true))
        weights = row_weights(self.classes, sizes, sample_weight, None)
        if not (weights * sizes).any():
            raise ValueError("every sentence with words has weight zero: nothing to score.")
        if self.resolve_scoring("auto") == "entity_f1":
            return entity_f1(y_true, y_pred, weights)
        right = [
            float(truth == tag)
            for row, found in zip(y_true, y_pred, strict=True)
            for truth, tag in zip(row, found, strict=True)
        ]
        return float(np.average(right, weights=np.repeat(weights, sizes)))

    def check_scores(self, targets: np.ndarray, weights: np.ndarray, scoring: Any) -> None:
        """Raise a ValueError if ``scoring`` cannot score these validation rows."""
        scoring = self.resolve_scoring(scoring)
        if not weights.any():
            raise ValueError("the validation sentences have no words to score.")
        if scoring != "entity_f1":
            return
        check_seqeval()
        seen = np.unique(np.concatenate([codes for codes in targets if len(codes)]))
        if not mark_entities(self.classes[seen].tolist()):
            raise ValueError(
                f"scoring='entity_f1' cannot score the {len(targets)} validation sentences: there "
                "is no entity in them. Pass X_val and y_val that have some, set a larger "
                "validation_fraction, or choose 'loss'."
            )

    # -- files ---------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """The tags."""
        return {"classes": self.classes}

    @classmethod
    def check_state(cls, state: Mapping[str, np.ndarray]) -> None:
        """Raise a ValueError unless the tags are sorted and distinct."""
        OneLabel.check_state(state)

    def card(self) -> dict[str, str]:
        """The number of tags, and their names."""
        words = self._word.card()
        return {
            "what": f"A tagger of words with {len(self.classes)} tags",
            "head": "head for each word",
            "targets": words["targets"].replace("Classes", "Tags", 1),
            "variable": "tagger",
        }

    def options(self) -> dict[str, Any]:
        """The smoothing."""
        return self._word.options()


class _KnownTags(BaseEstimator):
    """Looks like a fitted tagger to a scorer, and returns what is known; rows are numbers."""

    def __init__(self, task: Any, logits: np.ndarray) -> None:
        self.task = task
        self.logits = logits
        self.classes_ = task.classes

    def predict(self, rows: list[int]) -> list[list[Any]]:
        return self.task.predict(self.logits[rows])

    def predict_proba(self, rows: list[int]) -> np.ndarray:
        return self.task.probabilities(self.logits[rows])
