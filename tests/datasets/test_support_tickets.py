from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_lntune.datasets import load_support_tickets

CLASSES = [
    "account",
    "billing",
    "bug",
    "cancellation",
    "delivery",
    "feature_request",
    "how_to",
    "refund",
]


def test_size_classes_and_split() -> None:
    train, test, everything = (load_support_tickets(subset=s) for s in ("train", "test", "all"))
    assert len(train.data) >= 790
    assert len(test.data) == 320
    assert len(everything.data) == len(train.data) + len(test.data)
    assert train.target_names == test.target_names == CLASSES
    counts = Counter(everything.target.tolist())
    assert min(counts.values()) >= 139
    assert "support desks" in train.DESCR
    assert train.frame is None


def test_the_forms_of_scikit_learns_loaders() -> None:
    X, y = load_support_tickets(return_X_y=True)
    assert isinstance(X, list)
    assert isinstance(y, np.ndarray)
    assert y.dtype.kind == "U"
    bunch = load_support_tickets(as_frame=True)
    assert isinstance(bunch.data, pd.Series)
    assert isinstance(bunch.target, pd.Series)
    assert bunch.frame.columns.tolist() == ["text", "label"]
    assert bunch.data.tolist() == X
    assert bunch.target.tolist() == y.tolist()
    with pytest.raises(ValueError, match="subset must be .* got 'dev'"):
        load_support_tickets(subset="dev")


def test_texts_are_varied_and_distinct() -> None:
    data = load_support_tickets(subset="all").data
    assert len({text.lower() for text in data}) == len(data)
    lengths = np.array([len(text.split()) for text in data])
    assert lengths.min() <= 3
    assert lengths.max() >= 80
    assert ((lengths > 8) & (lengths < 40)).mean() > 0.5
    assert all(text == " ".join(text.split()) for text in data)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"analyzer": "char_wb", "ngram_range": (3, 5)}, 0.45),
        ({"ngram_range": (1, 2)}, 0.3),
    ],
)
def test_no_near_duplicates_across_the_split(options: dict[str, object], limit: float) -> None:
    train, test = (load_support_tickets(subset=s).data for s in ("train", "test"))
    vectors = TfidfVectorizer(sublinear_tf=True, **options).fit(train + test)
    similarity = vectors.transform(test) @ vectors.transform(train).T
    assert similarity.max() < limit


def test_counting_words_does_not_get_far() -> None:
    train, test = (load_support_tickets(subset=s, return_X_y=True) for s in ("train", "test"))
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, max_iter=1000)).fit(*train)
    assert 0.3 < model.score(*test) < 0.6
