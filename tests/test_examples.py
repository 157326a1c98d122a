"""The examples and the README, run as they stand, on the real default backbone.

What a text costs grows with its length, so most read short messages, and few of them.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from launching import ROOT, launch

from sklearn_lntune import LNTunedTransformerClassifier, clear_backbones, datasets
from sklearn_lntune.datasets import load_support_tickets

EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def _no_windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    yield
    plt.close("all")


#: Rates at which a fit of few steps learns enough.
FAST = {"lr": 5e-3, "head_lr": 1e-2}


def shorter(monkeypatch: pytest.MonkeyPatch, **defaults: float) -> None:
    """Other defaults for how a fit trains: the code as it stands, in less time."""
    known = LNTunedTransformerClassifier.__init__.__kwdefaults__
    for name, value in defaults.items():
        assert name in known
        monkeypatch.setitem(known, name, value)


def short_messages(monkeypatch: pytest.MonkeyPatch, every: int = 1) -> None:
    """Each ``every``-th of the support tickets that are short."""
    load = datasets.load_support_tickets

    def short(**options: Any) -> Any:
        X, y = load(**options)
        kept = [i for i, text in enumerate(X) if len(text) < 120][::every]
        return [X[i] for i in kept], [y[i] for i in kept]

    monkeypatch.setattr(datasets, "load_support_tickets", short)


def in_this_process(command: list[str], check: bool) -> None:
    """Stands in for `subprocess.run`: a fresh process would load the whole data set.

    Fresh processes are tested in ``test_persistence.py``.
    """
    clear_backbones()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["-c", *command[3:]])
        with pytest.raises(SystemExit) as end:
            exec(compile(command[2], "-c", "exec"), {"__name__": "__main__"})
    assert not end.value.code


@pytest.mark.slow
def test_quickstart(
    default_backbone: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter(monkeypatch, max_epochs=2, min_steps=0, batch_size=8, **FAST)
    short_messages(monkeypatch)
    monkeypatch.setattr(subprocess, "run", in_this_process)
    names = runpy.run_path(str(EXAMPLES / "quickstart.py"), run_name="__main__")
    accuracy = names["accuracy"]
    tuned = accuracy["LayerNorm tuning"]
    assert tuned > accuracy["TF-IDF + logistic regression"] + 0.05
    assert tuned > accuracy["frozen embeddings + logistic regression"] + 0.05
    assert names["size"] < 150_000
    said = capsys.readouterr().out
    assert "best of the grid" in said
    assert "equal predictions True" in said


@pytest.mark.slow
@pytest.mark.data
def test_real_data_on_trec(
    default_backbone: str, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter(monkeypatch, max_epochs=1, min_steps=0, **FAST)
    module: dict[str, Any] = runpy.run_path(str(EXAMPLES / "real_data.py"), run_name="example")
    module["main"].__globals__["RESULTS"] = tmp_path / "real_data.jsonl"
    fetch = module["fetch_text_dataset"]

    def part(name: str, split: str) -> Any:
        X, y = fetch(name, split)
        return (X[::6], y[::6]) if split == "train" else (X[::2], y[::2])

    module["main"].__globals__["fetch_text_dataset"] = part
    table = module["main"](sets=("trec",), seeds=1)["trec"]
    assert table["LayerNorm tuning"] >= 90.0
    assert table["LayerNorm tuning"] > table["frozen embeddings + logistic regression"] + 3
    assert table["frozen embeddings + logistic regression"] > table["TF-IDF + logistic regression"]
    assert len(module["finished"]()) == 3  # kept, so that a second call runs nothing


@pytest.mark.slow
def test_tuning_methods(
    default_backbone: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short_messages(monkeypatch, every=10)
    names = runpy.run_path(str(EXAMPLES / "tuning_methods.py"), run_name="__main__")
    assert names["totals"]["layernorm"]["parameters"] == 100_352
    assert len(names["table"]) == 4
    assert "concatenation" in capsys.readouterr().out


@pytest.mark.slow
def test_save_and_share(
    default_backbone: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short_messages(monkeypatch, every=4)
    runpy.run_path(str(EXAMPLES / "save_and_share.py"), run_name="__main__")
    assert "transformers folder" in capsys.readouterr().out


@pytest.mark.slow
def test_many_devices_and_one(
    default_backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("accelerate")
    runpy.run_path(str(EXAMPLES / "many_devices.py"), run_name="__main__")
    alone = re.match(r"4 steps, loss (\d\.\d+)\n\[", capsys.readouterr().out)
    done = launch(EXAMPLES / "many_devices.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    together = re.findall(r"4 steps, loss (\d\.\d+)\n(\d+\.\d) kB summed a step", done.stdout)
    assert alone is not None
    assert len(together) == 1  # only the main process prints
    loss, kilobytes = map(float, together[0])
    assert loss == pytest.approx(float(alone[1]), rel=1e-3)
    n_classes = len(set(load_support_tickets(subset="train", return_X_y=True)[1]))
    # The gains and biases of MiniLM's 13 norms, the head, the loss and one number more.
    assert kilobytes == round(4 * (13 * 2 * 384 + n_classes * 385 + 2) / 1000, 1)


@pytest.mark.slow
def test_look_inside(default_backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter(monkeypatch, batch_size=64)
    short_messages(monkeypatch, every=4)
    plt.close("all")  # those of other tests in this process
    runpy.run_path(str(EXAMPLES / "look_inside.py"), run_name="__main__")
    assert len(plt.get_fignums()) == 4


@pytest.mark.slow
def test_bank(
    default_backbone: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short_messages(monkeypatch, every=4)
    names = runpy.run_path(str(EXAMPLES / "bank.py"), run_name="__main__")
    assert names["bank"].names == ["asks", "long", "topic"]
    assert "3 classifiers, 1 in memory" in capsys.readouterr().out


@pytest.mark.slow
def test_long_texts(default_backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    monkeypatch.setattr(pyplot, "show", lambda: None)
    names = runpy.run_path(str(EXAMPLES / "long_texts.py"), run_name="__main__")
    right = {name: found.mean() for name, found in names["right"].items()}
    assert right["windows, mean"] > right["truncated"] + 0.1
    assert right["windows, attention"] > right["truncated"] + 0.1


@pytest.mark.slow
def test_several_labels(default_backbone: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    names = runpy.run_path(str(EXAMPLES / "several_labels.py"), run_name="__main__")
    assert names["probabilities"].shape == (12, 8)
    assert "macro F1" in capsys.readouterr().out


@pytest.mark.slow
def test_regression(default_backbone: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    names = runpy.run_path(str(EXAMPLES / "regression.py"), run_name="__main__")
    assert names["predicted"].shape == (60, 2)
    assert "R2" in capsys.readouterr().out


@pytest.mark.slow
def test_tagging(default_backbone: str) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    names = runpy.run_path(str(EXAMPLES / "tagging.py"), run_name="__main__")
    assert names["score"] > 0.9
    assert len(names["tags"]) == len(names["long"])


@pytest.mark.slow
def test_fused_search(
    default_backbone: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short_messages(monkeypatch)
    scores = runpy.run_path(str(EXAMPLES / "fused_search.py"), run_name="__main__")["scores"]
    assert abs(scores["fused"] - scores["one by one"]).max() < 0.05
    assert "a vote of three" in capsys.readouterr().out


@pytest.mark.slow
def test_readme(default_backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter(monkeypatch, max_epochs=1, min_steps=0)
    short_messages(monkeypatch, every=10)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert len(blocks) >= 4
    names: dict[str, Any] = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["clf"].n_steps_ == 3
    assert set(names["clf"].predict(names["X_test"])) <= set(names["y_train"])


@pytest.mark.slow
def test_images(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="needs the docs extra").use("Agg")
    shown: list[Any] = []
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: shown.append(1))
    names = runpy.run_path(str(EXAMPLES / "images.py"), run_name="__main__")
    assert min(names["scores"].values()) > 0.5
    assert len(names["axes"].flat) == 16
    assert shown
    assert "cls of 16 patches" in capsys.readouterr().out
