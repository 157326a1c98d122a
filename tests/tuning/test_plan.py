"""Sums of methods: who learns what, in which order, named sums, rates, searches."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import LAYERS
from networks import Make, build, built_in_methods
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.tuning import (
    PRESETS,
    AdapterTuning,
    BiasTuning,
    LayerNormTuning,
    LoraTuning,
    PrefixTuning,
    TuningSum,
    methods_of,
)
from sklearn_lntune.tuning.layers.stacked_norm import StackedNorm
from sklearn_lntune.tuning.plan import plan
from sklearn_lntune.tuning.registry import as_plain, nested_params

Clf = Callable[..., Any]

IGNORE_THE_SUM = pytest.mark.filterwarnings("ignore:tuning adds adapters at the feed-forward")


def planned(tuning: Any, folder: Path) -> dict[str, set[str]]:
    """Names of arrays by method, in the order of attaching."""
    found = plan(methods_of(tuning), get_backbone(folder).anatomy, with_pooler=False)
    return {method.name: {array.key for array in arrays} for method, arrays in found.items()}


def key(name: str) -> str:
    """A delta's name without the method."""
    return name.partition("/")[2]


@pytest.fixture
def few(texts: list[str], labels: list[str]) -> tuple[list[str], list[str]]:
    return texts[:12], labels[:12]


# -- who learns what -----------------------------------------------------------------


@pytest.mark.parametrize(
    "tuning",
    [
        "bias+layernorm",
        "layernorm+bias",
        BiasTuning() + LayerNormTuning(),
        LayerNormTuning() + BiasTuning(),
    ],
    ids=["bias-first", "layernorm-first", "bias-first-objects", "layernorm-first-objects"],
)
def test_biases_of_norms_belong_to_layernorm(
    tuning: Any, tiny_backbone: Make, tiny_clf: Clf, few: Any
) -> None:
    folder = tiny_backbone()
    norms = {norm.path for norm in get_backbone(folder).anatomy.norms}
    found = planned(tuning, folder)
    assert list(found) == ["layernorm", "bias"]
    assert found["layernorm"] == {f"{path}/{term}" for path in norms for term in ("gain", "bias")}
    assert not found["bias"] & found["layernorm"]
    assert found["layernorm"] | found["bias"] == (
        planned("layernorm", folder)["layernorm"] | planned("bias", folder)["bias"]
    )
    delta = tiny_clf(tuning=tuning).fit(*few).delta_
    assert delta.keys() - {"head/weight", "head/bias"} == {
        f"{method}/{name}" for method, names in found.items() for name in names
    }


@pytest.mark.parametrize("reverse", [False, True])
def test_two_methods_share_a_norm(
    reverse: bool, tiny_backbone: Make, tiny_clf: Clf, few: Any
) -> None:
    gains, biases = LayerNormTuning(terms="gain"), BiasTuning()
    tuning = biases + gains if reverse else gains + biases
    network = build(tiny_backbone(), tuning)
    for norm in get_backbone(tiny_backbone()).anatomy.norms:
        shared = network.body.get_submodule(norm.path)
        assert isinstance(shared, StackedNorm)
        assert not isinstance(shared._norm[0], StackedNorm)
        assert network.learnt[f"layernorm/{norm.path}/gain"] is shared.gain
        assert network.learnt[f"bias/{norm.path}/bias"] is shared.bias
    # It does not matter who learns a norm's bias.
    split = tiny_clf(tuning=tuning, lr=1e-2).fit(*few).delta_
    whole = tiny_clf(tuning="layernorm+bias", lr=1e-2).fit(*few).delta_
    assert split.keys() != whole.keys()
    expected = {key(name): value for name, value in whole.items()}
    assert {key(name) for name in split} == expected.keys()
    for name, value in split.items():
        np.testing.assert_allclose(value, expected[key(name)], rtol=0, atol=1e-12)


def test_biases_without_those_of_norms(tiny_backbone: Make) -> None:
    folder = tiny_backbone()
    alone = planned(BiasTuning(norms=False), folder)["bias"]
    assert alone == planned("layernorm+bias", folder)["bias"]
    assert len(alone) == 5 * LAYERS  # query, value, output; input, output
    assert not {name for name in alone if "Norm" in name}


@pytest.mark.parametrize(
    "tuning",
    [
        BiasTuning(sites="embedding") + LayerNormTuning(),
        LayerNormTuning(terms="bias") + BiasTuning(sites="embedding"),
    ],
    ids=["both", "biases"],
)
def test_a_method_that_is_left_nothing_is_an_error_that_names_it(
    tuning: Any, tiny_clf: Clf, few: Any
) -> None:
    clf = tiny_clf(tuning=tuning)
    with pytest.raises(ValueError, match=r"learn all that BiasTuning\(sites='embedding'\) would"):
        clf.fit(*few)
    assert not hasattr(clf, "delta_")


def test_the_pooler_is_learnt_only_where_it_is_used(
    tiny_backbone: Make, tiny_clf: Clf, few: Any
) -> None:
    anatomy = get_backbone(tiny_backbone()).anatomy
    for with_pooler in (False, True):
        (arrays,) = plan(methods_of("full"), anatomy, with_pooler=with_pooler).values()
        assert any(array.path.startswith("pooler") for array in arrays) == with_pooler
    delta = tiny_clf(tuning="full", max_epochs=1).fit(*few).delta_
    assert not [name for name in delta if "pooler" in name]


# -- the order of a sum --------------------------------------------------------------

ORDERS = {
    "objects": (
        AdapterTuning(4) + LayerNormTuning() + LoraTuning(2, targets="attention.output"),
        LoraTuning(2, targets="attention.output") + LayerNormTuning() + AdapterTuning(4),
    ),
    "names": ("adapter+layernorm+lora", "lora+layernorm+adapter"),
    "everything": (
        "adapter+prefix+scale+lora+bias+layernorm",
        "scale+bias+lora+adapter+layernorm+prefix",
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_of_a_sum_does_not_matter(name: str, tiny_clf: Clf, few: Any) -> None:
    one, other = (tiny_clf(tuning=tuning).fit(*few) for tuning in ORDERS[name])
    assert one.delta_.keys() == other.delta_.keys()
    for array, value in one.delta_.items():
        assert (value == other.delta_[array]).all(), array
    assert (one.predict_proba(few[0]) == other.predict_proba(few[0])).all()


def test_methods_are_attached_in_one_order(tiny_backbone: Make) -> None:
    names = ["layernorm", "bias", "lora", "prefix", "scale", "adapter"]
    assert list(built_in_methods()) == [*names, "full"]
    assert list(planned("+".join(reversed(names)), tiny_backbone())) == names


# -- the sum that hurts --------------------------------------------------------------


@pytest.mark.parametrize(
    "tuning",
    [
        AdapterTuning(4, sites="ffn") + LayerNormTuning(),
        LayerNormTuning() + AdapterTuning(4, sites="both"),
        LayerNormTuning() + PrefixTuning(2) + AdapterTuning(4, sites="ffn", insertion="parallel"),
        "houlsby",
        "adapter-ffn-ln",
    ],
    ids=["ffn", "both", "three", "houlsby", "adapter-ffn-ln"],
)
def test_adapters_behind_the_feed_forward_network_warn_beside_layernorm(
    tuning: Any, tiny_clf: Clf, few: Any
) -> None:
    with pytest.warns(UserWarning, match="2211.08682") as caught:
        tiny_clf(tuning=tuning, max_epochs=1).fit(*few)
    assert [warning.category for warning in caught] == [UserWarning]
    assert "AdapterTuning(sites='attention')" in str(caught[0].message)


@pytest.mark.parametrize(
    "tuning",
    [
        AdapterTuning(4) + LayerNormTuning(),
        AdapterTuning(4, sites="both") + BiasTuning(),
        AdapterTuning(4, sites="ffn"),
        "adapter-mha-ln",
        "prefix-adapter-mha-ln",
        "mam-adapter",
    ],
    ids=["attention", "bias", "alone", "adapter-mha-ln", "prefix-adapter-mha-ln", "mam-adapter"],
)
def test_other_sums_do_not_warn(tuning: Any, tiny_clf: Clf, few: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_clf(tuning=tuning, max_epochs=1).fit(*few)


# -- named sums ----------------------------------------------------------------------

#: name -> what it stands for
NAMED: dict[str, Any] = {
    "ln-tuning": LayerNormTuning(),
    "prefix-ln": LayerNormTuning() + PrefixTuning(),
    "adapter-mha-ln": LayerNormTuning() + AdapterTuning(),
    "prefix-adapter-mha-ln": LayerNormTuning() + PrefixTuning() + AdapterTuning(),
    "adapter-ffn-ln": LayerNormTuning() + AdapterTuning(sites="ffn"),
    "houlsby": LayerNormTuning() + AdapterTuning(sites="both"),
    "mam-adapter": PrefixTuning(30)
    + AdapterTuning(64, sites="ffn", insertion="parallel", scale=4.0, activation="relu"),
    "bitfit": BiasTuning(),
    "bias-ffn-ln": LayerNormTuning() + BiasTuning(sites="ffn", norms=False),
}


@IGNORE_THE_SUM
@pytest.mark.parametrize("name", PRESETS)
def test_a_named_sum_is_that_sum(name: str, tiny_clf: Clf, few: Any) -> None:
    assert as_plain(methods_of(name)) == as_plain(methods_of(NAMED[name]))
    assert not {*map(id, methods_of(name))} & {*map(id, PRESETS[name])}
    named = tiny_clf(tuning=name, max_epochs=1).fit(*few)
    spelt = tiny_clf(tuning=NAMED[name], max_epochs=1).fit(*few)
    assert named.tuning_ == spelt.tuning_ == as_plain(methods_of(name))
    assert (named.predict_proba(few[0]) == spelt.predict_proba(few[0])).all()


def test_names_of_sums_do_not_add_up() -> None:
    assert PRESETS.keys() == NAMED.keys()
    for tuning in ("houlsby+lora", "lora+bitfit"):
        with pytest.raises(ValueError, match="not a tuning method.*'bitfit'.*alone"):
            methods_of(tuning)


@IGNORE_THE_SUM
def test_nested_parameters_of_a_named_sum(tiny_clf: Clf, few: Any) -> None:
    before = copy.deepcopy({name: as_plain(methods) for name, methods in PRESETS.items()})
    clf = tiny_clf(tuning="houlsby", max_epochs=1)
    assert clf.get_params()["tuning__layernorm__terms"] == "both"
    assert clf.get_params()["tuning__adapter__sites"] == "both"
    clf.set_params(tuning__layernorm__terms="gain", tuning__adapter__size=3)
    assert nested_params(clf.tuning) == nested_params("houlsby") | {
        "layernorm__terms": "gain",
        "adapter__size": 3,
    }
    delta = clf.fit(*few).delta_
    assert not [name for name in delta if name.startswith("layernorm/") and "bias" in key(name)]
    assert {value.shape[0] for name, value in delta.items() if "down_weight" in name} == {3}
    assert {name: as_plain(methods) for name, methods in PRESETS.items()} == before
    assert nested_params("houlsby")["layernorm__terms"] == "both"


def test_a_name_and_its_parameters_are_set_together(tiny_clf: Clf) -> None:
    clf = tiny_clf().set_params(tuning="prefix-ln", tuning__prefix__length=3)
    assert nested_params(clf.tuning) == nested_params("prefix-ln") | {"prefix__length": 3}
    with pytest.raises(ValueError, match="Invalid parameter 'tuning__lora__rank'"):
        clf.set_params(tuning="prefix-ln", tuning__lora__rank=3)


# -- rates ---------------------------------------------------------------------------


def test_rates_by_method(tiny_clf: Clf, few: Any) -> None:
    lr = {"layernorm": 0.25, "lora": 0.125}
    clf = tiny_clf(tuning="layernorm+lora+bias", lr=lr, head_lr=0.5, max_epochs=1).fit(*few)
    network, groups = clf.net().module_, clf.net().optimizer_.param_groups
    rate = {id(weight): group["peak_lr"] for group in groups for weight in group["params"]}
    expected = lr | {"bias": BiasTuning.default_lr, "head": 0.5}
    assert {name: rate[id(weight)] for name, weight in network.learnt.items()} == {
        name: expected[name.partition("/")[0]] for name in network.learnt
    }
    assert lr == {"layernorm": 0.25, "lora": 0.125}


def test_a_rate_changes_its_own_method(tiny_clf: Clf, few: Any) -> None:
    clf = tiny_clf(tuning="layernorm+bias", max_epochs=1, batch_size=12, warmup=0)
    one, other = (clf.set_params(lr=lr).fit(*few).delta_ for lr in ("auto", {"bias": 1e-4}))
    # After one step, what one method learnt knows nothing of the rate of another.
    for name, value in one.items():
        assert (value == other[name]).all() != name.startswith("bias/"), name


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        ({"prefix": 1e-3}, "lr has a rate for 'prefix', but tuning consists of"),
        ({"layernorm": 1e-3, "nothing": 1}, "lr has a rate for 'nothing'"),
        ({"head": 1e-3}, "lr has a rate for 'head'"),
        ({"layernorm": 0}, r"lr\['layernorm'\] must be a number"),
        ({"lora": "fast"}, r"lr\['lora'\] must be 'auto'"),
        ({"lora": None}, r"lr\['lora'\] must be a number"),
    ],
    ids=["absent", "unknown", "head", "zero", "word", "none"],
)
def test_rates_that_make_no_sense(lr: Any, message: str, tiny_clf: Clf, few: Any) -> None:
    clf = tiny_clf(tuning="layernorm+lora", lr=lr)
    with pytest.raises(ValueError, match=message):
        clf.fit(*few)
    assert not hasattr(clf, "delta_")


def test_no_rates_are_those_of_the_methods(tiny_clf: Clf, few: Any) -> None:
    clf = tiny_clf(tuning="layernorm+lora", max_epochs=1)
    none: dict[str, float] = {}
    one, other = (clf.set_params(lr=lr).fit(*few).delta_ for lr in (none, "auto"))
    assert all((value == other[name]).all() for name, value in one.items())


# -- searches ------------------------------------------------------------------------


def lower(texts: Any) -> list[str]:
    return [text.lower() for text in texts]


@pytest.mark.parametrize("start", ["names", "objects", "preset"])
def test_grid_search_over_the_parameters_of_a_sum(
    start: str, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    passed = LayerNormTuning(sites="attention"), PrefixTuning(2, init="random")
    tuning: Any = {
        "names": "layernorm+prefix",
        "objects": TuningSum(passed),
        "preset": "prefix-ln",
    }[start]
    before = copy.deepcopy([method.get_params() for method in passed])
    pipe = Pipeline(
        [("clean", FunctionTransformer(lower)), ("clf", tiny_clf(tuning=tuning, max_epochs=1))]
    )
    grid = {
        "clf__tuning__prefix__length": [1, 3],
        "clf__tuning__layernorm__terms": ["both", "gain"],
    }
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(texts, labels)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()

    best, chosen = search.best_estimator_["clf"], search.best_params_
    found = nested_params(best.tuning)
    assert found["prefix__length"] == chosen["clf__tuning__prefix__length"]
    assert found["layernorm__terms"] == chosen["clf__tuning__layernorm__terms"]
    lengths = {value.shape[1] for name, value in best.delta_.items() if name.endswith("/keys")}
    assert lengths == {found["prefix__length"]}
    # What the user passed stays as it was, and what was not searched is kept.
    assert [method.get_params() for method in passed] == before
    assert pipe["clf"].tuning is tuning
    if start == "objects":
        assert found["layernorm__sites"] == "attention"
        assert found["prefix__init"] == "random"


def test_grid_search_over_sums(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    sums = ["bitfit", LayerNormTuning() + LoraTuning(2), AdapterTuning(2), TuningSum()]
    search = GridSearchCV(tiny_clf(max_epochs=1), {"tuning": sums}, cv=2, error_score="raise")
    search.fit(texts, labels)
    assert [params["tuning"] for params in search.cv_results_["params"]] == sums
