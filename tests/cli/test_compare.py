"""``compare``: four methods on the same rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sklearn_lntune.cli.compare import BEST_SUM
from sklearn_lntune.tuning import PRESETS


def test_compare(
    run: Callable[..., Any],
    tickets: Path,
    tiny_backbone: Callable[..., Path],
    quick: list[str],
    tmp_path: Path,
) -> None:
    columns = ["--text", "message", "--label", "queue", "--backbone", tiny_backbone()]
    files = ["--json", tmp_path / "c.json", "--plot", tmp_path / "c.svg"]
    result = run("compare", tickets, *columns, *quick, *files, "--tuning", "bias", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["train_rows"], found["test_rows"]) == (32, 8)
    names = [row["method"] for row in found["methods"]]
    assert names[0].startswith("TF-IDF")
    assert names[3:] == [f"LayerNorm + attention adapters ({BEST_SUM})", "bias"]
    learnt = {row["method"]: row["learnt"] for row in found["methods"]}
    assert learnt[names[0]] is None
    assert learnt["LayerNorm tuning"] < learnt[names[3]]
    for row in found["methods"]:
        assert row["method"] in result.stdout
        assert 0 <= row["accuracy"] <= 1
    assert "<svg" in (tmp_path / "c.svg").read_text()


def test_fewer_rows_of_pairs(
    run: Callable[..., Any],
    tickets: Path,
    tiny_backbone: Callable[..., Path],
    quick: list[str],
    tmp_path: Path,
) -> None:
    columns = ["--text", "message", "--text-pair", "id", "--label", "queue"]
    some = ["--max-rows", 20, "--backbone", tiny_backbone(), "--json", tmp_path / "c.json"]
    result = run("compare", tickets, *columns, *quick, *some)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "c.json").read_text())["train_rows"] == 20


def test_an_unknown_tuning_is_an_error_before_any_training(
    run: Callable[..., Any], tickets: Path
) -> None:
    result = run("compare", tickets, "--tuning", "magic", "--backbone", "/nowhere")
    assert result.exit_code == 1
    assert "'magic' is not a tuning method" in result.stderr
    assert "TF-IDF" not in result.output


def test_the_best_sum_is_a_preset() -> None:
    assert BEST_SUM in PRESETS
