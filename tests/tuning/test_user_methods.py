"""A method of the user's own: it does all that a built-in one does."""

from __future__ import annotations

import pickle
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import joblib
import numpy as np
import pytest
import torch
from networks import EXACT, Make, batch, build, check_stacking, private, scatter, states
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from sklearn_lntune import (
    DamagedFileError,
    DeltaBank,
    LNTunedTransformerClassifier,
    fused_fits,
    load,
)
from sklearn_lntune.exceptions import UnknownMethodError
from sklearn_lntune.inspection import parameter_report
from sklearn_lntune.network import Batch
from sklearn_lntune.tuning import (
    Array,
    AttachContext,
    LayerNormTuning,
    TuningMethod,
    TuningSum,
    base,
    methods_of,
    registration,
)
from sklearn_lntune.tuning.layers.grouped import expand_vector
from sklearn_lntune.tuning.layers.stacked_linear import add_residual_hook, learnt_type
from sklearn_lntune.tuning.registry import registered_methods

Clf = Callable[..., LNTunedTransformerClassifier]


class Offset(nn.Module):
    """A vector for each fit, added to a layer's output."""

    def __init__(self, size: int, n_fits: int, dtype: torch.dtype, factor: float) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(n_fits, size, dtype=dtype))
        self.factor = factor

    def forward(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return self.factor * expand_vector(self.vector, output)


class QueryOffset(TuningMethod):
    """Learn an offset of the queries of some blocks."""

    name = "query-offset"
    default_lr = 1e-2

    def __init__(self, blocks: tuple[int, ...] = (0, 1), *, factor: float = 1.0) -> None:
        self.blocks = blocks
        self.factor = factor

    def arrays(self, anatomy: Any) -> tuple[Array, ...]:
        if not self.factor:
            raise ValueError("factor must not be 0.")
        return tuple(
            Array(each.path, "offset", each.site, each.block, (each.n_out,))
            for each in anatomy.linears
            if each.role == "query" and each.block in self.blocks
        )

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        learnt = {}
        for array in arrays:
            dtype = learnt_type(context.shell, array.path)
            offset = Offset(array.size, context.n_fits, dtype, self.factor)
            add_residual_hook(context.shell, array.path, offset)
            learnt[array.key] = offset.vector
        return learnt

    def merge(self, model: nn.Module, values: Any) -> None:
        for key, value in values.items():
            with torch.no_grad():
                bias = model.get_submodule(key.rpartition("/")[0]).get_parameter("bias")
                bias += self.factor * torch.from_numpy(value)


EVERY_WAY = pytest.mark.parametrize(
    "tuning",
    [
        "query-offset",
        QueryOffset((1,), factor=2.0),
        "layernorm+query-offset",
        QueryOffset() + LayerNormTuning(),
        TuningSum((LayerNormTuning(), QueryOffset((0,)))),
    ],
    ids=str,
)


@pytest.fixture
def fitted(tiny_clf: Clf, texts: list[str], labels: list[str]) -> Callable[..., Any]:
    """``fitted(tuning)``: on a few texts, for one epoch."""

    def fit(tuning: Any, **params: Any) -> LNTunedTransformerClassifier:
        params = {"max_epochs": 1, "lr": 0.1} | params
        return tiny_clf(tuning=tuning, **params).fit(texts[:16], labels[:16])

    return fit


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """``unknown()``: as in a process that has not imported this module."""

    def forget() -> None:
        known = {
            name: each for name, each in registration._registered.items() if name != "query-offset"
        }
        monkeypatch.setattr(registration, "_registered", known)

    return forget


# -- what it does ------------------------------------------------------------------------


@EVERY_WAY
def test_it_fits_and_predicts(tuning: Any, fitted: Any, texts: list[str]) -> None:
    clf = fitted(tuning)
    own = {key: value for key, value in clf.delta_.items() if key.startswith("query-offset/")}
    assert own
    assert all(value.any() for value in own.values())
    probabilities = clf.predict_proba(texts)
    # The prediction knows what the fit learnt: it is another without it.
    clf.delta_ = clf.delta_ | {key: np.zeros_like(value) for key, value in own.items()}
    assert np.abs(clf.predict_proba(texts) - probabilities).max() > 1e-6


@EVERY_WAY
def test_it_survives_pickling_and_cloning(tuning: Any, fitted: Any, texts: list[str]) -> None:
    clf = fitted(tuning)
    back = pickle.loads(pickle.dumps(clf))
    assert (back.predict_proba(texts) == clf.predict_proba(texts)).all()
    assert repr(clone(clf).tuning) == repr(clf.tuning)


@pytest.mark.parametrize("name", ["clf", "clf.zip"])
@EVERY_WAY
def test_it_is_saved_by_its_name_and_parameters(
    tuning: Any, name: str, fitted: Any, texts: list[str], tmp_path: Path
) -> None:
    clf = fitted(tuning)
    clf.save(tmp_path / name)
    back = load(tmp_path / name)
    assert repr(back.tuning) == repr(clf.tuning)
    assert (back.predict_proba(texts) == clf.predict_proba(texts)).all()
    back.partial_fit(texts[:8], clf.predict(texts[:8]))


def test_nested_parameters_and_rates(fitted: Any) -> None:
    clf = LNTunedTransformerClassifier(tuning="query-offset+layernorm")
    clf.set_params(**{"tuning__query-offset__factor": 3.0})
    assert methods_of(clf.tuning)[0].get_params() == {"blocks": (0, 1), "factor": 3.0}
    assert clf.get_params()["tuning__query-offset__blocks"] == (0, 1)
    assert fitted(clf.tuning, lr={"query-offset": 0.5}).tuning_[0]["factor"] == 3.0


def test_fits_are_fused_and_banked(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf(tuning="layernorm+query-offset", max_epochs=1)
    grid = {"tuning__query-offset__factor": [0.5, 1.0], "lr": [1e-2, 0.1]}
    apart = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(texts, labels)
    with fused_fits() as fusion:
        fused = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(texts, labels)
    del fusion
    for name in ("mean_test_score", "rank_test_score"):
        np.testing.assert_allclose(fused.cv_results_[name], apart.cv_results_[name])
    members = {str(i): clone(clf).set_params(lr=0.1 * i).fit(texts, labels) for i in (1, 2)}
    bank = DeltaBank(members)
    for name, member in members.items():
        assert bank.predict(texts, tasks=[name] * len(texts)).tolist() == (
            member.predict(texts).tolist()
        )


def test_several_fits_of_it_equal_separate_ones(lively: Make) -> None:
    check_stacking(lively(), QueryOffset(factor=2.0))


def test_it_starts_as_the_frozen_model_and_merges(lively: Make) -> None:
    (method,) = methods_of(QueryOffset(factor=2.0))
    network, model = build(lively(), method), private(lively())
    assert torch.equal(states(network.body), states(model))
    values = {
        key.removeprefix("query-offset/"): value
        for key, value in scatter(network).delta().items()
        if key.startswith("query-offset/")
    }
    method.merge(model, values)
    torch.testing.assert_close(states(network.body), states(model), **EXACT)


def test_two_methods_may_add_the_same_kind_of_module_to_a_layer(lively: Make) -> None:
    network = scatter(build(lively(), QueryOffset() + Old(factor=2.0)))
    assert {id(weight) for weight in network.learnt.values()} <= {
        id(weight) for weight in network.parameters()
    }
    both, one = states(network.body), build(lively(), QueryOffset())
    one.load_delta({key: network.delta()[key] for key in one.learnt})
    assert not torch.equal(both, states(one.body))


def test_it_is_in_the_report(lively: Make) -> None:
    clf = LNTunedTransformerClassifier(lively(), tuning="query-offset+layernorm")
    report = parameter_report(clf).set_index("method")
    assert report.loc["query-offset", "parameters"] == QueryOffset().count(
        build(lively(), "head")._shell[1]
    )
    assert report.loc["query-offset", "workspace"] == ""


def test_its_own_errors_come_before_the_training(fitted: Any) -> None:
    with pytest.raises(ValueError, match="factor must not be 0"):
        fitted(QueryOffset(factor=0))


def test_messages_that_list_the_methods_list_it() -> None:
    with pytest.raises(ValueError, match="'layernrom' is not a tuning method.*'query-offset'"):
        methods_of("layernrom")
    assert "query-offset" in registered_methods()


# -- where it is not known -------------------------------------------------------------------

UNKNOWN = "'query-offset' is not known here.*import the module that defines it"


@EVERY_WAY
def test_loading_where_it_is_not_known_is_an_error_that_says_what_to_do(
    tuning: Any, fitted: Any, unknown: Callable[[], None], tmp_path: Path
) -> None:
    fitted(tuning).save(tmp_path / "clf")
    unknown()
    with pytest.raises(UnknownMethodError, match=UNKNOWN) as error:
        load(tmp_path / "clf")
    assert str(tmp_path / "clf") in str(error.value)
    assert not isinstance(error.value, DamagedFileError)


def test_predicting_where_it_is_not_known_is_an_error_that_says_what_to_do(
    fitted: Any, unknown: Callable[[], None], texts: list[str], tmp_path: Path
) -> None:
    joblib.dump(fitted("query-offset"), tmp_path / "clf.joblib")
    unknown()
    clf = joblib.load(tmp_path / "clf.joblib")
    with pytest.raises(UnknownMethodError, match=UNKNOWN):
        clf.predict(texts)


def test_other_parameters_than_when_it_was_saved_are_an_error(
    fitted: Any, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    class Changed(QueryOffset):
        name = "changed"

        def __init__(self, *, width: int = 3) -> None:
            self.width = width

    clf = fitted("query-offset")
    monkeypatch.setattr(
        registration, "_registered", registration._registered | {"query-offset": Changed}
    )
    with pytest.raises(ValueError, match=r"'query-offset' was fitted with.*'factor'.*Changed here"):
        clf.predict(texts)


def test_what_json_cannot_hold_is_not_saved(fitted: Any, tmp_path: Path) -> None:
    class Holder(QueryOffset):
        name = "holder"

        def __init__(self, what: Any = None) -> None:
            super().__init__()
            self.what = what

    clf = fitted(Holder(len))
    with pytest.raises(ValueError, match=r"\['tuning'\] hold values that JSON cannot"):
        clf.save(tmp_path / "clf")


# -- names -----------------------------------------------------------------------------------


def cell(default: float) -> type[TuningMethod]:
    """What runs whenever the notebook's cell runs."""

    class FromCell(QueryOffset):
        name = "from-cell"
        default_lr = default

    return FromCell


@pytest.mark.usefixtures("forget_methods")
def test_a_cell_that_runs_again_replaces_the_method(fitted: Any, texts: list[str]) -> None:
    old = cell(0.1)()
    assert methods_of("from-cell")[0].default_lr == 0.1
    new = cell(0.2)
    assert methods_of("from-cell")[0].default_lr == 0.2
    assert type(methods_of("from-cell")[0]) is new
    # What was made before goes on.
    clf = fitted(old)
    assert clf.predict(texts).shape == (len(texts),)


@pytest.mark.usefixtures("forget_methods")
def test_a_class_may_move_to_another_module() -> None:
    body: dict[str, Any] = {"name": "moving", "default_lr": 0.1, "__qualname__": "Moving"}
    type("Moving", (QueryOffset,), body | {"__module__": "__main__"})
    moved = type("Moving", (QueryOffset,), body | {"__module__": "mine"})
    assert type(methods_of("moving")[0]) is moved


@pytest.mark.usefixtures("forget_methods")
@pytest.mark.parametrize("taken", ["layernorm", "query-offset"])
def test_a_name_that_is_taken_is_an_error_that_says_by_whom(taken: str) -> None:
    owner = registered_methods()[taken]
    body = {"name": taken, "default_lr": 0.1, "__qualname__": "Mine", "__module__": "mine"}
    with pytest.raises(ValueError, match=rf"Mine has the name '{taken}'.*{owner.__qualname__}"):
        type("Mine", (TuningMethod,), body)
    # Nothing has changed, now or later.
    assert registered_methods()[taken] is owner
    assert registered_methods()[taken] is owner


@pytest.mark.usefixtures("forget_methods")
def test_the_name_of_a_built_in_method_is_kept_even_from_a_namesake() -> None:
    body = {"name": "layernorm", "__qualname__": "LayerNormTuning", "__module__": "mine"}
    with pytest.raises(ValueError, match=r"'layernorm'.*sklearn_lntune\.tuning\.layernorm\."):
        type("LayerNormTuning", (TuningMethod,), body)


@pytest.mark.usefixtures("forget_methods")
def test_a_class_in_a_function_does_not_take_a_name_away(fitted: Any) -> None:
    class Passing(QueryOffset):
        name = "query-offset"

    assert registered_methods()["query-offset"] is QueryOffset
    with pytest.raises(ValueError, match=r"Passing has the name 'query-offset'.*QueryOffset"):
        fitted(Passing())


@pytest.mark.usefixtures("forget_methods")
@pytest.mark.parametrize(
    "name", ["", "head", "houlsby", "a+b", "a/b", "a__b", "_a", "a ", "ä", 3, ("a",)], ids=repr
)
def test_a_malformed_name_is_an_error(name: Any) -> None:
    with pytest.raises(ValueError, match=r"name must be letters and digits.*got"):
        type("Mine", (TuningMethod,), {"name": name})


class Nameless(TuningMethod):
    """A base class of others; it needs no name."""


class Inheriting(LayerNormTuning):
    """Its name is that of its parent."""

    default_lr = 1.0


class NoRate(QueryOffset):
    name = "no-rate"
    default_lr: ClassVar[float] = "fast"  # type: ignore[assignment]


class Clashing(QueryOffset):
    name = "clashing"

    def __init__(self, method: str = "a") -> None:
        self.method = method


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Nameless, "Nameless is a tuning method without a name"),
        (Inheriting, "Inheriting needs a name of its own: 'layernorm'"),
        (NoRate, r"NoRate\.default_lr must be a number"),
        (Clashing, "Clashing cannot have a parameter called 'method'"),
    ],
)
def test_what_cannot_be_found_again_is_refused_before_the_training(
    method: type[TuningMethod], message: str, fitted: Any
) -> None:
    for tuning in (method(), TuningSum((QueryOffset(), method()))):
        with pytest.raises((ValueError, TypeError), match=message):
            fitted(tuning)


@pytest.mark.usefixtures("forget_methods")
def test_a_class_whose_attributes_come_later_is_known(lively: Make) -> None:
    # cloudpickle makes the classes of a notebook so, in the processes of joblib and Dask.
    late = types.new_class("Late", (QueryOffset,))
    late.name = "late"  # type: ignore[attr-defined]
    assert isinstance(methods_of("late")[0], late)
    build(lively(), "late+layernorm")(Batch(batch()))


# -- what attach returns -------------------------------------------------------------------


class Careless(QueryOffset):
    """Its `attach` does not keep the contract, in the way that ``how`` says."""

    name = "careless"

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how = how

    def attach(self, context: AttachContext, arrays: tuple[Array, ...]) -> dict[str, nn.Parameter]:
        learnt = super().attach(context, arrays)
        first = arrays[0].key
        if self.how == "no axis of fits":
            return {key: nn.Parameter(weight[0].detach()) for key, weight in learnt.items()}
        if self.how == "another size":
            return learnt | {first: nn.Parameter(learnt[first][:, :-1].detach())}
        if self.how == "one missing":
            return {key: weight for key, weight in learnt.items() if key != first}
        return learnt | {"other/offset": learnt[first]}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no axis of fits", r"'careless': attach returned .* of shape \(16,\), and \(1, 16\)"),
        ("another size", r"'careless': attach returned .* of shape \(1, 15\), and \(1, 16\)"),
        ("one missing", "'careless': attach must return a parameter for each array"),
        ("one too many", r"'careless': .* \['other/offset'\] do not match"),
    ],
)
def test_what_attach_returns_is_checked(how: str, message: str, fitted: Any) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(Careless(how))


# -- methods written for version 0.1 -----------------------------------------------------------


class Old(QueryOffset):
    """With hooks and types by their former names."""

    name = "old"

    def attach(self, ground: base.Ground, arrays: Any) -> Any:  # type: ignore[override]
        return super().attach(ground, arrays)

    def reference(self) -> base.Terms:
        return base.Terms("queries", "parallel", "direct addition")

    def settled(self) -> TuningMethod:
        return Old(self.blocks)

    def folded(self, arrays: Any, values: Any) -> Any:
        return {key: 2 * value for key, value in super().folded(arrays, values).items()}


def test_former_names_of_hooks_still_work(fitted: Any) -> None:
    method = Old((1,), factor=2.0)
    assert method.taxonomy() == method.reference() == ("queries", "parallel", "direct addition")
    assert method.for_inference().get_params() == Old((1,)).get_params()
    one, two = fitted(QueryOffset((1,))), fitted(Old((1,)))
    ((key, value),) = [item for item in one.delta_.items() if item[0].startswith("query")]
    assert (two.delta_[key.replace("query-offset", "old")] == 2 * value).all()
    assert LayerNormTuning().reference() == LayerNormTuning().taxonomy()
    assert LayerNormTuning().settled().get_params() == LayerNormTuning().get_params()
