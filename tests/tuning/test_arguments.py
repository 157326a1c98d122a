"""Wrong arguments of tuning methods: found before any training, by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import Make, built_in_methods

from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.training import fitting
from sklearn_lntune.tuning import (
    AdapterTuning,
    BiasTuning,
    FullTuning,
    LayerNormTuning,
    LoraTuning,
    PrefixTuning,
    ScaleTuning,
    TuningMethod,
    adapter,
)
from sklearn_lntune.tuning.layers.stacked_linear import ACTIVATIONS

Clf = Callable[..., Any]
METHODS = built_in_methods()

COUNTS: list[Any] = [0, -1, 1.5, 2.0, "8", None, True, math.nan, 10**9]
POSITIVE: list[Any] = [0, -1.0, math.nan, math.inf, "1", None, True]
LAYERS: list[Any] = [0, 3, -1, "top", [], [2], [-3], [0.5], [True], 1.5, True, None]
LAYERS += [range(10**9), range(-(10**9), 0), range(10**30), range(0)]
SITES: list[Any] = ["mlp", "", (), ("ffn", "mlp"), "qk", ("final",)]
WORDS: list[Any] = ["other", "", None, 3, ("gelu",)]
WRONG: dict[type[TuningMethod], dict[str, list[Any]]] = {
    LayerNormTuning: {"terms": [*WORDS, ["gain"]], "sites": SITES, "layers": LAYERS},
    BiasTuning: {"norms": [None, 1, 0, "yes", "all"], "sites": SITES, "layers": LAYERS},
    LoraTuning: {
        "rank": COUNTS,
        "alpha": POSITIVE,
        "targets": ["q", "", "output", (), ("query", "keys"), ("query", None)],
        "layers": LAYERS,
    },
    PrefixTuning: {
        "length": COUNTS,
        "init": WORDS,
        "projection": [value for value in COUNTS if value is not None],
        "layers": LAYERS,
    },
    ScaleTuning: {"terms": [*WORDS, ["scale"], "gain"], "sites": SITES, "layers": LAYERS},
    AdapterTuning: {
        "size": COUNTS,
        "sites": [*WORDS, "all", "embedding"],
        "insertion": WORDS,
        "scale": POSITIVE,
        "activation": WORDS,
        "layers": LAYERS,
    },
}
EACH = pytest.mark.parametrize(
    ("method", "argument", "value"),
    [
        pytest.param(method, argument, value, id=f"{method.name}-{argument}-{value!r}")
        for method, arguments in WRONG.items()
        for argument, values in arguments.items()
        for value in values
    ],
)


def test_every_argument_is_tried() -> None:
    assert {*WRONG, FullTuning} == set(METHODS.values())
    for method, arguments in WRONG.items():
        assert arguments.keys() == method().get_params().keys()


@EACH
def test_a_wrong_argument_is_an_error_that_names_it(
    method: type[TuningMethod],
    argument: str,
    value: Any,
    tiny_backbone: Make,
    tiny_clf: Clf,
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = method(**{argument: value})  # it only stores
    assert wrong.get_params()[argument] is value
    with pytest.raises(ValueError, match=rf"\b{argument}\b") as error:
        wrong.arrays(get_backbone(tiny_backbone()).anatomy)
    one_of_several = argument == "targets" and isinstance(value, tuple) and value
    assert repr(value[-1] if one_of_several else value) in str(error.value)

    monkeypatch.setattr(fitting, "run", lambda job: pytest.fail("training has begun"))
    beside = LayerNormTuning() if method is LoraTuning else LoraTuning()
    for tuning in (wrong, beside + wrong):
        clf = tiny_clf(tuning=tuning)
        with pytest.raises(ValueError, match=rf"\b{argument}\b"):
            clf.fit(texts, labels)
        assert not hasattr(clf, "delta_")


TWO: Any = np.int64(2)


@pytest.mark.parametrize(
    "good",
    [
        LayerNormTuning(layers=TWO, sites=["ffn"]),
        BiasTuning(sites=["attention", "ffn"], layers=range(1)),
        LoraTuning(TWO, alpha=TWO / 3, targets=["ffn.output"], layers=(0, TWO - 1)),
        PrefixTuning(TWO, layers=[-1], projection=TWO),
        AdapterTuning(TWO, scale=1, layers=1),
        ScaleTuning(sites=["attention", "ffn"], layers=TWO),
    ],
    ids=["layernorm", "bias", "lora", "prefix", "adapter", "scale"],
)
def test_numbers_and_sequences_of_any_kind_will_do(good: TuningMethod, tiny_backbone: Make) -> None:
    assert good.count(get_backbone(tiny_backbone()).anatomy) > 0


@pytest.mark.parametrize(
    "method", [LayerNormTuning, BiasTuning, LoraTuning, AdapterTuning, ScaleTuning]
)
def test_shared_layers_are_chosen_together(
    method: Callable[..., TuningMethod], tiny_backbone: Make
) -> None:
    with pytest.raises(ValueError, match="layers=1, but .* share one block's weights"):
        method(layers=1).arrays(get_backbone(tiny_backbone("albert")).anatomy)


@pytest.mark.parametrize("site", ["attention", "ffn"])
def test_parallel_adapters_need_a_known_layout(site: str, tiny_backbone: Make) -> None:
    anatomy = get_backbone(tiny_backbone()).anatomy
    outputs = tuple(linear for linear in anatomy.linears if linear.role == "output")
    unknown = dataclasses.replace(anatomy, linears=outputs)
    AdapterTuning(sites=site).arrays(unknown)
    with pytest.raises(ValueError, match="insertion='parallel' .* BertModel: .* Use 'sequential'"):
        AdapterTuning(sites=site, insertion="parallel").arrays(unknown)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_terms_of_reference(name: str) -> None:
    terms = METHODS[name]().taxonomy()
    assert all(isinstance(term, str) and term for term in terms)
    assert set(terms._fields) == {"workspace", "insertion", "integration"}


def test_terms_of_adapters_tell_where_and_how() -> None:
    plain, parallel = AdapterTuning(), AdapterTuning(sites="ffn", insertion="parallel", scale=4.0)
    assert plain.taxonomy() == ("attention output", "sequential", "direct addition")
    assert parallel.taxonomy() == ("feed-forward output", "parallel", "scaled addition")
    both = AdapterTuning(sites="both").taxonomy()
    assert both.workspace == "attention, feed-forward output"


def test_activations_are_named_without_torch_as_they_are_with_it() -> None:
    assert tuple(ACTIVATIONS) == adapter._ACTIVATIONS
