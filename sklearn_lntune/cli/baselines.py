"""The two simple methods that tuning is compared with."""

from __future__ import annotations

from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer

from sklearn_lntune.cli.data import Text
from sklearn_lntune.estimators.classifier import LNTunedTransformerClassifier


def tfidf() -> Pipeline:
    """TF-IDF and logistic regression; pairs are joined."""
    return make_pipeline(
        FunctionTransformer(_joined),
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10, max_iter=1000),
    )


def frozen(head: LNTunedTransformerClassifier) -> Pipeline:
    """Embeddings of the frozen backbone, and logistic regression.

    Parameters
    ----------
    head : LNTunedTransformerClassifier
        Unfitted, and tuning nothing but its head, which is not used.
    """
    return make_pipeline(
        head.set_params(max_epochs=1, min_steps=0),
        Normalizer(),
        LogisticRegression(C=10, max_iter=2000),
    )


def _joined(texts: list[Text]) -> list[Any]:
    return [text if isinstance(text, str) else " ".join(text) for text in texts]
