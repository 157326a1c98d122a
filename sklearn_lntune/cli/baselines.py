"""The simple methods that tuning is compared with."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain
from typing import Any, Self

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer

from sklearn_lntune.cli.data import Text
from sklearn_lntune.cli.targets import Target


def linear_name(target: Target) -> str:
    """What the linear model on top of fixed vectors is called."""
    return "ridge regression" if target is Target.number else "logistic regression"


def tfidf(target: Target) -> Pipeline:
    """TF-IDF and a linear model; pairs are joined."""
    return make_pipeline(
        FunctionTransformer(_joined),
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        _linear(target, max_iter=1000),
    )


def frozen(head: Any, target: Target) -> Pipeline:
    """Embeddings of the frozen backbone, and a linear model.

    Parameters
    ----------
    head : LNTunedTransformerClassifier or LNTunedTransformerRegressor
        Unfitted, and tuning nothing but its head, which is not used.
    target : Target
    """
    return make_pipeline(
        head.set_params(max_epochs=1, min_steps=0),
        Normalizer(),
        _linear(target, max_iter=2000),
    )


class MostFrequentTag:
    """Gives each word the tag that it had most often, and unknown words the most frequent one."""

    def fit(self, sentences: list[list[str]], tags: list[list[str]]) -> Self:
        """Count the tags of each word."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for words, row in zip(sentences, tags, strict=True):
            for word, tag in zip(words, row, strict=True):
                counts[word][tag] += 1
        self._of_words = {word: found.most_common(1)[0][0] for word, found in counts.items()}
        self._else = Counter(chain.from_iterable(tags)).most_common(1)[0][0]
        return self

    def predict(self, sentences: list[list[str]]) -> list[list[str]]:
        """The tags of each sentence."""
        return [[self._of_words.get(word, self._else) for word in words] for words in sentences]


def _linear(target: Target, max_iter: int) -> Any:
    if target is Target.number:
        return Ridge()
    classifier = LogisticRegression(C=10, max_iter=max_iter)
    return OneVsRestClassifier(classifier) if target is Target.labels else classifier


def _joined(texts: list[Text]) -> list[Any]:
    return [text if isinstance(text, str) else " ".join(text) for text in texts]
