"""LayerNorm tuning on every architecture family, on tiny random models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import torch
from conftest import save_backbone
from families import HIDDEN, LAYERS, known_families
from networks import batch

from sklearn_lntune import LNTunedTransformerClassifier
from sklearn_lntune.backbone.inspect_model import anatomy_of
from sklearn_lntune.backbone.loading import skeleton
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.inputs.text.table import TokenTable
from sklearn_lntune.network import Batch, Network
from sklearn_lntune.tuning import (
    AdapterTuning,
    BiasTuning,
    LayerNormTuning,
    PrefixTuning,
)
from sklearn_lntune.tuning.base import AttachContext

# family -> site -> norms; biases, and the learnt values of both terms
POST_NORM = {"embedding": 1, "attention": LAYERS, "ffn": LAYERS}
PRE_NORM = {"attention": LAYERS, "ffn": LAYERS, "final": 1}
EXPECTED: dict[str, tuple[dict[str, int], int]] = {
    "bert": (POST_NORM, 2 * 5 * HIDDEN),
    "roberta": (POST_NORM, 2 * 5 * HIDDEN),
    "xlm-roberta": (POST_NORM, 2 * 5 * HIDDEN),
    "distilbert": (POST_NORM, 2 * 5 * HIDDEN),
    "albert": ({"embedding": 1, "attention": 1, "ffn": 1}, 2 * (8 + 2 * HIDDEN)),
    "electra": (POST_NORM, 2 * (8 + 4 * HIDDEN)),
    "mpnet": (POST_NORM, 2 * 5 * HIDDEN),
    "deberta-v2": (POST_NORM | {"embedding": 2}, 2 * 6 * HIDDEN),
    "modernbert": ({"embedding": 1, "attention": 1, "ffn": 2, "final": 1}, 5 * HIDDEN),
    "nomic-bert": (POST_NORM, 2 * 5 * HIDDEN),
    "esm": (POST_NORM | {"final": 1}, 2 * 6 * HIDDEN),
    "gpt2": (PRE_NORM, 2 * 5 * HIDDEN),
    "opt": (PRE_NORM, 2 * 5 * HIDDEN),
    "gpt-neox": (PRE_NORM, 2 * 5 * HIDDEN),
    "llama": (PRE_NORM, 5 * HIDDEN),
    "qwen2": (PRE_NORM, 5 * HIDDEN),
    "qwen3": (PRE_NORM | {"qk": 2 * LAYERS}, 5 * HIDDEN + 4 * 4),
    "gemma2": ({"attention": 2 * LAYERS, "ffn": 2 * LAYERS, "final": 1}, 9 * HIDDEN),
    "mistral": (PRE_NORM, 5 * HIDDEN),
    "t5": (PRE_NORM, 5 * HIDDEN),
    "bart": (POST_NORM, 2 * 5 * HIDDEN),
}
EACH = pytest.mark.parametrize("family", known_families())


def build(folder: Path, n_fits: int = 1, **options: Any) -> Network:
    return networks.build(folder, "layernorm", n_fits, **{"attention": "eager"} | options)


@EACH
def test_norms_have_their_sites_and_layers(family: str, tiny_backbone: Callable[..., Path]) -> None:
    anatomy = get_backbone(tiny_backbone(family)).anatomy
    sites, n_values = EXPECTED[family]
    assert Counter(norm.site for norm in anatomy.norms) == sites
    assert LayerNormTuning().count(anatomy) == n_values
    for norm in anatomy.norms:
        assert (norm.block is None) == (norm.site == "embedding")
        if norm.site == "final":
            assert norm.block == anatomy.n_blocks - 1
        elif norm.block is not None and family != "albert":
            assert f".{norm.block}." in f".{norm.path}"


def table_of(inputs: dict[str, torch.Tensor]) -> TokenTable:
    """The rows of ``inputs`` without their padding."""
    lengths = inputs["attention_mask"].sum(1).numpy()
    tokens = inputs["input_ids"][inputs["attention_mask"] == 1].numpy().astype(np.int32)
    starts = np.cumsum(lengths) - lengths
    return TokenTable(tokens, starts, lengths, np.zeros(len(lengths), bool))


@EACH
def test_gradients_reach_norms_and_head_and_nothing_else(
    family: str, tiny_backbone: Callable[..., Path]
) -> None:
    network = build(tiny_backbone(family))
    network(Batch(batch())).square().sum().backward()
    learnt = {id(p) for p in network.learnt.values()}
    assert all((p.grad is not None) == (id(p) in learnt) for p in network.parameters())
    assert all(p.requires_grad == (id(p) in learnt) for p in network.parameters())
    assert all(weight.grad.abs().sum() > 0 for weight in network.learnt.values())
    paths = {name.split("/")[1] for name in network.learnt if name.startswith("layernorm/")}
    assert paths == {norm.path for norm in get_backbone(tiny_backbone(family)).anatomy.norms}


@EACH
def test_training_leaves_the_frozen_weights_bit_identical(
    family: str,
    tiny_backbone: Callable[..., Path],
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
) -> None:
    backbone = get_backbone(tiny_backbone(family))
    model = backbone.model(torch.float64, torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    clf = tiny_clf(family).fit(texts, labels)
    assert clf.n_steps_ == 10
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    # and the delta did move
    values = build(tiny_backbone(family)).delta()
    assert clf.delta_.keys() == values.keys()
    assert all((clf.delta_[name] != values[name]).any() for name in values)


@EACH
def test_an_untrained_delta_leaves_the_backbone_as_it_is(
    family: str, tiny_backbone: Callable[..., Path]
) -> None:
    network = build(tiny_backbone(family))
    plain = get_backbone(tiny_backbone(family)).model(torch.float64, torch.device("cpu"))
    with torch.no_grad():
        ours = network.body(**batch()).last_hidden_state
        theirs = plain(**batch()).last_hidden_state
    kept = batch()["attention_mask"].bool()
    torch.testing.assert_close(ours[kept], theirs[kept], rtol=0, atol=1e-12)


@EACH
def test_stacked_fits_equal_separate_fits(
    family: str, tiny_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_backbone(family)
    if family == "deberta-v2":
        # Its norm of relative positions sees no rows of the batch, so it cannot be stacked.
        folder = save_backbone(tmp_path, family, norm_rel_ebd="none")
    stacked = build(folder, n_fits=3)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in stacked.learnt.values():
            weight += 0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    inputs = batch(rows=6)
    logits = stacked(Batch(inputs))
    logits.square().sum().backward()
    for fit in range(3):
        single = build(folder)
        single.load_delta({n: w[fit].detach().numpy() for n, w in stacked.learnt.items()})
        rows = slice(2 * fit, 2 * fit + 2)
        own = single(Batch({name: tensor[rows] for name, tensor in inputs.items()}))
        own.square().sum().backward()
        torch.testing.assert_close(own, logits[rows], rtol=0, atol=1e-12)
        for name, weight in single.learnt.items():
            expected = stacked.learnt[name].grad[fit]
            # Gemma's norms compute in float32 whatever they are given.
            tolerance = 1e-5 if family == "gemma2" else 1e-9
            torch.testing.assert_close(weight.grad[0], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("family", "pooling"),
    [*((family, "mean") for family in known_families()), ("bert", "max"), ("gpt2", "last")],
)
def test_filling_up_rows_changes_nothing(
    family: str,
    pooling: str,
    tiny_backbone: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Several families' plain attention has a softmax in float32, Gemma 2's only one has.
    tolerance = 1e-6 if family == "gemma2" else 1e-12
    options = {"pooling": pooling, "attention": "sdpa"}
    table, rows = table_of(batch()), np.arange(4)
    plain = build(tiny_backbone(family), **options)
    expected_logits = plain(plain.batch(table, rows))
    monkeypatch.setattr("sklearn_lntune.backbone.pool.padded_length", lambda n, **_: n + 5)
    filled = build(tiny_backbone(family), **options)
    wide = filled.batch(table, rows)
    assert wide["input_ids"].shape == (4, int(table.lengths.max()) + 5)
    logits = filled(wide)
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=tolerance)
    for each in (expected_logits, logits):
        each.square().sum().backward()
    for name, weight in filled.learnt.items():
        expected = plain.learnt[name].grad
        torch.testing.assert_close(weight.grad, expected, rtol=0, atol=100 * tolerance, msg=name)


def test_rows_are_not_filled_up_beyond_the_positions(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path, max_position_embeddings=63)
    network = build(folder, dtype=torch.bfloat16)
    n_positions = get_backbone(folder).n_positions
    assert n_positions == network.body.embeddings.position_embeddings.num_embeddings
    lengths: list[int] = []
    network.body.register_forward_pre_hook(
        lambda body, args, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    for length in (57, 62, 63):
        network(network.batch(table_of(batch(length=length)), np.arange(4)))
    assert lengths == [58, 62, 63]


@EACH
def test_fit_predicts_and_unpickles_the_same(
    family: str, tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    import pickle

    clf = tiny_clf(family, precision="auto").fit(texts, labels)
    probabilities = clf.predict_proba(texts)
    assert probabilities.shape == (40, 3)
    assert (pickle.loads(pickle.dumps(clf)).predict_proba(texts) == probabilities).all()


@EACH
def test_native_head_trains(
    family: str, tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(family, pooling="native")
    if family in ("t5", "bart"):
        with pytest.raises(ValueError, match="pooling='native' is not possible"):
            clf.fit(texts, labels)
        return
    clf.fit(texts, labels)
    assert clf.embed(texts).shape == (40, HIDDEN)
    assert clf.log_[-1]["train_loss"] < clf.log_[0]["train_loss"]


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gpt-neox"])
@pytest.mark.parametrize("pad_id", [0, 2])  # 2 ends each text
def test_embeds_what_the_native_head_reads(
    family: str, pad_id: int, tmp_path: Path, texts: list[str], labels: list[str]
) -> None:
    folder = save_backbone(tmp_path, family, pad_token_id=pad_id, initializer_range=0.2)
    quick = {"max_epochs": 1, "min_steps": 0, "precision": "float64", "device": "cpu"}
    clf = LNTunedTransformerClassifier(folder, pooling="native", **quick).fit(texts, labels)
    weight = clf.delta_["head/score/weight"]
    np.testing.assert_allclose(clf.embed(texts) @ weight.T, clf.decision_function(texts), atol=1e-9)


@pytest.mark.parametrize(
    ("name", "width", "layers", "count", "share"),
    [("bert-base", 768, 12, 38_400, 0.035), ("bert-large", 1024, 24, 100_352, 0.030)],
)
def test_counts_of_the_paper(name: str, width: int, layers: int, count: int, share: float) -> None:
    from transformers import BertConfig

    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
    )
    anatomy = anatomy_of(skeleton(config))
    assert LayerNormTuning().count(anatomy) == count
    assert round(100 * count / anatomy.n_parameters, 3) == pytest.approx(share)


@pytest.mark.parametrize(
    ("tuning", "count", "share"),
    [
        (BiasTuning(), 246_784, 0.074),
        (PrefixTuning(22), 1_081_344, 0.323),
        (AdapterTuning(22), 1_106_448, 0.330),
    ],
    ids=["bias", "prefix", "adapter"],
)
def test_counts_on_bert_large(tuning: Any, count: int, share: float) -> None:
    from transformers import BertConfig

    from sklearn_lntune.inspection import parameter_report

    large = BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    )
    report = parameter_report(LNTunedTransformerClassifier(tuning=tuning), config=large)
    total = report.iloc[-1]
    assert total["parameters"] == count
    assert total["bytes"] == 4 * count
    assert round(total["share"], 3) == pytest.approx(share)


def test_rms_norms_have_no_bias_to_tune(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str]
) -> None:
    with pytest.raises(ValueError, match="terms='bias'"):
        tiny_clf("llama", tuning=LayerNormTuning(terms="bias")).fit(texts, labels)


def test_the_no_norm_of_mobilebert_is_a_norm() -> None:
    from transformers import MobileBertConfig

    config = MobileBertConfig(num_hidden_layers=2, vocab_size=120)
    anatomy = anatomy_of(skeleton(config))
    assert {norm.site for norm in anatomy.norms} >= {"embedding", "attention", "ffn"}
    network = skeleton(config).to_empty(device="cpu").double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.1)
        for buffer in network.buffers():
            buffer.zero_()
    from sklearn_lntune.backbone.pool import shell_of

    shell = shell_of(network)
    arrays = LayerNormTuning().arrays(anatomy)
    LayerNormTuning().attach(AttachContext(shell, anatomy, 1, torch.Generator()), arrays)
    inputs = batch()
    torch.testing.assert_close(
        shell(**inputs).last_hidden_state, network(**inputs).last_hidden_state, rtol=0, atol=1e-9
    )
