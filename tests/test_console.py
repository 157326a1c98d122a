"""Progress is shown where there is a console, and is never why a fit fails."""

from __future__ import annotations

import io
import sys
from typing import Any

import datasets
import pytest
from sklearn.model_selection import cross_val_score

from sklearn_lntune import fused_fits
from sklearn_lntune.console import print_line, progress_bar


class Broken(io.StringIO):
    """A pipe whose reader has gone, or a full disk."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        self.write("")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def ascii_only() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)


class Letterless(io.StringIO):
    """An encoding that has none of what is written."""

    def write(self, text: str) -> int:
        raise UnicodeEncodeError("ascii", text, 0, 1, "ordinal not in range(128)")


CONSOLES: dict[str, Any] = {
    "missing": lambda: None,
    "closed": closed,
    "ascii": ascii_only,
    "broken": Broken,
    "letterless": Letterless,
    "not a file": object,
}


def without_console(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a test's body: before it, pytest sets both anew."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, CONSOLES[kind]())


@pytest.mark.parametrize("kind", CONSOLES)
@pytest.mark.parametrize("name", ["near", "näher"])
def test_bars_and_lines_need_no_console(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_console(kind, monkeypatch)
    with progress_bar(total=3, desc=name, mininterval=0) as bar:
        for step in range(3):
            bar.set_postfix(step=step)
            bar.update()
        bar.refresh()
    assert bar.n == 3
    print_line(name)
    if kind == "ascii":
        assert (b"near: 100%" in sys.stderr.buffer.getvalue()) == (name == "near")


@pytest.mark.parametrize("kind", CONSOLES)
def test_fits_need_no_console(
    kind: str,
    tiny_clf: Any,
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny_clf()  # makes the backbone, which shows a bar of transformers'
    without_console(kind, monkeypatch)
    for verbose in (1, 2):
        clf = tiny_clf(max_epochs=1, early_stopping=True, verbose=verbose).fit(texts, labels)
        assert clf.n_epochs_ == 1
    table = datasets.Dataset.from_dict({"text": texts})
    assert len(clf.set_params(verbose=1).predict(table)) == len(texts)
    with fused_fits(verbose=1):
        scores = cross_val_score(tiny_clf(max_epochs=1), texts, labels, cv=2)
    assert len(scores) == 2


def test_a_console_that_goes_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    there = io.StringIO()
    monkeypatch.setattr(sys, "stderr", there)
    with progress_bar(total=2, mininterval=0) as bar:
        bar.update()
        assert "50%" in there.getvalue()
        monkeypatch.setattr(sys, "stderr", None)
        bar.update()


@pytest.mark.parametrize("verbose", [None, "1", [1]])
def test_verbose_is_a_number(
    verbose: Any, tiny_clf: Any, texts: list[str], labels: list[str]
) -> None:
    with pytest.raises(ValueError, match="verbose must be 0, 1 or 2"):
        tiny_clf(verbose=verbose).fit(texts, labels)
