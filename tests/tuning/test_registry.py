from __future__ import annotations

import pkgutil
import sys
from pathlib import Path
from typing import Any

import pytest
from networks import built_in_methods
from sklearn.base import clone

from sklearn_lntune import tuning as tuning_package
from sklearn_lntune.tuning import (
    AdapterTuning,
    BiasTuning,
    FullTuning,
    LayerNormTuning,
    LoraTuning,
    PrefixTuning,
    TuningMethod,
    TuningSum,
)
from sklearn_lntune.tuning.registration import HEAD
from sklearn_lntune.tuning.registry import (
    PRESETS,
    as_plain,
    from_plain,
    methods_of,
    nested_params,
    with_params,
)


class Other(TuningMethod):
    """A user's method; defining it makes it known."""

    name = "other"
    default_lr = 1e-3

    def __init__(self, *, size: int = 8) -> None:
        self.size = size


class Third(TuningMethod):
    name = "third"
    default_lr = 1e-3


def described(methods: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(method.name, method.get_params()) for method in methods]


@pytest.mark.parametrize(
    ("tuning", "names"),
    [
        ("layernorm", ["layernorm"]),
        ("full", ["full"]),
        (HEAD, []),
        ("layernorm+other", ["layernorm", "other"]),
        (" other + layernorm ", ["other", "layernorm"]),
        ("head+layernorm", ["layernorm"]),
        ("bias+lora", ["bias", "lora"]),
        ("adapter+prefix+layernorm", ["adapter", "prefix", "layernorm"]),
        ("houlsby", ["layernorm", "adapter"]),
        ("mam-adapter", ["prefix", "adapter"]),
        (LayerNormTuning(), ["layernorm"]),
        (TuningSum(), []),
        (LayerNormTuning() + Other(), ["layernorm", "other"]),
    ],
)
def test_methods_of_names_objects_and_sums(tuning: Any, names: list[str]) -> None:
    assert [method.name for method in methods_of(tuning)] == names


def test_names_stand_for_fresh_methods_with_defaults() -> None:
    one, other = methods_of("layernorm"), methods_of("layernorm")
    assert one[0] is not other[0]
    assert described(one) == described([LayerNormTuning()])


def test_objects_stand_for_themselves() -> None:
    method = LayerNormTuning(terms="bias")
    assert methods_of(method)[0] is method
    assert methods_of(method + Other())[0] is method


@pytest.mark.parametrize("tuning", ["layernrom", "layernorm+layernrom", "layernrom+other"])
def test_an_unknown_name_is_an_error_that_lists_the_valid_ones(tuning: str) -> None:
    with pytest.raises(ValueError, match="'layernrom' is not a tuning method") as error:
        methods_of(tuning)
    assert f"tuning={tuning!r}" in str(error.value)
    for name in (HEAD, *built_in_methods(), "other", *PRESETS):
        assert repr(name) in str(error.value)


def test_every_name_stands_for_its_method() -> None:
    for name, method in built_in_methods().items():
        assert [type(found) for found in methods_of(name)] == [method]
        assert method.name == name


def test_every_module_of_the_package_is_imported_with_it() -> None:
    modules = {
        each.name for each in pkgutil.iter_modules(tuning_package.__path__) if not each.ispkg
    }
    assert {f"{tuning_package.__name__}.{name}" for name in modules} <= sys.modules.keys()
    assert {
        method.__module__.rpartition(".")[2] for method in built_in_methods().values()
    } < modules


def test_every_built_in_method_is_published() -> None:
    reference = Path(__file__).parents[2] / "docs" / "api" / "index.rst"
    listed = reference.read_text("utf-8").split()
    for method in built_in_methods().values():
        assert getattr(tuning_package, method.__name__) is method
        assert method.__name__ in tuning_package.__all__
        assert method.__name__ in listed


@pytest.mark.parametrize("tuning", ["", "layernorm+", "+"])
def test_an_empty_name_is_unknown(tuning: str) -> None:
    with pytest.raises(ValueError, match="'' is not a tuning method"):
        methods_of(tuning)


@pytest.mark.parametrize(
    "tuning", ["layernorm+layernorm", TuningSum((LayerNormTuning(), LayerNormTuning(terms="bias")))]
)
def test_the_same_method_twice_is_an_error(tuning: Any) -> None:
    with pytest.raises(ValueError, match="'layernorm' twice"):
        methods_of(tuning)


@pytest.mark.parametrize(
    "tuning",
    ["full+layernorm", "lora+full", TuningSum((LayerNormTuning(), FullTuning()))],
)
def test_nothing_adds_to_full_tuning(tuning: Any) -> None:
    with pytest.raises(ValueError, match="'full' trains every weight already"):
        methods_of(tuning)


@pytest.mark.parametrize(
    ("tuning", "kind"),
    [(None, "NoneType"), (3, "int"), (["layernorm"], "list"), (LayerNormTuning, "type")],
)
def test_another_type_is_an_error_that_names_it(tuning: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"tuning must be .* got .*{kind}"):
        methods_of(tuning)


def test_a_sum_of_something_else_is_an_error() -> None:
    with pytest.raises((TypeError, ValueError), match=r"tuning.*(str|'layernorm')"):
        methods_of(TuningSum(("layernorm",)))  # type: ignore[arg-type]


def test_adding_gives_a_flat_sum_in_order() -> None:
    a, b, c = LayerNormTuning(), Other(), Third()
    for total in (a + b + c, a + (b + c), TuningSum((a,)) + TuningSum((b, c))):
        assert isinstance(total, TuningSum)
        assert total.methods == (a, b, c)
    assert (TuningSum() + a).methods == (a + TuningSum()).methods == (a,)


def test_adding_leaves_both_sides_as_they_were() -> None:
    a, b = LayerNormTuning() + Other(), TuningSum((Third(),))
    a + b
    assert [len(a.methods), len(b.methods)] == [2, 1]


def test_adding_the_same_method_is_an_error() -> None:
    with pytest.raises(ValueError, match="'layernorm' twice"):
        LayerNormTuning() + Other() + LayerNormTuning()


@pytest.mark.parametrize("other", ["other", 3, None])
@pytest.mark.parametrize("one", [LayerNormTuning(), TuningSum()])
def test_adding_something_else_is_an_error(one: Any, other: Any) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        one + other


@pytest.mark.parametrize(
    ("tuning", "shown"),
    [
        (LayerNormTuning(), "LayerNormTuning()"),
        (LayerNormTuning(terms="bias", layers=3), "LayerNormTuning(layers=3, terms='bias')"),
        (
            LayerNormTuning(sites=("ffn",)) + Other(size=4),
            "LayerNormTuning(sites=('ffn',)) + Other(size=4)",
        ),
        (
            LoraTuning(4, targets="value") + PrefixTuning(8) + AdapterTuning(scale=2.0),
            "LoraTuning(rank=4, targets='value') + PrefixTuning(length=8) + "
            "AdapterTuning(scale=2.0)",
        ),
        (TuningSum(), "TuningSum()"),
    ],
)
def test_repr_is_how_it_was_written(tuning: Any, shown: str) -> None:
    assert repr(tuning) == shown
    assert described(methods_of(eval(shown))) == described(methods_of(tuning))


@pytest.mark.parametrize(
    "tuning",
    [
        LayerNormTuning(terms="gain", sites=("ffn", "final"), layers=range(1, 3)),
        LayerNormTuning(layers=[0, -1]) + Other(size=3),
        BiasTuning(norms=False) + LoraTuning(2, alpha=1) + AdapterTuning(4, sites="ffn"),
        TuningSum(),
    ],
)
def test_clone_is_equal_and_shares_no_method(tuning: Any) -> None:
    cloned = clone(tuning)
    assert type(cloned) is type(tuning)
    assert described(methods_of(cloned)) == described(methods_of(tuning))
    assert not {id(m) for m in methods_of(cloned)} & {id(m) for m in methods_of(tuning)}


LAYERNORM_KEYS = {
    "layernorm__terms": "both",
    "layernorm__sites": "all",
    "layernorm__layers": "all",
}


@pytest.mark.parametrize(
    ("tuning", "params"),
    [
        ("layernorm", LAYERNORM_KEYS),
        (LayerNormTuning(terms="bias"), LAYERNORM_KEYS | {"layernorm__terms": "bias"}),
        ("layernorm+other", LAYERNORM_KEYS | {"other__size": 8}),
        (Other(size=2) + LayerNormTuning(), {"other__size": 2} | LAYERNORM_KEYS),
        (
            "mam-adapter",
            {
                "prefix__length": 30,
                "prefix__layers": "all",
                "prefix__projection": None,
                "prefix__init": "vocabulary",
                "adapter__size": 64,
                "adapter__sites": "ffn",
                "adapter__insertion": "parallel",
                "adapter__scale": 4.0,
                "adapter__activation": "relu",
                "adapter__layers": "all",
            },
        ),
        ("full", {}),
        (HEAD, {}),
        ("unknown", {}),
        ("layernorm+layernorm", {}),
        (None, {}),
    ],
)
def test_nested_params_are_those_of_the_methods(tuning: Any, params: dict[str, Any]) -> None:
    assert nested_params(tuning) == params


def test_a_changed_name_becomes_a_fresh_object() -> None:
    changed = with_params("layernorm", {"layernorm__terms": "bias"})
    assert isinstance(changed, LayerNormTuning)
    assert changed.get_params() == LayerNormTuning(terms="bias").get_params()


def test_a_changed_sum_of_names_becomes_a_sum_of_fresh_objects() -> None:
    changed = with_params("layernorm+other", {"other__size": 3, "layernorm__layers": 1})
    assert isinstance(changed, TuningSum)
    assert described(changed.methods) == described([LayerNormTuning(layers=1), Other(size=3)])


@pytest.mark.parametrize("with_other", [False, True])
def test_an_object_that_was_passed_is_never_altered(with_other: bool) -> None:
    method = LayerNormTuning(sites=("ffn",))
    tuning = method + Other() if with_other else method
    changed = with_params(tuning, {"layernorm__terms": "gain"})
    assert changed is not tuning
    assert nested_params(changed) == nested_params(tuning) | {"layernorm__terms": "gain"}
    assert method.get_params() == LayerNormTuning(sites=("ffn",)).get_params()


@pytest.mark.parametrize(
    ("tuning", "changes"),
    [
        ("layernorm", {"layernorm__terms": "both"}),
        ("layernorm+other", {"other__size": 8, "layernorm__layers": "all"}),
        (LayerNormTuning(sites=("ffn", "final")), {"layernorm__sites": ("ffn", "final")}),
        (LayerNormTuning() + Other(size=3), {"other__size": 3}),
        ("layernorm", {}),
        (HEAD, {}),
    ],
)
def test_equal_values_leave_tuning_untouched(tuning: Any, changes: dict[str, Any]) -> None:
    assert with_params(tuning, changes) is tuning


def test_a_value_of_another_type_is_a_change() -> None:
    tuning = LayerNormTuning(layers=1)
    assert with_params(tuning, {"layernorm__layers": True}).layers is True
    assert with_params(tuning, {"layernorm__layers": 1}) is tuning


@pytest.mark.parametrize(
    ("tuning", "key"),
    [
        ("layernorm", "other__size"),
        (LayerNormTuning(), "full__terms"),
        ("layernorm", "layernorm__size"),
        ("layernorm", "terms"),
        (HEAD, "layernorm__terms"),
        (None, "layernorm__terms"),
    ],
)
def test_a_key_of_no_method_is_an_error_that_lists_the_valid_ones(tuning: Any, key: str) -> None:
    with pytest.raises(ValueError, match=f"Invalid parameter 'tuning__{key}'") as error:
        with_params(tuning, {key: 1})
    for valid in nested_params(tuning):
        assert f"'tuning__{valid}'" in str(error.value)


@pytest.mark.parametrize(
    "methods",
    [
        (),
        (FullTuning(),),
        (LayerNormTuning(terms="bias", sites=("ffn", "qk"), layers=range(2, 4)), Other(size=5)),
        (LayerNormTuning(sites="attention", layers=[0, -1]),),
        (BiasTuning(norms=False, sites=("attention", "ffn")), LoraTuning(4, alpha=1.5, layers=2)),
        (PrefixTuning(8, projection=3, layers=range(2)), AdapterTuning(4, insertion="parallel")),
    ],
)
def test_plain_methods_come_back(methods: tuple[TuningMethod, ...]) -> None:
    import json

    plain = as_plain(methods)
    back = from_plain(json.loads(json.dumps(plain)))
    assert [type(method) for method in back] == [type(method) for method in methods]
    assert as_plain(back) == plain


def test_plain_methods_are_names_and_values() -> None:
    assert as_plain((LayerNormTuning(sites=("ffn",), layers=range(2)), Other())) == [
        {"method": "layernorm", "terms": "both", "sites": ["ffn"], "layers": [0, 1]},
        {"method": "other", "size": 8},
    ]
