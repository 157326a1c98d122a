"""``info``: what a file is, without a backbone and without torch."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pytest

from sklearn_lntune import LNTunedTransformerClassifier


def test_info_of_a_zip(
    run: Callable[..., Any], saved: Path, fitted: LNTunedTransformerClassifier
) -> None:
    found = json.loads(run("info", saved, "--json").stdout)
    assert found["classes"] == ["blue", "green", "red"]
    assert found["fingerprint"] == fitted.backbone_["fingerprint"]
    assert found["metrics"] == {"accuracy": 0.75}
    assert found["data"] == "forty rows"
    assert found["learnt"][-1]["numbers"] == sum(each.size for each in fitted.delta_.values())
    with zipfile.ZipFile(saved) as archive:
        for entry in found["files"]:
            content = archive.read(entry["file"])
            assert entry["bytes"] == len(content)
            assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    shown = run("info", saved).stdout
    for value in (
        "blue, green, red",
        found["fingerprint"],
        "layernorm",
        found["files"][0]["sha256"],
    ):
        assert value in shown


def test_a_folder_is_as_a_zip(
    run: Callable[..., Any], saved: Path, fitted: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "f", metrics={"accuracy": 0.75}, data="forty rows")
    one, other = (
        json.loads(run("info", path, "--json").stdout) for path in (saved, tmp_path / "f")
    )
    assert one == other


def test_no_backbone_and_no_torch(saved: Path, tmp_path: Path) -> None:
    """In a fresh process, with the backbone gone."""
    moved = tmp_path / "moved.zip"
    shutil.copy(saved, moved)
    program = (
        "import sys\n"
        "from sklearn_lntune.cli.app import app\n"
        "try:\n"
        "    app(['info', sys.argv[1]])\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "heavy = {'torch', 'transformers', 'skorch', 'datasets', 'tokenizers', 'matplotlib'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", program, str(moved)], check=True, capture_output=True)


def test_damage(run: Callable[..., Any], saved: Path, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "bad.zip").write_bytes(content)
    result = run("info", tmp_path / "bad.zip")
    assert result.exit_code == 1
    assert "is damaged" in result.stderr


def test_files_of_others(
    run: Callable[..., Any],
    fitted: LNTunedTransformerClassifier,
    tiny_backbone: Callable[..., Path],
    tmp_path: Path,
) -> None:
    joblib.dump(fitted, tmp_path / "clf.joblib")
    (tmp_path / "clf.onnx").write_bytes(b"\x08")
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "adapter_config.json").write_text("{}")
    for path, what in {
        tmp_path / "clf.joblib": "is a pickle",
        tmp_path / "clf.onnx": "is a network for ONNX runtimes",
        tmp_path / "peft": "is an adapter for peft",
        tiny_backbone(): "is a model for transformers",
    }.items():
        result = run("info", path)
        assert result.exit_code == 1
        assert what in result.stderr


@pytest.mark.parametrize("path", ["nowhere.zip", "nowhere/at/all"])
def test_nothing(run: Callable[..., Any], path: str) -> None:
    result = run("info", path)
    assert result.exit_code == 1
    assert "is no folder, no file" in result.stderr
