"""Every tuning method on every architecture of images, on tiny random models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import torch
from networks import CPU, EXACT, by_method, descend, scatter
from torch import nn
from vision import FAMILIES, HIDDEN, LAYERS, N_PATCHES, image_clf, kinds, pictures

from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.backbone.pooling_and_length import resolve_max_length, resolve_pooling
from sklearn_lntune.inputs.base import Rows
from sklearn_lntune.inputs.image.check import check_images
from sklearn_lntune.network import Batch, Network
from sklearn_lntune.tuning import FullTuning, LoraTuning
from sklearn_lntune.tuning.lora import TARGETS

EACH = pytest.mark.parametrize("family", FAMILIES)
PRE_NORM = {"attention": LAYERS, "ffn": LAYERS, "final": 1}
NORMS = {
    "vit": PRE_NORM,
    "deit": PRE_NORM,
    "dinov2": PRE_NORM,
    "beit": PRE_NORM,
    "clip": PRE_NORM | {"embedding": 1},
    "siglip": PRE_NORM | {"final": 2},
}
METHODS = {name: method() for name, method in networks.built_in_methods().items()} | {
    "lora": LoraTuning(2, targets=tuple(TARGETS))
}


def build(folder: Path, tuning: Any = "layernorm", n_fits: int = 1, **options: Any) -> Network:
    pooling = resolve_pooling(get_backbone(folder), "auto")
    return networks.build(folder, tuning, n_fits, **{"pooling": pooling} | options)


def inputs_of(folder: Path, n: int = 4) -> dict[str, torch.Tensor]:
    table = get_backbone(folder).table_maker.table(Rows(check_images(pictures(n))), 1)
    return {"pixel_values": torch.from_numpy(table.collate(np.arange(n))["pixel_values"]).double()}


def plain(folder: Path) -> nn.Module:
    """The frozen model; its plain attention has a softmax in float32."""
    return get_backbone(folder).shell(torch.float64, CPU, "sdpa")


@EACH
def test_the_anatomy_has_all_sites(family: str, image_backbone: Callable[..., Path]) -> None:
    anatomy = get_backbone(image_backbone(family)).anatomy
    assert Counter(norm.site for norm in anatomy.norms) == NORMS[family]
    assert anatomy.n_blocks == LAYERS == len(anatomy.attentions)
    assert Counter((each.site, each.role) for each in anatomy.linears) == {
        ("attention", "query"): LAYERS,
        ("attention", "key"): LAYERS,
        ("attention", "value"): LAYERS,
        ("attention", "output"): LAYERS,
        ("ffn", "input"): LAYERS,
        ("ffn", "output"): LAYERS,
    }
    assert all(each.reads_interface and each.n_turned == 0 for each in anatomy.attentions)


@EACH
def test_pooling_and_length_are_those_of_the_architecture(
    family: str, image_backbone: Callable[..., Path]
) -> None:
    *_, pooling, n_added = FAMILIES[family]
    backbone = get_backbone(image_backbone(family))
    assert backbone.takes_images
    assert backbone.grid is not None
    assert backbone.grid.n_added == n_added
    assert resolve_pooling(backbone, "auto") == pooling
    assert resolve_max_length(backbone, "auto") == N_PATCHES
    assert resolve_max_length(backbone, N_PATCHES) == N_PATCHES
    with pytest.raises(ValueError, match="4 patches .* images are not cut"):
        resolve_max_length(backbone, N_PATCHES - 1)
    with pytest.raises(ValueError, match="pooling='last' is for texts"):
        resolve_pooling(backbone, "last")
    if not n_added:
        with pytest.raises(ValueError, match="no class token"):
            resolve_pooling(backbone, "cls")


@pytest.mark.parametrize("method", METHODS)
@EACH
def test_a_method_starts_as_the_frozen_model_and_trains_what_it_declares(
    family: str, method: str, image_backbone: Callable[..., Path]
) -> None:
    folder = image_backbone(family)
    network = build(folder, METHODS[method])
    inputs = inputs_of(folder)
    with torch.no_grad():
        output = plain(folder)(**inputs)
        expected = output.pooler_output if network.pooling == "pooler" else None
        expected = output.last_hidden_state[:, 0] if expected is None else expected
        if method not in ("prefix", "head"):
            torch.testing.assert_close(network.pool(Batch(inputs)), expected, **EXACT)
    descend(scatter(network)(Batch(inputs)))
    learnt = {id(weight) for weight in network.learnt.values()}
    unused = ("mask_token",) if isinstance(METHODS[method], FullTuning) else ()
    for name, weight in network.named_parameters():
        if id(weight) in learnt and not name.endswith(unused):
            assert weight.grad is not None, name
            assert weight.grad.abs().sum() > 0, name
        else:
            assert weight.grad is None, name


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if not each.private])
@EACH
def test_stacked_fits_equal_separate_fits(
    family: str, method: str, image_backbone: Callable[..., Path]
) -> None:
    folder = image_backbone(family)
    stacked, inputs = scatter(build(folder, METHODS[method], 3)), inputs_of(folder, 6)
    logits = stacked(Batch(inputs))
    weights = torch.linspace(-1, 1, logits.numel(), dtype=torch.float64).view_as(logits)
    torch.autograd.backward(logits, weights)
    for fit in range(3):
        single, rows = build(folder, METHODS[method]), slice(2 * fit, 2 * fit + 2)
        single.load_delta({key: w[fit].detach().numpy() for key, w in stacked.learnt.items()})
        own = single(Batch({key: tensor[rows] for key, tensor in inputs.items()}))
        torch.autograd.backward(own, weights[rows])
        torch.testing.assert_close(own, logits[rows], **EXACT)
        for key, weight in single.learnt.items():
            expected = stacked.learnt[key].grad
            assert expected is not None
            torch.testing.assert_close(weight.grad[0], expected[fit], rtol=1e-10, atol=1e-10)


@EACH
def test_mean_and_max_are_over_patches(family: str, image_backbone: Callable[..., Path]) -> None:
    folder, inputs = image_backbone(family), inputs_of(image_backbone(family))
    n_added = FAMILIES[family][4]
    with torch.no_grad():
        states = plain(folder)(**inputs).last_hidden_state[:, n_added:]
        assert states.shape[1] == N_PATCHES
        for pooling, expected in (("mean", states.mean(1)), ("max", states.amax(1))):
            found = build(folder, "layernorm", pooling=pooling).pool(Batch(inputs))
            torch.testing.assert_close(found, expected, **EXACT)


@EACH
def test_without_the_pooler_nothing_of_it_is_learnt(
    family: str, image_backbone: Callable[..., Path]
) -> None:
    folder = image_backbone(family)
    network = build(folder, "layernorm+bias", pooling="mean")
    descend(scatter(network)(Batch(inputs_of(folder))))
    assert all(weight.grad is not None for weight in network.learnt.values())


@EACH
def test_a_fit_on_upper_blocks_uses_cached_activations(
    family: str, image_backbone: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sklearn_lntune.network.network as module

    folder, X, y = image_backbone(family), pictures(), kinds()
    used: list[bool] = []
    enter = Network.enter_at
    monkeypatch.setattr(Network, "enter_at", lambda *args: used.append(enter(*args)) or used[-1])
    clf = image_clf(folder, tuning=networks_layers(1)).fit(X, y)
    assert used == [True]
    monkeypatch.setattr(module.Network, "enter_at", lambda *args: False)
    slow = image_clf(folder, tuning=networks_layers(1)).fit(X, y)
    for name, value in clf.delta_.items():
        np.testing.assert_allclose(value, slow.delta_[name], rtol=0, atol=1e-9, err_msg=name)


def networks_layers(k: int) -> Any:
    from sklearn_lntune.tuning import LayerNormTuning

    return LayerNormTuning(layers=k)


@EACH
def test_a_fit_leaves_the_frozen_weights_and_learns(
    family: str, image_backbone: Callable[..., Path]
) -> None:
    folder = image_backbone(family)
    before = {name: tensor.clone() for name, tensor in plain(folder).state_dict().items()}
    clf = image_clf(folder, max_epochs=8, lr=0.02, head_lr=0.02).fit(pictures(), kinds())
    for name, tensor in plain(folder).state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert clf.pooling_ == FAMILIES[family][3]
    assert clf.max_length_ == N_PATCHES
    assert clf.embed(pictures()).shape == (24, HIDDEN)
    assert clf.score(pictures(), kinds()) > 0.8
    assert by_method(clf.delta_).keys() == {"layernorm", "head"}
