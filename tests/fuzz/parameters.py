"""Every parameter of the classifier and of the tuning methods, with values good and bad."""

from __future__ import annotations

import copy
import decimal
import fractions
import math
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skorch.callbacks
import torch
from fuzz.harness import Example, check, describe
from fuzz.inputs import Odd, check_learnt, kept_whole
from fuzz.subject import LABELS, TEXTS, Subject
from hypothesis import strategies as st
from networks import built_in_methods
from sklearn.base import clone

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.backbone import placement
from sklearn_lntune.training.settings import Settings
from sklearn_lntune.tuning import PRESETS, TuningMethod, TuningSum

#: What no parameter expects, or only some.
JUNK: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 10**30, -(2**63), 10**400),
    *(0.0, 0.5, 1.0, 1.5, -0.5, 1e-300, 1e308, math.nan, math.inf, -math.inf),
    *("", "auto", "none", "all", "\0", "\ud800", "1", "x" * 500, b"auto", ["auto"], ("auto",)),
    *([], (), {}, set(), [1], (1, 2), {"a": 1}, range(2), range(0), range(10**9), slice(1)),
    *(np.int64(1), np.float32(0.5), np.bool_(True), np.array(1), np.array([1, 2]), np.str_("auto")),
    *(np.nan, pd.NA, pd.NaT, pd.Series([1]), torch.tensor(1.0), torch.float32),
    *(decimal.Decimal("0.5"), fractions.Fraction(1, 2), 1j, Path("x"), Odd(), Odd, len, lambda: 1),
]
_junk = st.sampled_from(JUNK)
_NUMBER = st.one_of(st.integers(-3, 40), st.floats(), st.sampled_from([10**9, 1e-45]))


def _or_junk(*good: Any) -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(good), _junk)


_LAYERS = st.one_of(
    _or_junk("all", 1, -1, [0], [-1], (0,), range(1), [0, 0], ["0"], [0.0], [True], [None]),
    st.integers(-3, 3),
    st.lists(st.integers(-3, 3), max_size=3),
)
_SITES = st.one_of(
    _or_junk("all", "attention", "ffn", "embedding", "final", "qk", "both"),
    st.lists(st.sampled_from(["attention", "ffn", "embedding", "mlp"]), max_size=3).map(tuple),
    st.lists(st.sampled_from(["attention", "ffn", 3, None]), max_size=3),
)
#: Values of each argument of each tuning method.
METHODS = built_in_methods()
METHOD_ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "layernorm": {
        "terms": _or_junk("both", "gain", "bias"),
        "sites": _SITES,
        "layers": _LAYERS,
    },
    "bias": {"sites": _SITES, "layers": _LAYERS, "norms": _or_junk(True, False)},
    "lora": {
        "rank": st.one_of(_NUMBER, _junk),
        "alpha": st.one_of(_NUMBER, _junk),
        "targets": st.one_of(
            _or_junk("query", "all", ("query", "value"), ["input", "output"]),
            st.lists(
                st.sampled_from(["query", "key", "value", "output", "input", "x"]), max_size=3
            ),
        ),
        "layers": _LAYERS,
    },
    "prefix": {
        "length": st.one_of(_NUMBER, _junk),
        "layers": _LAYERS,
        "projection": st.one_of(_NUMBER, _junk),
        "init": _or_junk("vocabulary", "random", "normal"),
    },
    "adapter": {
        "size": st.one_of(_NUMBER, _junk),
        "sites": _SITES,
        "insertion": _or_junk("sequential", "parallel"),
        "scale": st.one_of(_NUMBER, _junk),
        "activation": _or_junk("gelu", "relu", "tanh"),
        "layers": _LAYERS,
    },
    "scale": {
        "sites": _SITES,
        "terms": _or_junk("both", "scale", "shift"),
        "layers": _LAYERS,
    },
    "full": {},
}


_METHOD = st.sampled_from(sorted(METHODS.keys() & METHOD_ARGUMENTS.keys()))


@st.composite
def _methods(draw: st.DrawFn) -> TuningMethod:
    name = draw(_METHOD)
    known = METHOD_ARGUMENTS[name]
    chosen = (
        draw(st.lists(st.sampled_from(sorted(known)), max_size=2, unique=True)) if known else []
    )
    return METHODS[name](**{argument: draw(known[argument]) for argument in chosen})


_TUNING = st.one_of(
    _methods(),
    _methods(),
    st.lists(_methods(), max_size=3).map(lambda methods: TuningSum(tuple(methods))),
    st.lists(st.sampled_from([*METHODS, "head", "nonsense", ""]), max_size=3).map("+".join),
    st.sampled_from([*PRESETS, *METHODS, "head", "layernorm + bias", "LayerNorm", "+", " "]),
    st.lists(_junk, max_size=2).map(lambda values: TuningSum(tuple(values))),
    st.sampled_from([METHODS["layernorm"], [METHODS["bias"]()], ("layernorm", "bias")]),
    _junk,
)
_RATE = st.one_of(st.floats(), st.sampled_from(["auto", 5e-3, 1e-2, 1.0, 1e30, 1e-45]), _junk)


class _Stops(skorch.callbacks.Callback):
    def on_epoch_end(self, net: Any, **more: Any) -> None:
        raise KeyboardInterrupt


_CALLBACKS = _or_junk(
    [skorch.callbacks.EpochScoring("accuracy", name="acc", on_train=True)],
    [("named", skorch.callbacks.EpochScoring("accuracy", name="acc", on_train=True))],
    [skorch.callbacks.EarlyStopping(monitor="nothing")],
    [skorch.callbacks.EarlyStopping(monitor="train_loss")],
    [skorch.callbacks.LRScheduler("ExponentialLR", gamma=0.9)],
    [skorch.callbacks.Callback],
    skorch.callbacks.Callback(),
    skorch.callbacks.Callback,
    (skorch.callbacks.Callback(),),
    [None],
    ["EarlyStopping"],
    [("only",)],
    [Odd()],
)


@dataclass(frozen=True)
class _Under:
    """A path in the subject's folder."""

    name: str
    kind: type = str

    def of(self, subject: Subject) -> Any:
        return self.kind(subject.folder / self.name)


#: Values of each parameter of the classifier; an `_Under` stands for a path.
PARAMETERS: dict[str, st.SearchStrategy[Any]] = {
    "backbone": _or_junk(
        *(_Under("backbone"), _Under("backbone", Path), _Under("nowhere"), _Under("", Path)),
        *(_Under("backbone/config.json"), "nobody/nothing", "a/b/c", "..", "~", "/dev/null", "\n"),
    ),
    "tuning": _TUNING,
    "pooling": _or_junk("auto", "cls", "mean", "max", "last", "pooler", "native", "weightedmean"),
    "max_length": st.one_of(st.integers(-2, 80), _or_junk("auto", 1, 2, 3, 64, 65, 10**9)),
    "long_texts": _or_junk("truncate", "windows", "windows", "cut"),
    "stride": st.one_of(_NUMBER, _junk),
    "window_pooling": _or_junk("mean", "max", "attention", "sum"),
    "pairs": _or_junk("joined", "separate", "separate", "apart"),
    "text_column": _or_junk("auto", "text", ("text_a", "text_b")),
    "image_column": _or_junk("auto", "image"),
    "label_column": _or_junk("label", "text"),
    "lr": st.one_of(
        _RATE,
        st.dictionaries(st.sampled_from(["layernorm", "bias", "head", 3]), _RATE, max_size=2),
    ),
    "head_lr": _RATE,
    "batch_size": st.one_of(_NUMBER, _junk),
    "max_epochs": st.one_of(_NUMBER, _junk),
    "min_steps": st.one_of(_NUMBER, _junk),
    "accumulate": st.one_of(_NUMBER, _junk),
    "warmup": st.one_of(_NUMBER, _junk),
    "schedule": _or_junk("linear", "cosine", "constant", "polynomial"),
    "weight_decay": st.one_of(_NUMBER, _junk),
    "max_grad_norm": st.one_of(_NUMBER, _junk),
    "dropout": st.one_of(_NUMBER, _junk),
    "label_smoothing": st.one_of(_NUMBER, _junk),
    "class_weight": _or_junk("balanced", {"blue": 2}, {"green": 1}),
    "early_stopping": _or_junk(True, False),
    "validation_fraction": st.one_of(_NUMBER, _junk),
    "patience": st.one_of(_NUMBER, _junk),
    "scoring": _or_junk("loss", "accuracy", "roc_auc", "f1_macro"),
    "callbacks": _CALLBACKS,
    "device": _or_junk(
        *("auto", "cpu", "cpu:0", "cpu:7", "cuda", "cuda:0", "mps", "meta", "xla", "vulkan", "tpu"),
        *(torch.device("cpu"), torch.device("meta"), torch.device("cuda", 3), "cuda:-1", "cuda:x"),
    ),
    "distributed": _or_junk(True, False),
    "precision": _or_junk("auto", "bfloat16", "float32", "float64", "float16", "int8"),
    "compile": _or_junk(False, True, "auto"),
    "revision": _or_junk("main", "a" * 40),
    "trust_remote_code": _or_junk(False, True),
    "random_state": _or_junk(
        *(0, 2**32 - 1, 2**32, -1, np.random.RandomState(0), np.random.default_rng(0), "seed"),
    ),
    "verbose": _or_junk(0, 1, 2, 3),
    "warm_start": _or_junk(False, True),
    "checkpoint": _or_junk(
        *(
            _Under("fits/one"),
            _Under("fits/two", Path),
            _Under("backbone"),
            _Under("backbone/config.json"),
        ),
        *("/dev/null", "/dev/null/x", _Under("backbone/config.json/x"), "\0"),
    ),
    "checkpoint_every": st.one_of(_NUMBER, _junk),
}


def check_complete() -> None:
    """Every parameter of the classifier and of each method has values here."""
    assert set(PARAMETERS) == set(signature(LNTunedTransformerClassifier).parameters)
    assert set(METHOD_ARGUMENTS) >= set(METHODS)
    for name, method in METHODS.items():
        assert set(METHOD_ARGUMENTS[name]) == set(signature(method).parameters), name


@st.composite
def parameters(draw: st.DrawFn) -> Example:
    """One to three parameters of the classifier, before a fit, after one, or for predictions."""
    names = draw(st.lists(st.sampled_from(sorted(PARAMETERS)), min_size=1, max_size=3, unique=True))
    chosen = {name: draw(PARAMETERS[name]) for name in names}
    when = draw(st.sampled_from(["fit", "fit", "fit", "fit again", "predict", "partial_fit"]))
    return Example(
        f"parameters: {when} with {describe(chosen, 300)}",
        lambda subject: _of_parameters(subject, chosen, when),
    )


@st.composite
def tunings(draw: st.DrawFn) -> Example:
    """Tuning methods, their sums, and nested parameters."""
    drawn = draw(_TUNING)
    nested = {}
    if draw(st.sampled_from([False, False, True])):
        name = draw(_METHOD)
        if METHOD_ARGUMENTS[name]:
            argument = draw(st.sampled_from(sorted(METHOD_ARGUMENTS[name])))
            nested[f"tuning__{name}__{argument}"] = draw(METHOD_ARGUMENTS[name][argument])
    pooling = draw(st.sampled_from(["auto", "auto", "native"]))
    label = f"tuning: {describe(drawn, 300)}, {describe(nested)}, pooling={pooling}"

    def act(subject: Subject) -> None:
        given = copy.deepcopy(drawn)
        before = describe(given, 2000)
        clf = subject.classifier(tuning=given, pooling=pooling)
        clf.set_params(**nested)
        _fits(clf)
        check(describe(given, 2000) == before, "fitting changes the tuning that was passed")

    return Example(label, act)


def _of_parameters(subject: Subject, chosen: dict[str, Any], when: str) -> None:
    made = {name: _made(value, subject) for name, value in chosen.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "has_compiler", lambda: False)  # compiling takes a minute
        real = Settings.n_epochs  # and so does every epoch there may be
        patch.setattr(Settings, "n_epochs", lambda self, n_rows: min(real(self, n_rows), 2))
        if when == "predict":
            _predicts(subject, made)
        else:
            clf = subject.classifier()
            if when == "fit again":
                clf.fit(TEXTS, LABELS)
            clf.set_params(**made)
            _fits(clf, partly=when == "partial_fit")


def _made(value: Any, subject: Subject) -> Any:
    return value.of(subject) if isinstance(value, _Under) else copy.deepcopy(value)


def _fits(clf: Any, *, partly: bool = False) -> None:
    repr(clf)
    clone(clf)
    with kept_whole(clf):
        if partly:
            clf.partial_fit(TEXTS, LABELS, classes=["blue", "red"])
        else:
            clf.fit(TEXTS, LABELS)
    check_learnt(clf)
    found = clf.predict_proba(TEXTS)
    check(found.shape == (8, 2), f"probabilities have the shape {found.shape}")
    check(bool(np.isfinite(found).all()), "probabilities are not finite")


def _predicts(subject: Subject, made: dict[str, Any]) -> None:
    """What only training reads changes no answer."""
    clf = subject.copy_of_fitted().set_params(**made)
    found = clf.predict_proba(TEXTS)
    check(np.allclose(found, subject.probabilities, atol=0.02), "a parameter changes the answers")
