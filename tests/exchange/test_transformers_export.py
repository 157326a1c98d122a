"""Plain transformers folders: the same probabilities without this package."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WORDS, moved, save_backbone
from families import known_families
from transformers import AutoModelForSequenceClassification, pipeline

from sklearn_lntune import LNTunedTransformerClassifier, LNTunedTransformerRegressor

Fitted = Callable[..., LNTunedTransformerClassifier]

#: Encoder-decoder models have no head of their own here.
NATIVE = [family for family in known_families() if family not in ("t5", "bart")]
#: Those whose linear layers have no biases.
BIASLESS = ("modernbert", "nomic-bert", "llama", "qwen3", "gemma2", "mistral")
#: All that can be written into weights at once on every family, and by itself on one of each
#: kind of anatomy. ``tests/tuning`` merges every method by itself on every family.
EACH = pytest.mark.parametrize(
    ("family", "tuning"),
    [
        *((family, "layernorm+lora" + "+bias" * (family not in BIASLESS)) for family in NATIVE),
        *(
            (family, tuning)
            for family in ("bert", "modernbert", "gpt2", "llama")
            for tuning in ("layernorm", "lora", "full")
        ),
    ],
)


@pytest.fixture(scope="module")
def fitted(lively_backbone: Callable[..., Path], texts: list[str], labels: list[str]) -> Fitted:
    """``fitted(family, **params)``: fitted on a few texts, then moved far from its start."""

    def fit(
        family: str = "bert", *, X: Any = None, y: Any = None, **params: Any
    ) -> LNTunedTransformerClassifier:
        fixed: dict[str, Any] = {"max_epochs": 1, "min_steps": 0, "random_state": 0}
        fixed |= {"precision": "float32", "device": "cpu", "pooling": "native"}
        clf = LNTunedTransformerClassifier(**{"backbone": lively_backbone(family)} | fixed | params)
        clf.fit(texts[:8] if X is None else X, labels[:8] if y is None else y)
        return moved(clf)

    return fit


def answers(folder: Path, texts: list[Any], classes: list[str], **options: Any) -> np.ndarray:
    """Probabilities from the pipeline, in the order of ``classes``."""
    classify = pipeline("text-classification", str(folder), top_k=None, device="cpu")
    rows = [{each["label"]: each["score"] for each in row} for row in classify(texts, **options)]
    assert all(row.keys() == set(classes) for row in rows)
    return np.array([[row[name] for name in classes] for row in rows])


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert expected.std(axis=0).min() > 1e-3  # else there is little to compare
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@EACH
def test_the_pipeline_gives_the_same_probabilities(
    family: str, tuning: str, fitted: Fitted, tmp_path: Path, texts: list[str]
) -> None:
    clf = fitted(family, tuning=tuning)
    before = clf.predict_proba(texts[:12])
    clf.export_transformers(tmp_path / "of" / "it")
    assert_same(answers(tmp_path / "of" / "it", texts[:12], clf.classes_.tolist()), before)
    assert (clf.predict_proba(texts[:12]) == before).all()  # the shared backbone is as it was


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_batches_give_the_same(
    family: str, fitted: Fitted, tmp_path: Path, texts: list[str]
) -> None:
    clf = fitted(family, tuning="head")
    clf.export_transformers(tmp_path)
    found = answers(tmp_path, texts[:12], clf.classes_.tolist(), batch_size=4)
    assert_same(found, clf.predict_proba(texts[:12]))


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (["b", "a"], ["a", "b"]),
        ([7, 3, 10], ["3", "7", "10"]),
        ([True, False], ["False", "True"]),
        (["ä/ö", "", "two words"], ["", "two words", "ä/ö"]),
    ],
    ids=str,
)
def test_names_of_the_classes(
    classes: list[Any], names: list[str], fitted: Fitted, tmp_path: Path, texts: list[str]
) -> None:
    clf = fitted(y=[classes[place % len(classes)] for place in range(8)])
    clf.export_transformers(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert config["id2label"] == {str(code): name for code, name in enumerate(names)}
    assert config["label2id"] == {name: code for code, name in enumerate(names)}
    assert_same(answers(tmp_path, texts[:6], names), clf.predict_proba(texts[:6]))


@pytest.mark.parametrize("types", [False, True], ids=["alike", "with-types"])
def test_sentence_pairs(types: bool, fitted: Fitted, tmp_path: Path, texts: list[str]) -> None:
    backbone = save_backbone(tmp_path / "backbone", initializer_range=0.2)
    if types:  # the tokenizer says which text a token is of
        file = backbone / "tokenizer_config.json"
        names = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | names), "utf-8")
    pairs = list(zip(texts[:8], texts[8:16], strict=True))
    clf = fitted(X=pairs, backbone=backbone)
    clf.export_transformers(tmp_path / "model")
    asked = [{"text": one, "text_pair": other} for one, other in pairs]
    found = answers(tmp_path / "model", asked, clf.classes_.tolist())
    assert_same(found, clf.predict_proba(pairs))


@pytest.mark.filterwarnings("ignore:.*were cut:UserWarning")
@pytest.mark.parametrize("pair", [False, True], ids=["one-text", "pair"])
@pytest.mark.parametrize("max_length", [9, "auto"])
def test_a_long_text_is_cut_alike(
    max_length: Any, pair: bool, fitted: Fitted, tmp_path: Path, texts: list[str]
) -> None:
    long = [" ".join(WORDS[start:] * 3) for start in range(8)]
    rows: list[Any] = list(zip(long, texts[:8], strict=True)) if pair else long
    clf = fitted(X=rows, max_length=max_length)
    clf.export_transformers(tmp_path)
    asked = [{"text": one, "text_pair": other} for one, other in rows] if pair else rows
    found = answers(tmp_path, asked, clf.classes_.tolist(), truncation=True)
    assert_same(found, clf.predict_proba(rows))


def test_the_folder_is_a_whole_model_in_safetensors(fitted: Fitted, tmp_path: Path) -> None:
    fitted(tuning="layernorm+lora").export_transformers(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    model, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report.values())
    assert type(model).__name__ == "BertForSequenceClassification"
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_nothing_of_this_package_or_machine_is_written(fitted: Fitted, tmp_path: Path) -> None:
    clf = fitted()
    clf.export_transformers(tmp_path)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert b"lntune" not in content
        assert str(clf.backbone).encode() not in content, file.name


def test_a_fresh_process_without_this_package(
    fitted: Fitted, tmp_path: Path, texts: list[str]
) -> None:
    clf = fitted(tuning="layernorm+lora")
    clf.export_transformers(tmp_path / "model")
    program = (
        "import sys; sys.modules['sklearn_lntune'] = None\n"
        "import json; from transformers import pipeline\n"
        "classify = pipeline('text-classification', sys.argv[1], top_k=None, device='cpu')\n"
        "with open(sys.argv[2], 'w') as stream: json.dump(classify(sys.argv[3:]), stream)"
    )
    file, some = tmp_path / "found.json", texts[:4]
    arguments = [sys.executable, "-c", program, str(tmp_path / "model"), str(file), *some]
    subprocess.run(arguments, check=True)
    rows = [{each["label"]: each["score"] for each in row} for row in json.loads(file.read_text())]
    found = np.array([[row[name] for name in clf.classes_] for row in rows])
    assert_same(found, clf.predict_proba(some))


@pytest.mark.parametrize("tuning", ["prefix", "adapter", "layernorm+prefix", "lora+adapter"])
def test_what_no_weight_can_hold_is_refused(tuning: str, fitted: Fitted, tmp_path: Path) -> None:
    clf = fitted(tuning=tuning)
    with pytest.raises(ValueError, match=r"'layernorm', 'bias', 'lora', .* can be; save\(\)"):
        clf.export_transformers(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
def test_other_poolings_are_refused(pooling: str, fitted: Fitted, tmp_path: Path) -> None:
    clf = fitted(pooling=pooling)
    with pytest.raises(ValueError, match=rf"pooling='{pooling}'.*Fit with pooling='native'.*save"):
        clf.export_transformers(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_several_labels(fitted: Fitted, tmp_path: Path, texts: list[str]) -> None:
    marks = [[row % 2, row % 3 == 0, row > 3] for row in range(8)]
    clf = fitted(y=marks)
    clf.export_transformers(tmp_path)
    assert_same(answers(tmp_path, texts[:12], ["0", "1", "2"]), clf.predict_proba(texts[:12]))


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_numbers(
    n_outputs: int, lively_backbone: Callable[..., Path], tmp_path: Path, texts: list[str]
) -> None:
    """The model predicts in the unit of the targets."""
    y = np.outer(100.0 + np.arange(8) ** 2, [1.0, -20.0, 0.5])[:, :n_outputs]
    quick: dict[str, Any] = {"max_epochs": 1, "min_steps": 0, "precision": "float32"}
    reg = LNTunedTransformerRegressor(
        lively_backbone(), pooling="native", device="cpu", random_state=0, **quick
    )
    moved(reg.fit(texts[:8], y if n_outputs > 1 else y[:, 0])).export_transformers(tmp_path)
    names = [f"LABEL_{output}" for output in range(n_outputs)]
    found, expected = answers(tmp_path, texts[:12], names), reg.predict(texts[:12])
    assert expected.std(axis=0).min() > 0.1
    np.testing.assert_allclose(found, expected.reshape(12, n_outputs), rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="export_peft writes classifiers only"):
        reg.export_peft(tmp_path / "adapter")


def test_a_head_without_bias_holds_no_mean(
    lively_backbone: Callable[..., Path], tmp_path: Path, texts: list[str]
) -> None:
    reg = LNTunedTransformerRegressor(
        lively_backbone("gpt2"), pooling="native", max_epochs=1, min_steps=0, device="cpu"
    ).fit(texts[:8], np.arange(8))
    with pytest.raises(ValueError, match="has no bias"):
        reg.export_transformers(tmp_path)
