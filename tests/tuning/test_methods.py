"""Every tuning method, and sums of them, on every architecture family."""

from __future__ import annotations

import functools
import math
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import HIDDEN, LAYERS, known_families
from networks import (
    CPU,
    EXACT,
    Arrays,
    Make,
    batch,
    build,
    built_in_methods,
    by_method,
    check_stacking,
    descend,
    private,
    scatter,
    states,
)
from torch import nn

from sklearn_lntune.backbone.anatomy import Anatomy
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.network import Batch, Network
from sklearn_lntune.tuning import (
    AdapterTuning,
    BiasTuning,
    FullTuning,
    LayerNormTuning,
    LoraTuning,
    PrefixTuning,
    ScaleTuning,
    TuningSum,
    methods_of,
)
from sklearn_lntune.tuning.base import in_attach_order
from sklearn_lntune.tuning.bias import active_bias_mask
from sklearn_lntune.tuning.layers.stacked_linear import InputRecorder
from sklearn_lntune.tuning.lora import TARGETS
from sklearn_lntune.tuning.plan import plan

#: Families without a bias anywhere.
UNBIASED = ("modernbert", "llama", "qwen3", "gemma2", "mistral", "t5")
LORA_EVERYWHERE = LoraTuning(2, alpha=3, targets=tuple(TARGETS))
SEQUENTIAL = AdapterTuning(4, sites="both")
PARALLEL = AdapterTuning(4, sites="both", insertion="parallel", scale=4.0)

#: name -> what is tuned
SINGLE: dict[str, Any] = {
    "layernorm": LayerNormTuning(),
    "bias": BiasTuning(),
    "lora": LoraTuning(3),
    "lora-everywhere": LORA_EVERYWHERE,
    "adapter-attention": AdapterTuning(4),
    "adapter-ffn": AdapterTuning(4, sites="ffn"),
    "adapter-both": SEQUENTIAL,
    "adapter-parallel": PARALLEL,
    "prefix": PrefixTuning(3),
    "full": FullTuning(),
}
#: Methods that are not named above are tested with their defaults.
MORE = {
    name: method()
    for name, method in built_in_methods().items()
    if name not in {tuning.name for tuning in SINGLE.values()}
}
SINGLE |= MORE
SUMS: dict[str, Any] = {
    "layernorm+prefix": LayerNormTuning() + PrefixTuning(3),
    "adapter-attention+layernorm": AdapterTuning(4) + LayerNormTuning(),
    "layernorm+prefix+adapter": LayerNormTuning() + PrefixTuning(3) + AdapterTuning(4),
    "adapter-ffn+layernorm": AdapterTuning(4, sites="ffn") + LayerNormTuning(),
    "houlsby": "houlsby",
    "mam-adapter": "mam-adapter",
    "bias+layernorm": BiasTuning() + LayerNormTuning(),
    "all-but-bias": "adapter+prefix+lora+layernorm",
    "everything": "+".join(name for name in built_in_methods() if name != "full"),
}
TUNINGS = SINGLE | SUMS
#: Those that sums are tested on: for each, the first three with all that it learns.
SUM_FAMILIES = ("bert", "gpt2", "llama", "deberta-v2")
pytestmark = pytest.mark.filterwarnings("ignore:tuning adds adapters at the feed-forward")


def possible(family: str, tuning: Any) -> bool:
    """Whether the family has biases for each method that learns them."""
    names = {method.name for method in methods_of(tuning)}
    if family == "nomic-bert" and "layernorm" in names:  # its norms alone have biases
        return "bias" not in names
    return not ("bias" in names and family in UNBIASED)


def pairs(tunings: Mapping[str, Any], without: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Family and name of what is tuned: methods on every family, sums on three."""
    found = []
    for name, tuning in tunings.items():
        one = len(methods_of(tuning)) == 1
        families = [
            family
            for family in (known_families() if one else SUM_FAMILIES)
            if family not in without and possible(family, tuning)
        ]
        found += [(family, name) for family in (families if one else families[:3])]
    return found


EACH = pytest.mark.parametrize("family", known_families())
EVERY = pytest.mark.parametrize(("family", "name"), pairs(TUNINGS))


# -- at the start, gradients, counts -------------------------------------------------


@functools.cache
def frozen_states(folder: Path) -> torch.Tensor:
    """States of the backbone by itself."""
    return states(private(folder))


@functools.cache
def frozen_network(folder: Path) -> Network:
    """A network with nothing but a head."""
    return build(folder, "head")


@EVERY
def test_it_is_planned_starts_as_the_frozen_model_and_has_all_gradients(
    family: str, name: str, lively: Make
) -> None:
    folder, tuning = lively(family), TUNINGS[name]
    network, anatomy = build(folder, tuning), get_backbone(folder).anatomy
    check_delta_is_as_planned(network, tuning, anatomy)
    check_start(network, tuning, folder)
    check_gradients(scatter(network), anatomy)


def check_start(network: Network, tuning: Any, folder: Path) -> None:
    """It computes what the frozen model does."""
    # A prefix alone does something from the start; then the others must add nothing to it.
    prefixes = tuple(method for method in methods_of(tuning) if method.name == "prefix")
    frozen = build(folder, TuningSum(prefixes)) if prefixes else frozen_network(folder)
    frozen.load_delta({key: network.delta()[key] for key in frozen.learnt})
    with torch.no_grad():
        torch.testing.assert_close(network(Batch(batch())), frozen(Batch(batch())), **EXACT)
    expected = states(frozen.body) if prefixes else frozen_states(folder)
    torch.testing.assert_close(states(network.body), expected, **EXACT)


def check_gradients(network: Network, anatomy: Anatomy) -> None:
    """They reach what is declared and nothing else."""
    descend(network(Batch(batch())))
    learnt = {id(weight) for weight in network.learnt.values()}
    for path, weight in network.named_parameters():
        assert (weight.grad is not None) == (id(weight) in learnt), path
    # Full tuning takes all weights, and so the key biases that the softmax cancels.
    cancelled = {
        f"full/{linear.path}/bias"
        for linear in anatomy.linears
        if not active_bias_mask(linear, anatomy).any()
    }
    for key in network.learnt.keys() - cancelled:
        gradient = network.learnt[key].grad
        assert gradient is not None
        assert gradient.abs().max() > 1e-4, key


def check_delta_is_as_planned(network: Network, tuning: Any, anatomy: Anatomy) -> None:
    """Names and shapes."""
    planned = plan(methods_of(tuning), anatomy, with_pooler=False)
    delta = network.delta()
    shapes = {
        f"{method.name}/{array.key}": array.shape
        for method, arrays in planned.items()
        for array in arrays
    }
    head = {"head/weight": (3, HIDDEN), "head/bias": (3,)}
    assert {key: value.shape for key, value in delta.items()} == shapes | head
    values = by_method(delta)
    for method, arrays in planned.items():
        kept = values[method.name].values()
        assert sum(array.size for array in arrays) == sum(value.size for value in kept)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_what_is_added_to_linear_layers_starts_without_changing_a_bit(
    family: str, dtype: torch.dtype, lively: Make
) -> None:
    frozen = states(build(lively(family), "head", dtype=dtype).body)
    assert frozen.dtype == dtype
    for tuning in (BiasTuning(norms=False), LORA_EVERYWHERE, SEQUENTIAL, PARALLEL):
        network = build(lively(family), tuning, dtype=dtype)
        assert all(weight.dtype == torch.float32 for weight in network.learnt.values())
        assert torch.equal(states(network.body), frozen)


# d, m: widths of BERT's and GPT-2's block; r: rank; s: bottleneck; p: length of a prefix
d, m, r, s, p = HIDDEN, 24, 3, 5, 6
ADAPTER = 2 * d * s + s + d
COUNTS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "bert": (
        {},
        {
            "layernorm": 2 * d * (1 + 2 * LAYERS),
            # query, value, output, norm; input, output, norm; the norm of embeddings
            "bias": LAYERS * (4 * d + m + 2 * d) + d,
            "lora": LAYERS * 2 * r * (d + d),
            "lora ffn.input": LAYERS * r * (d + m),
            "adapter": LAYERS * 2 * ADAPTER,
            "parallel": LAYERS * 2 * ADAPTER,
            "prefix": LAYERS * 2 * p * d,
            # words, positions, kinds, norm; attention and its norm; feed-forward and its norm
            "full": (120 + 64 + 2) * d
            + 2 * d
            + LAYERS * (4 * (d * d + d) + 2 * d + 2 * d * m + m + d + 2 * d),
        },
    ),
    "gpt2": (
        {},
        {
            "layernorm": 2 * d * (2 * LAYERS + 1),
            # two thirds of the fused projection, output, norm; input, output, norm; final norm
            "bias": LAYERS * (2 * d + d + d + 4 * d + d + d) + d,
            "lora": LAYERS * r * (d + 3 * d),
            "lora ffn.input": LAYERS * r * (d + 4 * d),
            "adapter": LAYERS * 2 * ADAPTER,
            "parallel": LAYERS * 2 * ADAPTER,
            "prefix": LAYERS * 2 * p * d,
            "full": (120 + 64) * d
            + LAYERS * (2 * 2 * d + 3 * d * d + 3 * d + d * d + d + 8 * d * d + 5 * d)
            + 2 * d,
        },
    ),
    "llama": (
        {},
        {
            "layernorm": d * (2 * LAYERS + 1),
            "lora": LAYERS * r * ((d + d) + (d + d // 2)),  # half as many heads of values
            "lora ffn.input": LAYERS * 2 * r * (d + m),  # gate and up
            "adapter": LAYERS * 2 * ADAPTER,
            "parallel": LAYERS * 2 * ADAPTER,
            "prefix": LAYERS * 2 * p * d // 2,
            "full": 120 * d + LAYERS * (2 * d + 3 * d * d + 3 * d * m) + d,
        },
    ),
    "t5": (  # two heads of size 6: the attention is narrower than the model
        {"d_kv": 6},
        {
            "layernorm": d * (2 * LAYERS + 1),
            "lora": LAYERS * 2 * r * (d + 12),
            "lora ffn.input": LAYERS * r * (d + m),
            "adapter": LAYERS * 2 * ADAPTER,
            "parallel": LAYERS * 2 * ADAPTER,
            "prefix": LAYERS * 2 * p * 12,
            # words, 32 distances for each head
            "full": 120 * d + 32 * 2 + LAYERS * (4 * d * 12 + 2 * d * m + 2 * d) + d,
        },
    ),
}
COUNTED: dict[str, Any] = {
    "layernorm": LayerNormTuning(),
    "bias": BiasTuning(),
    "lora": LoraTuning(r),
    "lora ffn.input": LoraTuning(r, targets="ffn.input"),
    "adapter": AdapterTuning(s, sites="both"),
    "parallel": AdapterTuning(s, sites="both", insertion="parallel"),
    "prefix": PrefixTuning(p),
    "full": FullTuning(),
}


@pytest.mark.parametrize("family", COUNTS)
def test_counts_are_those_of_the_formulas(family: str, lively: Make) -> None:
    overrides, counts = COUNTS[family]
    backbone = get_backbone(lively(family, **overrides))
    found = {
        name: sum(
            array.size
            for array in plan((COUNTED[name],), backbone.anatomy, with_pooler=False)[COUNTED[name]]
        )
        for name in counts
    }
    assert found == counts


@pytest.mark.parametrize("family", UNBIASED)
def test_a_model_without_biases_is_an_error_that_names_it(family: str, lively: Make) -> None:
    anatomy = get_backbone(lively(family)).anatomy
    for tuning in (BiasTuning(), BiasTuning(sites="attention"), BiasTuning() + LoraTuning()):
        with pytest.raises(ValueError, match=f"{anatomy.model} has no biases"):
            build(lively(family), tuning)


# -- biases that the softmax cancels -------------------------------------------------

#: name -> family, arguments, how many elements of a key's bias matter in each head
KEY_BIASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "bert": ("bert", {}, 0),
    "roberta": ("roberta", {}, 0),
    "xlm-roberta": ("xlm-roberta", {}, 0),
    "electra": ("electra", {}, 0),
    "distilbert": ("distilbert", {}, 0),
    "albert": ("albert", {}, 0),
    "mpnet": ("mpnet", {}, 0),
    "opt": ("opt", {}, 0),
    "bart": ("bart", {}, 0),
    "gpt2": ("gpt2", {}, 0),
    "esm": ("esm", {}, 8),
    "qwen2": ("qwen2", {}, 4),
    "gpt-neox": ("gpt-neox", {}, 2),
    "gpt-neox-half": ("gpt-neox", {"rotary_pct": 0.5}, 4),
    "gpt-neox-whole": ("gpt-neox", {"rotary_pct": 1.0}, 8),
    "deberta-v2": ("deberta-v2", {}, 8),
    "deberta-v2-absolute": (
        "deberta-v2",
        {"relative_attention": False, "position_biased_input": True},
        0,
    ),
}


@pytest.mark.parametrize("name", KEY_BIASES)
def test_the_biases_left_out_are_those_without_a_gradient(name: str, lively: Make) -> None:
    family, overrides, n_turned = KEY_BIASES[name]
    if family not in known_families():
        pytest.skip(f"this transformers has no {family}")
    folder = lively(family, **overrides)
    anatomy, model = get_backbone(folder).anatomy, private(folder)
    inputs = batch()
    keys = [linear for linear in anatomy.linears if linear.role in ("key", "qkv")]
    assert len(keys) == (1 if family == "albert" else LAYERS)
    layers = {linear.path: model.get_submodule(linear.path) for linear in keys}
    for layer in layers.values():
        layer.requires_grad_(True)
    found = model(**inputs).last_hidden_state
    descend(found[inputs["attention_mask"].bool()])
    for linear in keys:
        weight, bias = (layers[linear.path].get_parameter(each).grad for each in ("weight", "bias"))
        assert weight is not None
        assert bias is not None
        share = (bias.abs() / weight.abs().max()).numpy()
        chosen = active_bias_mask(linear, anatomy)
        assert (share[~chosen] < 1e-12).all()
        assert (share[chosen] > 1e-8).all()
    assert {attention.n_turned for attention in anatomy.attentions} == {n_turned}


@EACH
def test_every_family_with_biases_of_keys_was_looked_at(family: str, lively: Make) -> None:
    linears = get_backbone(lively(family)).anatomy.linears
    biased = any(linear.has_bias for linear in linears if linear.role in ("key", "qkv"))
    assert biased == (family in KEY_BIASES)


# -- fits ----------------------------------------------------------------------------


#: Each method once, and all together: a fit knows of sums no more than a forward pass does.
FITTED = ("layernorm", "bias", "lora", "adapter-both", "prefix", "full", *MORE, "everything")


@pytest.mark.parametrize(("family", "name"), pairs({name: TUNINGS[name] for name in FITTED}))
def test_a_fit_changes_the_delta_alone_and_pickles_bit_for_bit(
    family: str,
    name: str,
    tiny_backbone: Make,
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
) -> None:
    folder, texts, labels = tiny_backbone(family), texts[:12], labels[:12]
    model = get_backbone(folder).model(torch.float64, CPU)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    clf = tiny_clf(family, tuning=TUNINGS[name], batch_size=4, weight_decay=0, max_epochs=1)
    probabilities = clf.fit(texts, labels).predict_proba(texts)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())

    start = build(folder, TUNINGS[name], seed=clf._seed(0)).delta()
    assert clf.delta_.keys() == start.keys()
    assert clf.n_steps_ == 3
    for key, value in clf.delta_.items():
        assert value.shape == start[key].shape
        assert (value != start[key]).any(), key

    again = pickle.loads(pickle.dumps(clf))
    assert again.delta_.keys() == clf.delta_.keys()
    for key, value in clf.delta_.items():
        assert value.dtype == again.delta_[key].dtype == np.float64
        assert value.tobytes() == again.delta_[key].tobytes(), key
    assert (again.predict_proba(texts) == probabilities).all()


# -- several fits side by side -------------------------------------------------------

STACKED: dict[str, Any] = MORE | {
    "bias": BiasTuning(),
    "lora": LORA_EVERYWHERE,
    "adapter-sequential": SEQUENTIAL,
    "adapter-parallel": PARALLEL,
    "everything": LayerNormTuning() + BiasTuning() + LORA_EVERYWHERE + PrefixTuning(3) + SEQUENTIAL,
    "all-but-bias": LayerNormTuning() + LORA_EVERYWHERE + PrefixTuning(3) + PARALLEL,
}
#: What DeBERTa's relative positions do not go through.
BESIDE_POSITIONS: dict[str, Any] = MORE | {
    "layernorm": LayerNormTuning(),
    "bias": BiasTuning(sites="ffn"),
    "lora": LoraTuning(2, targets=("value", "attention.output", "ffn.input", "ffn.output")),
    "adapter-sequential": SEQUENTIAL,
    "adapter-parallel": PARALLEL,
    "everything": LayerNormTuning()
    + BiasTuning(sites="ffn")
    + LoraTuning(2, targets="value")
    + PrefixTuning(3)
    + SEQUENTIAL,
}


@pytest.mark.parametrize(("family", "name"), pairs(STACKED, without=("deberta-v2",)))
def test_stacked_fits_equal_separate_fits(family: str, name: str, lively: Make) -> None:
    # Gemma's norms compute in float32 whatever they are given.
    check_stacking(lively(family), STACKED[name], 1e-5 if family == "gemma2" else 1e-12)


@pytest.mark.parametrize("name", BESIDE_POSITIONS)
def test_stacked_fits_on_deberta_equal_separate_fits(name: str, lively: Make) -> None:
    check_stacking(lively("deberta-v2", norm_rel_ebd="none"), BESIDE_POSITIONS[name])


@pytest.mark.parametrize(
    "tuning",
    [LoraTuning(2, targets="query"), LoraTuning(2, targets="key"), BiasTuning(sites="attention")],
    ids=["query", "key", "bias"],
)
def test_relative_positions_are_shared_by_all_fits(tuning: Any, lively: Make) -> None:
    network = build(lively("deberta-v2", norm_rel_ebd="none"), tuning, n_fits=3)
    with pytest.raises(ValueError, match="several fits cannot share a layer that reads .* rows"):
        network(Batch(batch(rows=6)))


def test_full_tuning_does_not_stack(lively: Make) -> None:
    with pytest.raises(ValueError, match="its fits do not stack"):
        build(lively(), FullTuning(), n_fits=2)


# -- against plain models ------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "gpt-neox", "llama", "t5"])
@pytest.mark.parametrize("targets", [("query", "value"), tuple(TARGETS)], ids=["some", "all"])
def test_lora_is_a_change_of_the_matrices(
    family: str, targets: tuple[str, ...], lively: Make
) -> None:
    network = scatter(build(lively(family), LoraTuning(3, alpha=5, targets=targets)))
    model, values = private(lively(family)), by_method(network.delta())["lora"]
    with torch.no_grad():
        for path in {key.rpartition("/")[0] for key in values}:
            weight = model.get_submodule(path).get_parameter("weight")
            change = torch.from_numpy(5 / 3 * values[f"{path}/B"] @ values[f"{path}/A"])
            weight.add_(change.T if family == "gpt2" else change)
    torch.testing.assert_close(states(network.body), states(model), **EXACT)


MERGED: dict[str, Any] = {
    "layernorm": LayerNormTuning(),
    "gains": LayerNormTuning(terms="gain"),
    "bias": BiasTuning(),
    "lora": LORA_EVERYWHERE,
    "layernorm+lora": LayerNormTuning() + LORA_EVERYWHERE,
    "layernorm+bias+lora": LayerNormTuning() + BiasTuning() + LORA_EVERYWHERE,
    "full": FullTuning(),
}


@pytest.mark.parametrize(("family", "name"), pairs(MERGED))
def test_merging_writes_a_plain_model_of_the_same_states(
    family: str, name: str, lively: Make
) -> None:
    network, model = scatter(build(lively(family), MERGED[name])), private(lively(family))
    values = by_method(network.delta())
    for method in in_attach_order(methods_of(MERGED[name])):
        method.merge(model, values[method.name])
    torch.testing.assert_close(states(model), states(network.body), **EXACT)


@pytest.mark.parametrize("name", ["adapter-attention", "adapter-parallel", "prefix"])
def test_what_no_weight_can_hold_does_not_merge(name: str, lively: Make) -> None:
    (method,) = methods_of(TUNINGS[name])
    values = by_method(build(lively(), method).delta())[method.name]
    with pytest.raises(ValueError, match=f"what {method.name!r} learns cannot be written"):
        method.merge(private(lively()), values)


# -- adapters against their formula --------------------------------------------------

FORMULAS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": lambda x: x * (x > 0),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "tanh": lambda x: 2 / (1 + torch.exp(-2 * x)) - 1,
}


def adapted(
    values: Arrays, path: str, tuning: AdapterTuning, read: torch.Tensor, given: torch.Tensor
) -> torch.Tensor:
    """``given``, with what the adapter at ``path`` makes of ``read`` or of itself."""
    if f"{path}/up_bias" not in values:
        return given
    weights = ("down_weight", "down_bias", "up_weight", "up_bias")
    down, b, up, c = (torch.from_numpy(values[f"{path}/{name}"]) for name in weights)
    h = read if tuning.insertion == "parallel" else given
    return given + tuning.scale * (FORMULAS[tuning.activation](h @ down.T + b) @ up.T + c)


def plain_bert(model: Any, inputs: Any, values: Arrays, tuning: AdapterTuning) -> torch.Tensor:
    """BERT with adapters, written out."""

    def apply(path: str, x: torch.Tensor) -> torch.Tensor:
        layer = model.get_submodule(path)
        return x @ layer.weight.T + layer.bias

    def norm(path: str, x: torch.Tensor) -> torch.Tensor:
        layer = model.get_submodule(path)
        centred = x - x.mean(-1, keepdim=True)
        spread = torch.sqrt(centred.square().mean(-1, keepdim=True) + layer.eps)
        return centred / spread * layer.weight + layer.bias

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], model.config.num_attention_heads, -1).transpose(1, 2)

    words, mask = inputs["input_ids"], inputs["attention_mask"]
    tables = model.embeddings
    x = tables.word_embeddings.weight[words] + tables.token_type_embeddings.weight[0]
    x = norm("embeddings.LayerNorm", x + tables.position_embeddings.weight[: words.shape[1]])
    for block in (f"encoder.layer.{i}" for i in range(LAYERS)):
        query, key, value = (
            heads(apply(f"{block}.attention.self.{name}", x)) for name in ("query", "key", "value")
        )
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(mask[:, None, None] == 0, -torch.inf)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(-2)
        path = f"{block}.attention.output"
        given = apply(f"{path}.dense", mixed)
        x = norm(f"{path}.LayerNorm", x + adapted(values, f"{path}.dense", tuning, x, given))
        wide = FORMULAS["gelu"](apply(f"{block}.intermediate.dense", x))
        path = f"{block}.output"
        given = apply(f"{path}.dense", wide)
        x = norm(f"{path}.LayerNorm", x + adapted(values, f"{path}.dense", tuning, x, given))
    return x[mask.bool()]


@pytest.mark.parametrize("insertion", ["sequential", "parallel"])
@pytest.mark.parametrize("sites", ["attention", "ffn", "both"])
@pytest.mark.parametrize(
    ("activation", "scale"), [("relu", 4.0), ("gelu", 1.0), ("silu", 0.5), ("tanh", 2)]
)
def test_adapters_are_as_defined(
    insertion: str, sites: str, activation: str, scale: float, lively: Make
) -> None:
    tuning = AdapterTuning(4, sites=sites, insertion=insertion, scale=scale, activation=activation)
    network = scatter(build(lively(), tuning))
    values = by_method(network.delta())["adapter"]
    assert len(values) == 4 * LAYERS * (1 + (sites == "both"))
    expected = plain_bert(private(lively()), batch(), values, tuning)
    torch.testing.assert_close(states(network.body), expected, **EXACT)


@pytest.mark.parametrize("insertion", ["sequential", "parallel"])
def test_adapters_read_what_the_other_methods_made(insertion: str, lively: Make) -> None:
    others = (LayerNormTuning(), BiasTuning(), LORA_EVERYWHERE, ScaleTuning(sites="all"))
    tuning = AdapterTuning(4, sites="both", insertion=insertion)
    network = scatter(build(lively(), TuningSum((tuning, *others))))
    values, model = by_method(network.delta()), private(lively())
    for method in others:
        method.merge(model, values[method.name])
    expected = plain_bert(model, batch(), values["adapter"], tuning)
    torch.testing.assert_close(states(network.body), expected, **EXACT)


_SELF = "encoder.layer.{}.attention", "encoder.layer.{}.attention.output.dense"
_WIDE = "encoder.layer.{}.intermediate", "encoder.layer.{}.output.dense"
_DECODER = ("layers.{}.self_attn",) * 2, ("layers.{}.mlp",) * 2
#: family -> for attention and feed-forward: the module that reads, and the one that gives
HALVES: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "electra": (_SELF, _WIDE),
    "deberta-v2": (_SELF, _WIDE),
    "modernbert": (("layers.{}.attn",) * 2, ("layers.{}.mlp",) * 2),
    "gpt2": (("h.{}.attn",) * 2, ("h.{}.mlp",) * 2),
    "gpt-neox": (("layers.{}.attention",) * 2, ("layers.{}.mlp",) * 2),
    "llama": _DECODER,
    "qwen3": _DECODER,
    "gemma2": _DECODER,
    "t5": (
        ("block.{}.layer.0.SelfAttention",) * 2,
        ("block.{}.layer.1.DenseReluDense",) * 2,
    ),
}


@pytest.mark.parametrize("insertion", ["sequential", "parallel"])
@pytest.mark.parametrize("family", HALVES)
def test_adapters_read_what_the_half_of_the_block_reads(
    family: str, insertion: str, lively: Make
) -> None:
    tuning = AdapterTuning(4, sites="both", insertion=insertion, scale=3.0)
    network, model = scatter(build(lively(family), tuning)), private(lively(family))
    anatomy = get_backbone(lively(family)).anatomy
    values = by_method(network.delta())["adapter"]

    def put(path: str, reader: str, giver: str) -> None:
        seen: list[torch.Tensor] = []

        def note(module: nn.Module, args: Any, kwargs: Any) -> None:
            seen[:] = [args[0] if args else kwargs["hidden_states"]]

        def add(module: nn.Module, args: Any, output: Any) -> Any:
            first, *rest = output if isinstance(output, tuple) else (output,)
            changed = adapted(values, path, tuning, seen[0], first)
            return (changed, *rest) if isinstance(output, tuple) else changed

        model.get_submodule(reader).register_forward_pre_hook(note, with_kwargs=True)
        model.get_submodule(giver).register_forward_hook(add)

    for linear in anatomy.linears:
        if linear.role == "output":
            reader, giver = HALVES[family][linear.site == "ffn"]
            put(linear.path, reader.format(linear.block), giver.format(linear.block))
    torch.testing.assert_close(states(network.body), states(model), **EXACT)


def test_inputs_are_recorded_for_each_thread_by_itself() -> None:
    layer = nn.Sequential(nn.Linear(2, 2))
    recorder = InputRecorder(layer, "0")
    here, there = torch.zeros(1, 2), torch.ones(1, 2)
    layer(here)
    with ThreadPoolExecutor(1) as other:
        other.submit(layer, there).result()
        assert other.submit(recorder.last).result() is there
    assert recorder.last() is here
