"""Classifiers on a tiny backbone, made once for all tests of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import moved
from fastapi.testclient import TestClient

from sklearn_lntune import DeltaBank, LNTunedTransformerClassifier
from sklearn_lntune.serving import create_app

TOKEN = "correct horse battery staple"


@pytest.fixture(scope="session")
def fitted(
    lively_backbone: Callable[..., Path], texts: list[str], labels: list[str]
) -> dict[str, LNTunedTransformerClassifier]:
    """``topic`` and ``long`` take texts, ``same`` takes pairs, ``new`` is in no bank yet."""
    params: dict[str, Any] = {"max_epochs": 1, "min_steps": 0, "batch_size": 40}
    params |= {"precision": "float64", "device": "cpu", "random_state": 0}

    def fit(X: Any, y: Any) -> LNTunedTransformerClassifier:
        return moved(LNTunedTransformerClassifier(lively_backbone(), **params).fit(X, y))

    pairs = list(zip(texts, texts[::-1], strict=True))
    return {
        "topic": fit(texts, labels),
        "long": fit(texts, [len(text) > 12 for text in texts]),
        "same": fit(pairs, [len(a) < len(b) for a, b in pairs]),
        "new": fit(texts, [len(text) % 3 for text in texts]),
    }


@pytest.fixture
def bank(fitted: dict[str, LNTunedTransformerClassifier]) -> DeltaBank:
    return DeltaBank({name: fitted[name] for name in ("topic", "long", "same")})


@pytest.fixture
def admin() -> dict[str, str]:
    """Headers of a client that may change tasks."""
    return {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def client(bank: DeltaBank) -> Iterator[TestClient]:
    """A client of a server whose tasks may be changed."""
    with TestClient(create_app(bank, token=TOKEN)) as client:
        yield client
