"""Prefixes, against attention written from its definition."""

from __future__ import annotations

import math
import pickle
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import networks
import numpy as np
import pytest
import torch
from families import HIDDEN, LAYERS, VOCABULARY, known_families
from networks import CPU, batch_of, scatter
from sklearn.base import clone
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface

from sklearn_lntune.backbone.inspect_model import anatomy_of
from sklearn_lntune.backbone.loading import skeleton
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.network import Batch, Network
from sklearn_lntune.tuning import PrefixTuning
from sklearn_lntune.tuning.layers.stacked_prefix import Prefix

EACH = pytest.mark.parametrize("family", known_families())
LENGTH = 5

CAUSAL = {"gpt2", "opt", "gpt-neox", "llama", "qwen2", "qwen3", "gemma2", "mistral"}
GROUPED = {"llama", "qwen2", "qwen3", "gemma2", "mistral"}
#: family -> block -> how far a query sees back and ahead, where that is less than all
WINDOWS = {
    "modernbert": {1: (4, 4)},
    "gemma2": {0: (7, 0)},
    "mistral": {0: (7, 0), 1: (7, 0)},
}
#: family outside transformers' attention interface -> layers of query, key, value; the scale
OWN = {
    "mpnet": (("q", "k", "v"), (HIDDEN / 2) ** -0.5),
    "deberta-v2": (("query_proj", "key_proj", "value_proj"), (3 * HIDDEN / 2) ** -0.5),
}
#: name of a batch -> lengths of its rows
BATCHES = {"padded": (14, 11, 3), "full": (14, 14), "short": (6, 6)}


def build(folder: Path, tuning: Any, attention: str = "eager", **options: Any) -> Network:
    return networks.build(folder, tuning, attention=attention, **options)


@pytest.fixture
def _wide_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the softmax in float64.

    Many plain attentions do it in float32, where the lowest float64 of a mask is minus
    infinity, so that a padding token with nothing in its window becomes NaN.
    """
    softmax = functional.softmax
    monkeypatch.setattr(functional, "softmax", lambda x, dim=-1, dtype=None: softmax(x, dim))


WIDE = pytest.mark.usefixtures("_wide_softmax")


# -- the definition ----------------------------------------------------------------


@dataclass
class Defined:
    """What attention needs beside queries, keys and values; and what it met last."""

    #: Which tokens each token may see, of shape (n_rows, n_tokens, n_tokens).
    seen: torch.Tensor
    prefix: tuple[torch.Tensor, torch.Tensor] | None
    met: tuple[torch.Tensor, torch.Tensor] | None = None


def seen_tokens(family: str, block: int, mask: torch.Tensor) -> torch.Tensor:
    """Tokens of the row, none behind the query where causal, none outside the window."""
    back, ahead = WINDOWS.get(family, {}).get(
        block, (math.inf, 0 if family in CAUSAL else math.inf)
    )
    n_rows, n_tokens = mask.shape
    seen = torch.zeros(n_rows, n_tokens, n_tokens, dtype=torch.bool)
    for row, query, key in np.ndindex(*seen.shape):
        seen[row, query, key] = bool(mask[row, key]) and query - back <= key <= query + ahead
    return seen


def mixed(
    defined: Defined,
    query: torch.Tensor,
    scores: torch.Tensor,
    value: torch.Tensor,
    score: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Values weighed by the softmax over the prefix and the tokens seen.

    ``scores`` are those of the tokens, ``score`` makes one from the product of a query
    and a key of the prefix. The result has the shape (n_rows, n_tokens, n_heads, size).
    """
    n_rows, n_heads, n_tokens, size = query.shape
    groups = n_heads // value.shape[1]
    answer = torch.empty(n_rows, n_tokens, n_heads, size, dtype=query.dtype)
    for row, head, i in np.ndindex(n_rows, n_heads, n_tokens):
        seen = defined.seen[row, i]
        all_scores, all_values = scores[row, head, i, seen], value[row, head // groups, seen]
        if defined.prefix is not None:
            keys, values = (each[head // groups] for each in defined.prefix)
            all_scores = torch.cat([score(keys @ query[row, head, i]), all_scores])
            all_values = torch.cat([values, all_values])
        shares = all_scores.exp() / all_scores.exp().sum()
        answer[row, i, head] = shares @ all_values
    return answer


def defined_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    softcap: float | None = None,
    position_bias: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """For transformers' attention interface; the mask handed in is checked, not used."""
    defined: Defined = module.defined
    defined.met = key, value
    if attention_mask is not None:
        rows = defined.seen.any(1)  # tokens that are no padding
        allowed = (attention_mask == 0)[:, 0].expand_as(defined.seen)
        assert torch.equal(allowed[rows], defined.seen[rows])

    def score(product: torch.Tensor) -> torch.Tensor:
        scaled = product * scaling
        return scaled if softcap is None else softcap * torch.tanh(scaled / softcap)

    groups = query.shape[1] // key.shape[1]
    scores = torch.empty(*query.shape[:3], key.shape[2], dtype=query.dtype)
    for row, head in np.ndindex(*query.shape[:2]):
        scores[row, head] = score(query[row, head] @ key[row, head // groups].T)
    if position_bias is not None:
        scores = scores + position_bias
    return mixed(defined, query, scores, value, score), None


AttentionInterface.register("test_reference", defined_attention)
AttentionMaskInterface.register("test_reference", AttentionMaskInterface()["eager"])


def define_own(family: str, module: Any) -> None:
    """Attention outside the interface: the library's own scores, mixed anew."""
    names, scale = OWN[family]
    unmodified = module.forward

    def forward(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        recorded: list[torch.Tensor] = []
        softmax = functional.softmax

        def recording(scores: torch.Tensor, dim: int) -> torch.Tensor:
            recorded.append(scores.clone())
            return softmax(scores, dim)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(functional, "softmax", recording)
            unmodified(hidden_states, *args, **kwargs)
        query, key, value = (
            module.get_submodule(name)(hidden_states).unflatten(-1, (2, -1)).transpose(1, 2)
            for name in names
        )
        module.defined.met = key, value
        (scores,) = recorded
        joined = mixed(module.defined, query, scores, value, lambda x: x * scale).flatten(-2)
        return (module.o(joined),) if family == "mpnet" else (joined, None)

    module.forward = forward


def defined_model(
    family: str, folder: Path, mask: torch.Tensor, delta: Mapping[str, np.ndarray]
) -> nn.Module:
    """transformers' model with attention as defined, and the prefixes of ``delta``."""
    backbone = get_backbone(folder)
    model = backbone.private(torch.float64, CPU, "eager")
    for each in backbone.anatomy.attentions:
        module = cast(Any, model.get_submodule(each.path))
        own = [delta.get(f"prefix/{each.path}/{name}") for name in ("keys", "values")]
        keys, values = (None if array is None else torch.from_numpy(array) for array in own)
        module.defined = Defined(
            seen_tokens(family, each.block or 0, mask),
            None if keys is None or values is None else (keys, values),
        )
        if family in OWN:
            define_own(family, module)
    if family not in OWN:
        for part in model.modules():
            config = cast(Any, getattr(part, "config", None))
            if config is not None:
                config._attn_implementation = "test_reference"
    return model


def assert_as_defined(family: str, folder: Path, network: Network, name: str) -> None:
    """The states of the network's body are those of the definition, padding aside."""
    inputs = batch_of(BATCHES[name])
    model = defined_model(family, folder, inputs["attention_mask"], network.delta())
    with torch.no_grad():
        ours = network.body(**inputs).last_hidden_state
        theirs = model(**inputs).last_hidden_state
    kept = inputs["attention_mask"].bool()
    torch.testing.assert_close(ours[kept], theirs[kept], rtol=0, atol=1e-10)


@WIDE
@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@EACH
def test_attention_with_a_prefix_is_as_defined(
    family: str, attention: str, name: str, tiny_backbone: Callable[..., Path]
) -> None:
    folder = tiny_backbone(family)
    network = build(folder, PrefixTuning(LENGTH, init="random"), attention)
    scatter(network, 0.5)
    assert_as_defined(family, folder, network, name)


@WIDE
@pytest.mark.parametrize("layers", [1, [0]], ids=["top", "bottom"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", [each for each in known_families() if each != "albert"])
def test_layers_without_a_prefix_attend_as_ever(
    family: str, attention: str, layers: Any, tiny_backbone: Callable[..., Path]
) -> None:
    folder = tiny_backbone(family)
    network = build(folder, PrefixTuning(LENGTH, layers=layers, init="random"), attention)
    scatter(network, 0.5)
    paths = {name.split("/")[1] for name in network.learnt if name.startswith("prefix/")}
    chosen = get_backbone(folder).anatomy.attentions[-1 if layers == 1 else 0]
    assert paths == {chosen.path}
    assert_as_defined(family, folder, network, "padded")


@EACH
def test_every_token_sees_the_prefix_of_its_layer(
    family: str, tiny_backbone: Callable[..., Path]
) -> None:
    folder = tiny_backbone(family)
    network = build(folder, PrefixTuning(LENGTH, init="random"), "sdpa")
    inputs = batch_of(BATCHES["full"])
    with torch.no_grad():
        before = network.body(**inputs).last_hidden_state
        scatter(network, 0.5)
        after = network.body(**inputs).last_hidden_state
    assert (after - before).abs().amax(-1).min() > 1e-6


@WIDE
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@EACH
def test_a_prefix_leaves_other_shells_as_they_were(
    family: str, attention: str, tiny_backbone: Callable[..., Path]
) -> None:
    folder, inputs = tiny_backbone(family), batch_of(BATCHES["padded"])
    plain = build(folder, "head", attention)
    with torch.no_grad():
        before = plain(Batch(inputs))
        with_prefix = build(folder, PrefixTuning(LENGTH), attention)
        assert not torch.equal(with_prefix(Batch(inputs)), before)
        assert torch.equal(plain(Batch(inputs)), before)
        assert torch.equal(build(folder, "head", attention)(Batch(inputs)), before)


# -- numbers -----------------------------------------------------------------------


@EACH
def test_keys_and_values_of_each_layer_are_counted(
    family: str, tiny_backbone: Callable[..., Path]
) -> None:
    folder = tiny_backbone(family)
    anatomy = get_backbone(folder).anatomy
    n_layers = 1 if family == "albert" else LAYERS  # ALBERT's layers share one block
    shape = (2, LENGTH, 4 if family in GROUPED else HIDDEN // 2)
    delta = build(folder, PrefixTuning(LENGTH, init="random")).delta()
    learnt = {name: values for name, values in delta.items() if not name.startswith("head/")}
    assert learnt.keys() == {
        f"prefix/{each.path}/{name}" for each in anatomy.attentions for name in ("keys", "values")
    }
    assert len(learnt) == 2 * n_layers
    assert all(values.shape == shape for values in learnt.values())
    count = 2 * LENGTH * shape[0] * shape[2] * n_layers
    assert sum(values.size for values in learnt.values()) == count
    assert PrefixTuning(LENGTH).count(anatomy) == count
    assert PrefixTuning(LENGTH, projection=8).count(anatomy) == count
    if n_layers > 1:
        assert PrefixTuning(LENGTH, layers=1).count(anatomy) == count // n_layers


def test_albert_has_no_layers_to_choose_from(tiny_backbone: Callable[..., Path]) -> None:
    anatomy = get_backbone(tiny_backbone("albert")).anatomy
    with pytest.raises(ValueError, match="layers=1, but this backbone's layers share one block"):
        PrefixTuning(layers=1).arrays(anatomy)


# -- several fits side by side -----------------------------------------------------


def assert_stacked_equals_separate(folder: Path, tuning: PrefixTuning, attention: str) -> None:
    stacked = build(folder, tuning, attention, n_fits=3)
    scatter(stacked, 0.5)
    inputs = batch_of((9, 14, 12, 5, 14, 3))
    logits = stacked(Batch(inputs))
    logits.square().sum().backward()
    for fit in range(3):
        single = build(folder, tuning, attention)
        single.load_delta({n: w[fit].detach().numpy() for n, w in stacked.learnt.items()})
        rows = slice(2 * fit, 2 * fit + 2)
        own = single(Batch({name: tensor[rows] for name, tensor in inputs.items()}))
        own.square().sum().backward()
        torch.testing.assert_close(own, logits[rows], rtol=0, atol=1e-12)
        for name, weight in single.learnt.items():
            gradient = stacked.learnt[name].grad
            assert gradient is not None
            assert weight.grad is not None
            assert weight.grad.abs().sum() > 0
            torch.testing.assert_close(weight.grad[0], gradient[fit], rtol=1e-12, atol=1e-12)


@WIDE
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@EACH
def test_stacked_fits_equal_separate_fits(
    family: str, attention: str, tiny_backbone: Callable[..., Path]
) -> None:
    tuning = PrefixTuning(LENGTH, init="random")
    assert_stacked_equals_separate(tiny_backbone(family), tuning, attention)


@WIDE
@EACH
def test_stacked_projections_equal_separate_ones(
    family: str, tiny_backbone: Callable[..., Path]
) -> None:
    tuning = PrefixTuning(LENGTH, projection=6)
    assert_stacked_equals_separate(tiny_backbone(family), tuning, "eager")


# -- the projection ----------------------------------------------------------------


@pytest.mark.parametrize("layers", ["all", 1])
@pytest.mark.parametrize("family", ["bert", "deberta-v2", "llama", "t5"])
def test_a_folded_projection_computes_the_same(
    family: str, layers: Any, tiny_backbone: Callable[..., Path]
) -> None:
    tuning = PrefixTuning(LENGTH, layers=layers, projection=6)
    network = build(tiny_backbone(family), tuning)
    scatter(network, 0.5)
    settled = build(tiny_backbone(family), tuning.for_inference())
    settled.load_delta(network.delta())
    inputs = batch_of(BATCHES["padded"])
    with torch.no_grad():
        torch.testing.assert_close(
            settled(Batch(inputs)), network(Batch(inputs)), rtol=0, atol=1e-12
        )


def test_a_projection_is_what_its_formula_says(tiny_backbone: Callable[..., Path]) -> None:
    folder = tiny_backbone("llama")
    network = build(folder, PrefixTuning(LENGTH, projection=6))
    scatter(network, 0.5)
    learnt = {name: weight[0].detach().numpy() for name, weight in network.learnt.items()}
    delta = network.delta()
    path = get_backbone(folder).anatomy.attentions[1].path
    for position in range(LENGTH):
        embedding = learnt["prefix/projection/embedding"][position]
        weight, bias = (learnt[f"prefix/projection/{name}"] for name in ("weight", "bias"))
        hidden = np.tanh(weight @ embedding + bias)
        made = learnt[f"prefix/{path}/weight"] @ hidden + learnt[f"prefix/{path}/bias"]
        keys, values = made.reshape(2, 2, 4)
        np.testing.assert_allclose(delta[f"prefix/{path}/keys"][:, position], keys, atol=1e-12)
        np.testing.assert_allclose(delta[f"prefix/{path}/values"][:, position], values, atol=1e-12)


@pytest.fixture
def projected_clf(tiny_clf: Callable[..., Any]) -> Any:
    """An unfitted classifier whose prefix is made by a projection while training."""
    return tiny_clf(tuning=PrefixTuning(4, projection=8))


def test_a_fitted_projection_leaves_a_prefix_alone(
    projected_clf: Any, tiny_backbone: Callable[..., Path], texts: list[str], labels: list[str]
) -> None:
    clf = projected_clf.fit(texts, labels)
    anatomy = get_backbone(tiny_backbone()).anatomy
    prefixes = {
        f"prefix/{each.path}/{name}" for each in anatomy.attentions for name in ("keys", "values")
    }
    assert clf.delta_.keys() == prefixes | {"head/weight", "head/bias"}
    assert {clf.delta_[name].shape for name in prefixes} == {(2, 4, HIDDEN // 2)}
    assert clf.log_[-1]["train_loss"] < clf.log_[0]["train_loss"]
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(texts), clf.predict_proba(texts))


def test_parameters_are_kept_by_clones(projected_clf: Any) -> None:
    assert projected_clf.get_params()["tuning__prefix__projection"] == 8
    copy = clone(projected_clf).set_params(tuning__prefix__init="random")
    assert copy.tuning.get_params() == {
        "length": 4,
        "layers": "all",
        "projection": 8,
        "init": "random",
    }
    assert projected_clf.tuning.init == "vocabulary"


# -- going on ----------------------------------------------------------------------

GOING_ON = pytest.mark.parametrize(
    "tuning",
    [PrefixTuning(4), PrefixTuning(4, init="random"), PrefixTuning(4, projection=8)],
    ids=["vocabulary", "random", "projection"],
)


@GOING_ON
def test_warm_starts_go_on_from_the_prefix(
    tuning: PrefixTuning, tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(tuning=tuning, warm_start=True, weight_decay=0.0).fit(texts, labels)
    first, loss = dict(clf.delta_), clf.log_[-1]["train_loss"]
    clf.set_params(lr=1e-14, head_lr=1e-14).fit(texts, labels)
    assert clf.delta_.keys() == first.keys()
    for name, values in first.items():
        np.testing.assert_allclose(clf.delta_[name], values, rtol=0, atol=1e-12)
    clf.set_params(lr="auto", head_lr="auto").fit(texts, labels)
    assert clf.delta_.keys() == first.keys()
    assert all((clf.delta_[name] != first[name]).any() for name in first)
    assert clf.log_[-1]["train_loss"] < loss
    assert clf.tuning is tuning


@GOING_ON
def test_partial_fits_go_on_from_the_prefix(
    tuning: PrefixTuning, tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(tuning=tuning).partial_fit(texts, labels, classes=sorted(set(labels)))
    first = dict(clf.delta_)
    for _ in range(2):
        clf.partial_fit(texts, labels)
        assert clf.delta_.keys() == first.keys()
    assert all((clf.delta_[name] != first[name]).any() for name in first)
    assert clf.n_epochs_ == 3
    assert clf.log_[-1]["train_loss"] < clf.log_[0]["train_loss"]
    assert clf.predict(texts).shape == (40,)


# -- the start ---------------------------------------------------------------------


@WIDE
@pytest.mark.parametrize("n_fits", [1, 3])
@EACH
def test_a_prefix_starts_as_keys_and_values_of_tokens(
    family: str,
    n_fits: int,
    tiny_backbone: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[torch.Tensor] = []
    randint = torch.randint

    def recorded(*args: Any, **kwargs: Any) -> torch.Tensor:
        drawn.append(randint(*args, **kwargs))
        return drawn[-1]

    folder = tiny_backbone(family)
    monkeypatch.setattr(torch, "randint", recorded)
    network = build(folder, PrefixTuning(LENGTH), n_fits=n_fits)
    monkeypatch.undo()
    (ids,) = drawn
    assert ids.shape == (n_fits, LENGTH)
    assert 0 <= ids.min() <= ids.max() < VOCABULARY
    mask = torch.ones_like(ids)
    model = defined_model(family, folder, mask, {})
    with torch.no_grad():
        model(input_ids=ids, attention_mask=mask)
    for each in get_backbone(folder).anatomy.attentions:
        met = cast(Any, model.get_submodule(each.path)).defined.met
        for name, expected in zip(("keys", "values"), met, strict=True):
            start = network.learnt[f"prefix/{each.path}/{name}"]
            torch.testing.assert_close(start.detach(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@EACH
def test_a_start_from_tokens_leaves_the_network_ready(
    family: str, attention: str, tiny_backbone: Callable[..., Path]
) -> None:
    network = build(tiny_backbone(family), PrefixTuning(LENGTH), attention)
    prefixes = [part for part in network.modules() if isinstance(part, Prefix)]
    assert prefixes
    assert not any(prefix.recording for prefix in prefixes)
    assert all(weight.requires_grad and weight.is_leaf for weight in network.learnt.values())
    start = network.delta()
    network(Batch(batch_of(BATCHES["padded"]))).square().sum().backward()
    assert all(weight.grad is not None for weight in network.learnt.values())
    for name, values in network.delta().items():
        np.testing.assert_array_equal(values, start[name])


@pytest.mark.parametrize("init", ["vocabulary", "random"])
def test_one_seed_gives_one_start(init: str, tiny_backbone: Callable[..., Path]) -> None:
    folder = tiny_backbone()
    one, same, other = (
        build(folder, PrefixTuning(LENGTH, init=init), seed=seed).delta() for seed in (0, 0, 1)
    )
    for name, values in one.items():
        np.testing.assert_array_equal(values, same[name])
        assert (values != other[name]).any() or name == "head/bias"


def test_tokens_are_another_start_than_random_numbers(tiny_backbone: Callable[..., Path]) -> None:
    folder = tiny_backbone()
    tokens = build(folder, PrefixTuning(LENGTH)).delta()
    numbers = build(folder, PrefixTuning(LENGTH, init="random")).delta()
    assert tokens.keys() == numbers.keys()
    for name in tokens:
        if name.startswith("prefix/"):
            assert (tokens[name] != numbers[name]).all()
            assert numbers[name].std() == pytest.approx(0.02, rel=0.3)


def test_stacked_fits_start_from_different_tokens(tiny_backbone: Callable[..., Path]) -> None:
    network = build(tiny_backbone(), PrefixTuning(LENGTH), n_fits=2)
    for name, weight in network.learnt.items():
        if name.startswith("prefix/"):
            assert (weight[0] != weight[1]).any(), name


# -- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RemBert", "MegatronBert", "GPTNeo"])
def test_attention_of_an_unknown_kind_is_refused(kind: str) -> None:
    import transformers

    names = {"num_layers": 2, "num_heads": 2, "attention_types": [[["global"], 2]]}
    if kind != "GPTNeo":
        names = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = getattr(transformers, f"{kind}Config")(vocab_size=120, hidden_size=16, **names)
    message = f"'prefix' is not possible for {kind}Model: .* All other tuning methods work on it"
    with pytest.raises(ValueError, match=message):
        PrefixTuning().arrays(anatomy_of(skeleton(config)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("length", 0),
        ("length", -1),
        ("length", True),
        ("length", 2.5),
        ("length", "3"),
        ("length", None),
        ("init", "x"),
        ("init", None),
        ("projection", 0),
        ("projection", True),
        ("projection", 8.0),
        ("projection", "8"),
        ("layers", 0),
        ("layers", 3),
        ("layers", [2]),
        ("layers", "top"),
    ],
)
def test_wrong_parameters_are_refused_before_training(
    name: str,
    value: Any,
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("sklearn_lntune.training.fitting.build_network")
    clf = tiny_clf(tuning=PrefixTuning(**{name: value}))
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        clf.fit(texts, labels)
    assert not hasattr(clf, "delta_")


# -- threads -----------------------------------------------------------------------


def test_threads_predict_at_once_with_one_network(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(tuning=PrefixTuning(4)).fit(texts, labels)
    halves = texts[:20], texts[20:]
    expected = [clf.predict_proba(half) for half in halves]
    together = threading.Barrier(2)

    def predict(half: list[str]) -> list[np.ndarray]:
        together.wait()
        return [clf.predict_proba(half) for _ in range(10)]

    with ThreadPoolExecutor(2) as pool:
        for answers, answer in zip(pool.map(predict, halves), expected, strict=True):
            for found in answers:
                np.testing.assert_array_equal(found, answer)


def test_a_prefix_may_be_longer_than_the_models_positions(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(tuning=PrefixTuning(70), max_epochs=1).fit(texts, labels)
    path = "prefix/encoder.layer.0.attention.self/keys"
    assert clf.delta_[path].shape[1] == 70
    assert clf.predict(texts).shape == (40,)
