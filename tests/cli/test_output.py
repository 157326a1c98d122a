"""Tables and progress, in a terminal and elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sklearn_lntune.cli.output import check_free, print_table, row_counter, written

ROWS = [["a [b]", 1234, 0.5, None], ["c", 5, 12.25, 7]]
COLUMNS = ["name", "rows", "share", "more"]


def test_plain_columns_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS, "a title")
    assert capsys.readouterr().out.splitlines() == [
        "a title",
        "name    rows   share  more",
        "a [b]  1,234  0.5000     -",
        "c          5    12.2     7",
    ]


def test_rules_in_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(COLUMNS, ROWS, "a title")
    shown = capsys.readouterr().out
    assert "┃" in shown
    assert "a [b]" in shown  # no markup
    assert "1,234" in shown


def test_a_table_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [])
    assert capsys.readouterr().out == "name  rows  share  more\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_rows_are_counted_in_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with row_counter("answered", quiet=False) as count:
        count(500)
    assert ("500" in capsys.readouterr().err) == terminal


def test_devices_are_written_to_and_folders_are_not(tmp_path: Path) -> None:
    null = Path("/dev/null")
    if null.exists():
        check_free(null, overwrite=False)
        with written(null) as fresh:
            assert fresh == null
        assert not null.is_file()
    with pytest.raises(ValueError, match="is a folder; name a file"), written(tmp_path):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="nothing can be written into it"):
        check_free(tmp_path / "file" / "out.csv", overwrite=True)
