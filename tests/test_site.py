"""The check of the links within the documentation, which needs no build to be tested."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from launching import ROOT


@pytest.mark.parametrize(
    ("link", "wrong"),
    [
        ("b.html", None),
        ("b.html#there", None),
        ("#", None),
        ("https://example.org/c.html#nowhere", None),
        ("c.html", "c.html is not there"),
        ("b.html#nowhere", "b.html#nowhere names no place of that page"),
        ("#nowhere", "#nowhere names no place of that page"),
    ],
)
def test_broken_links_are_found(tmp_path: Path, link: str, wrong: str | None) -> None:
    (tmp_path / "a.html").write_text(f'<a href="{link}">a</a>')
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1>')
    broken = runpy.run_path(str(ROOT / "docs" / "check_links.py"))["broken"]
    assert broken(tmp_path) == ([f"a.html: {wrong}"] if wrong else [])
