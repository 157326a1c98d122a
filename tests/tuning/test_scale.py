"""Scale and shift of output projections, against their formula.

What every method must do (begin as the frozen model, train what it declares, stack, survive
a pickle) is tested in ``test_methods.py``, on every family.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import moved
from families import HIDDEN, LAYERS, known_families
from networks import EXACT, Make, build, by_method, private, scatter, states
from torch import nn
from transformers import pipeline

from sklearn_lntune import LNTunedTransformerClassifier, load
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.inspection import parameter_report
from sklearn_lntune.tuning import (
    BiasTuning,
    LayerNormTuning,
    LoraTuning,
    ScaleTuning,
    TuningSum,
    methods_of,
)
from sklearn_lntune.tuning.base import in_attach_order
from sklearn_lntune.tuning.plan import plan

EACH = pytest.mark.parametrize("family", known_families())
EVERYWHERE = ScaleTuning(sites="all")
#: The others: BERT and its kin, ELECTRA, DeBERTa, ESM, GPT-2, OPT, GPT-NeoX, BART.
WITHOUT_OUTPUT_BIAS = {
    *("modernbert", "nomic-bert", "llama", "qwen2", "qwen3", "gemma2", "mistral", "t5"),
}


def outputs(folder: Path, *sites: str) -> dict[str, int]:
    """Paths and sizes of the output projections at ``sites``."""
    linears = get_backbone(folder).anatomy.linears
    return {
        each.path: each.n_out for each in linears if each.role == "output" and each.site in sites
    }


# -- the formula -----------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("terms", ["both", "scale", "shift"])
def test_outputs_are_scaled_and_shifted(family: str, terms: str, lively: Make) -> None:
    network = scatter(build(lively(family), ScaleTuning(sites="all", terms=terms)))
    values, model = by_method(network.delta())["scale"], private(lively(family))
    expected = {
        f"{path}/{term}"
        for path in outputs(lively(family), "attention", "ffn")
        for term in (("scale", "shift") if terms == "both" else (terms,))
    }
    assert values.keys() == expected

    def change(path: str) -> Callable[..., torch.Tensor]:
        scale, shift = (values.get(f"{path}/{term}") for term in ("scale", "shift"))

        def hook(layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            scaled = output if scale is None else torch.from_numpy(scale) * output
            return scaled if shift is None else scaled + torch.from_numpy(shift)

        return hook

    for path in outputs(lively(family), "attention", "ffn"):
        model.get_submodule(path).register_forward_hook(change(path))
    torch.testing.assert_close(states(network.body), states(model), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_it_starts_without_changing_a_bit(family: str, dtype: torch.dtype, lively: Make) -> None:
    frozen = states(build(lively(family), "head", dtype=dtype).body)
    network = build(lively(family), EVERYWHERE, dtype=dtype)
    assert all(weight.dtype == torch.float32 for weight in network.learnt.values())
    assert torch.equal(states(network.body), frozen)


def test_a_small_step_of_a_scale_counts_in_bfloat16(lively: Make) -> None:
    network = build(lively(), EVERYWHERE, dtype=torch.bfloat16)
    before = states(network.body)
    with torch.no_grad():
        for name, weight in network.learnt.items():
            # 1.003 itself is 1 in bfloat16.
            weight.add_(0.003 if name.endswith("/scale") else 0)
    assert not torch.equal(states(network.body), before)


# -- which projections -----------------------------------------------------------------


@EACH
@pytest.mark.parametrize(
    ("sites", "chosen"),
    [
        ("ffn", ("ffn",)),
        ("attention", ("attention",)),
        ("all", ("attention", "ffn")),
        (["ffn", "attention"], ("attention", "ffn")),
    ],
    ids=["ffn", "attention", "all", "list"],
)
def test_sites_are_those_of_the_output_projections(
    family: str, sites: Any, chosen: tuple[str, ...], lively: Make
) -> None:
    expected = outputs(lively(family), *chosen)
    arrays = ScaleTuning(sites=sites).arrays(get_backbone(lively(family)).anatomy)
    assert {(array.path, array.shape) for array in arrays} == {
        (path, (size,)) for path, size in expected.items()
    }
    n_blocks = 1 if family == "albert" else LAYERS
    assert len(arrays) == 2 * n_blocks * len(chosen)


def test_layers_and_counts(lively: Make) -> None:
    anatomy = get_backbone(lively()).anatomy
    assert ScaleTuning().count(anatomy) == LAYERS * 2 * HIDDEN
    assert ScaleTuning(terms="scale", layers=1).count(anatomy) == HIDDEN
    assert {array.block for array in ScaleTuning(layers=[-1]).arrays(anatomy)} == {LAYERS - 1}


def test_it_is_the_size_that_the_paper_gives() -> None:
    from transformers import RobertaConfig

    clf = LNTunedTransformerClassifier(tuning="scale")
    total = parameter_report(clf, config=RobertaConfig(vocab_size=50265)).iloc[-1]
    assert total["parameters"] == 2 * 12 * 768
    assert round(total["share"], 3) == 0.015


# -- sums ------------------------------------------------------------------------------


@pytest.mark.parametrize("tuning", ["scale+bias", "bias+scale", "scale+layernorm+bias"])
def test_shifts_are_left_to_biases(tuning: str, lively: Make) -> None:
    anatomy = get_backbone(lively()).anatomy
    found = {method.name: arrays for method, arrays in plan(methods_of(tuning), anatomy).items()}
    assert list(found) == [name for name in ("layernorm", "bias", "scale") if name in found]
    assert {array.name for array in found["scale"]} == {"scale"}
    assert {f"{array.path}/bias" for array in found["scale"]} <= {a.key for a in found["bias"]}


def test_shifts_are_kept_where_there_is_no_bias(lively: Make) -> None:
    methods = methods_of("scale+bias")  # Qwen2 has biases, but none at output projections
    found = plan(methods, get_backbone(lively("qwen2")).anatomy)
    assert {array.name for array in found[methods[0]]} == {"scale", "shift"}


def test_a_shift_beside_biases_is_nothing_to_learn(lively: Make) -> None:
    with pytest.raises(ValueError, match=r"learn all that ScaleTuning\(terms='shift'\) would"):
        plan(methods_of(ScaleTuning(terms="shift") + BiasTuning()), get_backbone(lively()).anatomy)


def test_the_report_says_who_learns_the_shift(lively: Make) -> None:
    clf = LNTunedTransformerClassifier(lively(), tuning="layernorm+scale+bias")
    report = parameter_report(clf).set_index(["method", "site"])
    row = report.loc["scale", "ffn"]
    assert row["parameters"] == LAYERS * HIDDEN
    assert row["left_to"] == f"bias: {LAYERS * HIDDEN}"
    assert (row["insertion"], row["integration"]) == ("sequential", "rescaling")


# -- merging and exports -----------------------------------------------------------------


@EACH
def test_it_is_folded_into_the_projections(family: str, lively: Make) -> None:
    folder = lively(family)
    for terms in ("scale", "both"):
        tuning = ScaleTuning(sites="all", terms=terms)
        network, model = scatter(build(folder, tuning)), private(folder)
        values = by_method(network.delta())["scale"]
        biased = {
            path
            for path in outputs(folder, "attention", "ffn")
            if getattr(model.get_submodule(path), "bias", None) is not None
        }
        all_biased = len(biased) == len(outputs(folder, "attention", "ffn"))
        assert all_biased == (family not in WITHOUT_OUTPUT_BIAS)
        if terms == "both" and not all_biased:
            with pytest.raises(ValueError, match="has no bias; terms='scale' needs none"):
                tuning.merge(model, values)
            continue
        tuning.merge(model, values)
        torch.testing.assert_close(states(model), states(network.body), **EXACT)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_sums_are_folded_in_the_order_of_attaching(family: str, lively: Make) -> None:
    parts = (
        LayerNormTuning(),
        BiasTuning(),
        LoraTuning(2, targets=("attention.output", "ffn.output")),
        EVERYWHERE,
    )
    for methods in itertools.islice(itertools.permutations(parts), 0, None, 7):
        network, model = scatter(build(lively(family), TuningSum(methods))), private(lively(family))
        values = by_method(network.delta())
        for method in in_attach_order(methods):
            method.merge(model, values[method.name])
        torch.testing.assert_close(states(network.body), states(model), **EXACT)


@pytest.fixture
def fitted(
    lively_backbone: Make, texts: list[str], labels: list[str]
) -> Callable[..., LNTunedTransformerClassifier]:
    """``fitted(family, tuning)``: fitted on a few texts, then moved far from its start."""

    def fit(family: str, tuning: Any) -> LNTunedTransformerClassifier:
        clf = LNTunedTransformerClassifier(
            lively_backbone(family), tuning=tuning, pooling="native", precision="float32"
        )
        clf.set_params(max_epochs=1, min_steps=0, random_state=0, device="cpu")
        return moved(clf.fit(texts[:8], labels[:8]))

    return fit


@pytest.mark.parametrize(
    ("family", "tuning"),
    [
        ("bert", "scale"),
        ("bert", "scale+lora+bias+layernorm"),
        ("gpt2", "scale+layernorm"),
        ("llama", ScaleTuning(sites="all", terms="scale")),
    ],
    ids=str,
)
def test_plain_transformers_gives_the_same_probabilities(
    family: str, tuning: Any, fitted: Any, tmp_path: Path, texts: list[str]
) -> None:
    clf = fitted(family, tuning)
    clf.export_transformers(tmp_path)
    classify = pipeline("text-classification", str(tmp_path), top_k=None, device="cpu")
    rows = [{each["label"]: each["score"] for each in row} for row in classify(texts[:6])]
    found = np.array([[row[name] for name in clf.classes_] for row in rows])
    expected = clf.predict_proba(texts[:6])
    assert expected.std(axis=0).min() > 1e-3  # else there is little to compare
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_shift_that_no_bias_can_hold_is_not_exported(fitted: Any, tmp_path: Path) -> None:
    clf = fitted("llama", "scale")
    with pytest.raises(ValueError, match=r"terms='scale' needs none.* can be; save\(\) holds"):
        clf.export_transformers(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_it_is_saved_and_loaded(fitted: Any, tmp_path: Path, texts: list[str]) -> None:
    clf = fitted("bert", ScaleTuning(terms="scale", layers=range(1)) + LayerNormTuning())
    clf.save(tmp_path / "clf.zip")
    back = load(tmp_path / "clf.zip")
    assert repr(back.tuning) == repr(clf.tuning)
    assert (back.predict_proba(texts) == clf.predict_proba(texts)).all()
