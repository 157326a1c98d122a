"""The fast path against a plain loop over the unmodified model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from sklearn_lntune import LNTunedTransformerClassifier, LNTunedTransformerRegressor
from sklearn_lntune.backbone.pool import get_backbone
from sklearn_lntune.training.rules import lr_factor

#: Of a window, with its two special tokens; and how many tokens neighbours share.
LENGTH, STRIDE = 10, 3


def plain_fit(
    folder: Path,
    texts: list[str],
    loss: Callable[[torch.Tensor, int], torch.Tensor],
    start: dict[str, np.ndarray],
    batches: list[np.ndarray],
    dtype: torch.dtype,
    lr: float,
    joined: str = "mean",
) -> dict[str, np.ndarray]:
    """LN-tuning as one would write it: one text at a time, no padding, no sharing.

    Texts longer than `LENGTH` are cut by hand into windows, which share `STRIDE` tokens. ``loss``
    takes the logits of a text and its number.
    """
    model = AutoModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.requires_grad_(False)
    learnt = {}
    for norm in get_backbone(folder).anatomy.norms:
        module = model.get_submodule(norm.path)
        learnt[f"layernorm/{norm.path}/gain"] = module.weight.requires_grad_()
        learnt[f"layernorm/{norm.path}/bias"] = module.bias.requires_grad_()
    for name in [name for name in start if name.startswith("head/")]:
        learnt[name] = torch.tensor(start[name], dtype=dtype, requires_grad=True)
    decayed = [learnt["head/weight"]]
    others = [value for value in learnt.values() if value is not decayed[0]]
    optimizer = torch.optim.AdamW(
        [{"params": others, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.01}], lr=lr
    )
    for step, rows in enumerate(batches):
        losses = []
        for row in rows:
            first, *tokens, last = tokenizer(texts[row])["input_ids"]
            vectors = []
            for at in range(0, max(len(tokens) - STRIDE, 1), LENGTH - 2 - STRIDE):
                window = [first, *tokens[at : at + LENGTH - 2], last]
                states = model(input_ids=torch.tensor([window])).last_hidden_state[0]
                vectors.append(states.mean(0))
            pooled = torch.stack(vectors)
            if joined == "mean":
                vector = pooled.mean(0)
            elif joined == "max":
                vector = pooled.max(0).values
            else:
                scores = pooled @ learnt["head/query"] / pooled.shape[1] ** 0.5
                vector = scores.softmax(0) @ pooled
            logits = learnt["head/weight"] @ vector + learnt["head/bias"]
            losses.append(loss(logits, row))
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(learnt.values(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr * lr_factor(step, len(batches), 0.1, "linear")
        optimizer.step()
    return {name: value.detach().numpy() for name, value in learnt.items()}


def one_label(labels: list[str]) -> tuple[Any, Any, Any]:
    codes = torch.tensor(np.unique(labels, return_inverse=True)[1])
    made = LNTunedTransformerClassifier
    return made, labels, lambda logits, row: functional.cross_entropy(logits, codes[row])


def several_labels(labels: list[str]) -> tuple[Any, Any, Any]:
    marks = np.stack([np.arange(len(labels)) % 3 == 0, np.arange(len(labels)) % 4 > 1], axis=1)

    def loss(logits: torch.Tensor, row: int) -> torch.Tensor:
        odds = torch.sigmoid(logits)
        return -torch.where(torch.tensor(marks[row]), odds, 1 - odds).log().mean()

    return LNTunedTransformerClassifier, marks, loss


def numbers(labels: list[str]) -> tuple[Any, Any, Any]:
    lengths = np.array([[len(label), 5.0 + row] for row, label in enumerate(labels)])
    standard = torch.tensor((lengths - lengths.mean(0)) / lengths.std(0))

    def loss(outputs: torch.Tensor, row: int) -> torch.Tensor:
        return ((outputs - standard[row].to(outputs.dtype)) ** 2).mean()

    return LNTunedTransformerRegressor, lengths, loss


@pytest.mark.parametrize(
    ("precision", "tolerance", "target", "joined"),
    [
        ("float64", 1e-12, one_label, None),
        ("float32", 1e-4, one_label, None),
        ("float64", 1e-12, several_labels, None),
        ("float64", 1e-12, numbers, None),
        ("float64", 1e-12, one_label, "mean"),
        ("float64", 1e-12, numbers, "max"),
        ("float64", 1e-12, several_labels, "attention"),
        ("float32", 1e-4, one_label, "attention"),
    ],
)
def test_a_fit_equals_a_plain_loop(
    precision: str,
    tolerance: float,
    target: Callable[[list[str]], tuple[Any, Any, Any]],
    joined: str | None,
    tiny_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sklearn_lntune.network import Network
    from sklearn_lntune.training import batches as training_batches

    plan: list[np.ndarray] = []
    start: dict[str, np.ndarray] = {}
    shuffled = training_batches.shuffled_batches

    def recorded(*args: Any) -> list[np.ndarray]:
        batches = shuffled(*args)
        plan.extend(batches)
        return batches

    made = Network.__init__

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        start.update(self.delta())

    monkeypatch.setattr(training_batches, "shuffled_batches", recorded)
    monkeypatch.setattr(Network, "__init__", noted)
    windows: dict[str, Any] = {}
    if joined is not None:
        # Two to five in a row; one text alone exceeds what may run at once.
        texts = [" ".join(texts[i : i + 2]) for i in range(22)] + [" ".join(texts[:24])]
        labels = labels[: len(texts)]
        windows = {"long_texts": "windows", "window_pooling": joined}
        windows |= {"max_length": LENGTH, "stride": STRIDE}
    estimator, y, loss = target(labels)
    clf = estimator(
        tiny_backbone(),
        precision=precision,
        device="cpu",
        dropout=0.0,
        batch_size=8,
        max_epochs=3,
        min_steps=0,
        random_state=0,
        lr=3e-3,
        head_lr=3e-3,
        **windows,
    ).fit(texts, y)
    dtype = getattr(torch, precision)
    expected = plain_fit(tiny_backbone(), texts, loss, start, plan, dtype, 3e-3, joined or "mean")
    assert clf.delta_.keys() == expected.keys()
    for name, values in clf.delta_.items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_gradients_equal_those_of_the_plain_model(
    precision: str, tolerance: float, tiny_backbone: Callable[..., Path], texts: list[str]
) -> None:
    from sklearn_lntune.network import Network
    from sklearn_lntune.tuning import LayerNormTuning

    dtype = getattr(torch, precision)
    backbone = get_backbone(tiny_backbone())
    network = Network(
        backbone,
        (LayerNormTuning(),),
        "mean",
        3,
        dtype=dtype,
        device=torch.device("cpu"),
        attention="sdpa",
        generator=torch.Generator().manual_seed(0),
    )
    table = backbone.tokens.table(texts[:8], 64)
    batch = network.batch(table, np.arange(8))
    inputs = batch.inputs
    network(batch).logsumexp(1).sum().backward()

    model = AutoModel.from_pretrained(tiny_backbone(), dtype=dtype).eval()
    total = torch.zeros((), dtype=dtype)
    head = {name: weight.detach()[0] for name, weight in network.learnt.items()}
    for row in range(8):
        ids = inputs["input_ids"][row][inputs["attention_mask"][row] == 1]
        pooled = model(input_ids=ids[None]).last_hidden_state[0].mean(0)
        total = total + (head["head/weight"] @ pooled + head["head/bias"]).logsumexp(0)
    total.backward()
    for norm in backbone.anatomy.norms:
        module = model.get_submodule(norm.path)
        for term, weight in (("gain", module.weight), ("bias", module.bias)):
            found = network.learnt[f"layernorm/{norm.path}/{term}"].grad[0]
            torch.testing.assert_close(found, weight.grad, rtol=tolerance, atol=tolerance)
