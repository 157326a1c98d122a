"""ONNX files: the same logits in onnxruntime, for any number of rows and tokens."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import WORDS, moved, save_backbone
from sklearn.exceptions import NotFittedError
from transformers import AutoTokenizer

from sklearn_lntune import LNTunedTransformerClassifier, LNTunedTransformerRegressor

Clf = Callable[..., LNTunedTransformerClassifier]

# What torch's exporter says of its own insides, and of names that it makes one.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:# The axis name. .* will not be used:UserWarning"),
]

#: The name of the number of blocks where it is another one.
ONE_BLOCK = {"gpt2": "n_layer", "t5": "num_layers"}
SUM = "layernorm+prefix+scale+adapter"


def give_types(backbone: Path) -> None:
    """Let the tokenizer say which text of a pair a token is of."""
    file = backbone / "tokenizer_config.json"
    names = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | names), "utf-8")


def run(file: Path, backbone: Any, rows: list[Any], output: str = "logits") -> np.ndarray:
    """Logits of ``rows`` from onnxruntime alone, with the backbone's tokenizer."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    texts, pairs = list(zip(*rows, strict=True)) if isinstance(rows[0], tuple) else (rows, None)
    tokens = AutoTokenizer.from_pretrained(backbone)(
        list(texts), list(pairs) if pairs else None, padding=True, return_tensors="np"
    )
    inputs = {each.name: tokens[each.name] for each in session.get_inputs()}
    (logits,) = session.run([output], inputs)
    return np.asarray(logits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "pooling", "tuning"),
    [
        ("bert", "native", SUM),
        ("bert", "max", "bias+scale"),  # of the norms one term is learnt, the other is not
        ("modernbert", "mean", SUM),
        ("gpt2", "last", SUM),
        ("llama", "native", SUM),
        ("deberta-v2", "cls", SUM),
        ("t5", "mean", SUM),
    ],
)
def test_onnxruntime_gives_the_same_logits(
    family: str, pooling: str, tuning: str, tmp_path: Path, texts: list[str]
) -> None:
    # Weights so large that texts differ much in their logits. The exporter takes as long for a
    # block again; ModernBERT's two differ.
    overrides = {} if family == "modernbert" else {ONE_BLOCK.get(family, "num_hidden_layers"): 1}
    backbone = save_backbone(tmp_path / "backbone", family, initializer_range=0.2, **overrides)
    rows: list[Any] = [*texts[:11], " ".join(WORDS)]
    if family == "bert":  # the one here with types of tokens
        give_types(backbone)
        rows = list(zip(rows, texts[12:24], strict=True))
    clf = LNTunedTransformerClassifier(
        backbone, tuning=tuning, pooling=pooling, precision="float32", random_state=0
    )
    clf.set_params(max_epochs=1, min_steps=0)
    moved(clf.fit(rows, [5, 30, 200] * 4))
    file = tmp_path / "of" / "it.onnx"
    clf.export_onnx(file)

    onnx.checker.check_model(file)
    expected = clf.decision_function(rows)
    assert expected.std(axis=0).min() > 1e-3  # else there is little to compare
    for some in (slice(1), slice(1, 6), slice(6, 12)):  # the exporter saw two rows
        found = run(file, backbone, rows[some])
        np.testing.assert_allclose(found, expected[some], rtol=0, atol=1e-5)

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (family == "bert")
    assert sorted(each.name for each in session.get_inputs()) == sorted(names)
    assert all(each.shape == ["rows", "tokens"] for each in session.get_inputs())
    assert [each.name for each in session.get_outputs()] == ["logits"]
    meta = json.loads(session.get_modelmeta().custom_metadata_map["sklearn_lntune"])
    assert meta["classes"] == ["5", "30", "200"]
    assert meta["max_length"] == clf.max_length_
    assert meta["backbone"]["fingerprint"] == clf.backbone_["fingerprint"]
    assert [each.name for each in file.parent.iterdir()] == ["it.onnx"]


@pytest.mark.slow
def test_a_regressor_predicts_in_the_unit_of_its_targets(tmp_path: Path, texts: list[str]) -> None:
    backbone = save_backbone(tmp_path / "bert", initializer_range=0.2, num_hidden_layers=1)
    reg = LNTunedTransformerRegressor(
        backbone, precision="float32", max_epochs=1, min_steps=0, random_state=0
    )
    moved(reg.fit(texts[:8], 100.0 + np.arange(8))).export_onnx(tmp_path / "it.onnx")
    found = run(tmp_path / "it.onnx", reg.backbone, texts[:12], "predictions")
    np.testing.assert_allclose(found[:, 0], reg.predict(texts[:12]), rtol=1e-5)


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_without_the_extra_an_error_names_it(
    package: str,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clf = tiny_clf().fit(texts, labels)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ImportError, match=rf"needs {package}: pip install 'sklearn-lntune\[onnx\]'"
    ):
        clf.export_onnx(tmp_path / "clf.onnx")
    assert not (tmp_path / "clf.onnx").exists()


def test_what_is_not_fitted_is_not_exported(tiny_clf: Clf, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        tiny_clf().export_onnx(tmp_path / "clf.onnx")
