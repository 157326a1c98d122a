"""Adapters in peft's form: the same logits in peft and transformers, and back."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch
from conftest import WORDS, moved, save_backbone, save_tokenizer
from families import known_families, tiny_config
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from sklearn_lntune import DamagedFileError, LNTunedTransformerClassifier, load
from sklearn_lntune.exchange.peft_form import base_prefix
from sklearn_lntune.tuning import AdapterTuning, LayerNormTuning, LoraTuning, PrefixTuning
from sklearn_lntune.tuning.lora import TARGETS
from sklearn_lntune.tuning.registry import methods_of

Fitted = Callable[..., LNTunedTransformerClassifier]
Export = Callable[[str, str], tuple[LNTunedTransformerClassifier, Path]]

# What peft says of its own ways: merging LN tuning on RMSNorm, GPT-2's turned matrices.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

CLASSES = ["blue", "green", "red"]
#: Encoder-decoder models have no head of their own here.
NATIVE = [family for family in known_families() if family not in ("t5", "bart")]
TUNINGS: dict[str, Any] = {
    "layernorm": "layernorm",
    "lora": "lora",
    "both": "layernorm+lora",
    "top-gains": LayerNormTuning(terms="gain", sites="attention", layers=1),
    "all-targets": LoraTuning(4, alpha=3, targets=tuple(TARGETS)),
}
#: One of each kind of anatomy; the others are tried with two tunings.
IN_FULL = {
    *("bert", "roberta", "distilbert", "albert", "deberta-v2"),
    *("modernbert", "nomic-bert", "gpt2", "llama"),
}
EACH = pytest.mark.parametrize(
    ("family", "tuning"),
    # ALBERT's layers share one block, so there is no top one.
    [
        (family, tuning)
        for family in NATIVE
        for tuning in TUNINGS
        if (family in IN_FULL or tuning in ("layernorm", "all-targets"))
        and (family, tuning) != ("albert", "top-gains")
    ],
)


@pytest.fixture(scope="module")
def fitted(lively_backbone: Callable[..., Path], texts: list[str], labels: list[str]) -> Fitted:
    """``fitted(backbone, **params)``: fitted on a few texts, then moved far from its start."""

    def fit(backbone: str | Path = "bert", **params: Any) -> LNTunedTransformerClassifier:
        folder = backbone if isinstance(backbone, Path) else lively_backbone(backbone)
        fixed: dict[str, Any] = {"max_epochs": 1, "min_steps": 0, "random_state": 0}
        fixed |= {"precision": "float32", "device": "cpu", "pooling": "native"}
        clf = LNTunedTransformerClassifier(folder, **fixed | params)
        return moved(clf.fit(texts[:8], labels[:8]))

    return fit


@pytest.fixture(scope="module")
def export(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """``export(family, tuning)``: a classifier and its adapter, made once."""
    made: dict[tuple[str, str], tuple[LNTunedTransformerClassifier, Path]] = {}

    def make(family: str, tuning: str) -> tuple[LNTunedTransformerClassifier, Path]:
        if (family, tuning) not in made:
            clf = fitted(family, tuning=TUNINGS[tuning])
            folder = tmp_path_factory.mktemp("adapter") / "of" / "it"
            clf.export_peft(folder)
            made[family, tuning] = clf, folder
        return made[family, tuning]

    return make


def base_model(backbone: Any, n_classes: int = 3, dtype: Any = torch.float32) -> Any:
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=n_classes, dtype=dtype
    )
    return able_to_pad(model)


def able_to_pad(model: Any) -> Any:
    """GPT-2 and its kin have no padding token; without one they refuse batches."""
    if model.config.pad_token_id is None:
        model.config.pad_token_id = 0
    return model


def through_peft(backbone: Any, adapter: Path) -> Any:
    return peft.PeftModel.from_pretrained(base_model(backbone), adapter)


def through_auto_class(backbone: Any, adapter: Path) -> Any:
    auto = peft.AutoPeftModelForSequenceClassification
    return able_to_pad(auto.from_pretrained(adapter, num_labels=3))


def through_transformers(backbone: Any, adapter: Path) -> Any:
    model = base_model(backbone)
    model.load_adapter(str(adapter))
    return model


def logits(model: Any, backbone: Any, texts: list[str]) -> np.ndarray:
    """What ``model`` gives, fed by hand."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(backbone)
    tokens = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        found: np.ndarray = model.eval()(**tokens).logits.float().numpy()
    return found


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * scale)


def edited(adapter: Path, folder: Path, **changes: Any) -> Path:
    """A copy of ``adapter`` with another configuration."""
    shutil.copytree(adapter, folder)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")
    return folder


# -- out -------------------------------------------------------------------------------


#: peft computes with each adapter; the other readers find the weights that it then fills.
READERS = [
    *((family, tuning, through_peft) for family, tuning in EACH.args[1]),
    *((family, "layernorm", through_transformers) for family in NATIVE),
    *((family, "both", through_transformers) for family in sorted(IN_FULL)),
    *((family, "both", through_auto_class) for family in ("bert", "modernbert", "gpt2", "llama")),
]


@pytest.mark.parametrize(("family", "tuning", "read"), READERS)
def test_every_reader_computes_the_same_logits(
    family: str, tuning: str, read: Callable[..., Any], export: Export, texts: list[str]
) -> None:
    clf, folder = export(family, tuning)
    found = logits(read(clf.backbone, folder), clf.backbone, texts)
    assert_same(found, clf.decision_function(texts))


@pytest.mark.parametrize("tuning", TUNINGS)
def test_the_logits_compared_depend_on_text_and_delta(
    tuning: str, export: Export, texts: list[str]
) -> None:
    clf, _ = export("bert", tuning)
    expected = clf.decision_function(texts)
    assert expected.std(axis=0).min() > 1e-2
    halved = copy.copy(clf)
    halved.delta_ = {
        name: value if name.startswith("head/") else value / 2 for name, value in clf.delta_.items()
    }
    assert np.abs(halved.decision_function(texts) - expected).max() > 1e-2


def test_a_folder_holds_configuration_and_safetensors_and_nothing_else(export: Export) -> None:
    _, folder = export("bert", "both")
    names = {file.name for file in folder.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}


def test_a_fit_in_float64_is_exported_as_well(
    fitted: Fitted, tmp_path: Path, texts: list[str]
) -> None:
    clf = fitted(tuning="layernorm+lora", precision="float64")
    clf.export_peft(tmp_path)
    assert_same(
        logits(through_peft(clf.backbone, tmp_path), clf.backbone, texts),
        clf.decision_function(texts),
    )


@pytest.mark.parametrize("tuning", ["layernorm", "lora"])
def test_a_pooler_that_the_checkpoint_lacks_goes_along(
    tuning: str, fitted: Fitted, tmp_path: Path, texts: list[str]
) -> None:
    backbone = tmp_path / "masked-lm"  # checkpoints of this class have no pooler
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForMaskedLM.from_config(tiny_config("bert")).save_pretrained(backbone)
    save_tokenizer(backbone)
    clf = fitted(backbone, tuning=tuning)
    clf.export_peft(tmp_path / "adapter")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = through_peft(backbone, tmp_path / "adapter")
    assert_same(logits(model, backbone, texts), clf.decision_function(texts))
    back = LNTunedTransformerClassifier.from_peft(tmp_path / "adapter", CLASSES)
    assert_same(back.decision_function(texts), clf.decision_function(texts))


# -- prefixes --------------------------------------------------------------------------


@pytest.mark.parametrize("read", [through_peft, through_auto_class])
@pytest.mark.parametrize("family", ["gpt-neox", "llama", "qwen2", "qwen3"])
def test_a_prefix_is_the_same_where_positions_only_turn(
    family: str, read: Callable[..., Any], fitted: Fitted, tmp_path: Path, texts: list[str]
) -> None:
    clf = fitted(family, tuning=PrefixTuning(4))
    clf.export_peft(tmp_path)
    long = [*texts[:3], " ".join(WORDS)]
    found = logits(read(clf.backbone, tmp_path), clf.backbone, long)
    assert_same(found, clf.decision_function(long))


def test_a_projected_prefix_is_exported_as_it_was_folded(
    fitted: Fitted, tmp_path: Path, texts: list[str]
) -> None:
    clf = fitted("llama", tuning=PrefixTuning(4, projection=8))
    clf.export_peft(tmp_path)
    model = through_peft(clf.backbone, tmp_path)
    assert_same(logits(model, clf.backbone, texts), clf.decision_function(texts))


@pytest.mark.parametrize(
    ("family", "tuning"),
    [
        ("bert", PrefixTuning(4)),
        ("distilbert", PrefixTuning(4)),
        ("deberta-v2", PrefixTuning(4)),
        ("modernbert", PrefixTuning(4)),
        ("gpt2", PrefixTuning(4)),
        ("llama", PrefixTuning(4, layers=1)),
    ],
)
def test_other_prefixes_are_refused(
    family: str, tuning: PrefixTuning, fitted: Fitted, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"no peft prefix.*save\(\).*'layernorm' and 'lora'"):
        fitted(family, tuning=tuning).export_peft(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_a_prefix_that_would_slide_out_of_a_window_is_refused(
    fitted: Fitted, tmp_path: Path
) -> None:
    # Long enough for a short text, too short for max_length.
    backbone = save_backbone(tmp_path / "backbone", "mistral", sliding_window=24)
    clf = fitted(backbone, tuning=PrefixTuning(4))
    with pytest.raises(ValueError, match=r"no peft prefix computes the same"):
        clf.export_peft(tmp_path / "adapter")


# -- what has no adapter ---------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
def test_other_poolings_are_refused(pooling: str, fitted: Fitted, tmp_path: Path) -> None:
    clf = fitted(pooling=pooling)
    with pytest.raises(ValueError, match=rf"pooling='{pooling}'.*Fit with pooling='native'.*save"):
        clf.export_peft(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize(
    "tuning",
    ["head", "bias", "full", AdapterTuning(4), "layernorm+bias", "layernorm+prefix", "lora+prefix"],
    ids=str,
)
def test_other_tunings_are_refused(tuning: Any, fitted: Fitted, tmp_path: Path) -> None:
    clf = fitted(tuning=tuning)
    with pytest.raises(ValueError, match=r"no adapter for tuning=.*'layernorm\+lora'.*save\(\)"):
        clf.export_peft(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


# -- back ------------------------------------------------------------------------------


@EACH
def test_from_peft_gives_the_classifier_back(
    family: str, tuning: str, export: Export, texts: list[str]
) -> None:
    clf, folder = export(family, tuning)
    back = LNTunedTransformerClassifier.from_peft(folder, CLASSES, precision="float32")
    np.testing.assert_allclose(back.predict_proba(texts), clf.predict_proba(texts), atol=1e-6)
    assert back.predict(texts).tolist() == clf.predict(texts).tolist()
    assert back.backbone_ == clf.backbone_
    assert (back.pooling_, back.max_length_) == (clf.pooling_, clf.max_length_)
    assert all((back.delta_[name] == value).all() for name, value in clf.delta_.items())


@pytest.mark.parametrize(
    "tuning",
    [
        LayerNormTuning(),
        LayerNormTuning(sites=("attention",), layers=[1]),
        LoraTuning(4, alpha=3.0, targets=("query", "ffn.input"), layers=[0]),
        LayerNormTuning(sites=("ffn",)) + LoraTuning(2, alpha=5.0),
    ],
    ids=str,
)
def test_the_tuning_comes_back_too(tuning: Any, fitted: Fitted, tmp_path: Path) -> None:
    clf = fitted(tuning=tuning)
    clf.export_peft(tmp_path / "first")
    back = LNTunedTransformerClassifier.from_peft(tmp_path / "first", CLASSES)
    assert repr(methods_of(back.tuning)) == repr(methods_of(tuning))
    assert back.tuning_ == clf.tuning_
    back.export_peft(tmp_path / "second")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_it_is_a_classifier_like_any_other(
    export: Export, tmp_path: Path, texts: list[str], labels: list[str]
) -> None:
    import sklearn_lntune

    _, folder = export("bert", "both")
    back = LNTunedTransformerClassifier.from_peft(folder, CLASSES, batch_size=8, random_state=0)
    assert (back.n_features_in_, back.batch_size) == (1, 8)
    back.save(tmp_path / "clf.zip")
    loaded = sklearn_lntune.load(tmp_path / "clf.zip")
    assert (loaded.predict_proba(texts) == back.predict_proba(texts)).all()
    assert back.partial_fit(texts, labels).n_steps_ == 5


@pytest.mark.parametrize("family", ["bert", "gpt2", "deberta-v2"])
@pytest.mark.parametrize("order", [["red", "blue", "green"], [True, False, 3], [7, 2, 5]], ids=str)
def test_classes_are_the_labels_of_the_outputs_in_any_order(
    family: str, order: list[Any], export: Export, texts: list[str]
) -> None:
    clf, folder = export(family, "layernorm")
    expected = clf.decision_function(texts)
    back = LNTunedTransformerClassifier.from_peft(folder, order, precision="float32")
    assert back.classes_.tolist() == sorted(order)
    for place, label in enumerate(order):
        column = back.decision_function(texts)[:, back.classes_.tolist().index(label)]
        np.testing.assert_allclose(column, expected[:, place], rtol=0, atol=1e-6)
    named = [order[each] for each in expected.argmax(axis=1)]
    assert back.predict(texts).tolist() == named


def test_without_classes_outputs_are_numbered(export: Export, texts: list[str]) -> None:
    clf, folder = export("bert", "lora")
    back = LNTunedTransformerClassifier.from_peft(folder, precision="float32")
    assert back.classes_.tolist() == [0, 1, 2]
    assert back.predict(texts).tolist() == clf.decision_function(texts).argmax(axis=1).tolist()


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "b"], list("abcd")], ids="".join)
def test_classes_that_do_not_fit_the_outputs_are_an_error(
    classes: list[str], export: Export
) -> None:
    with pytest.raises(ValueError, match="classes must name the 3 outputs"):
        LNTunedTransformerClassifier.from_peft(export("bert", "lora")[1], classes)


@pytest.mark.parametrize("n_classes", [2, 20])
def test_any_number_of_classes_comes_back(
    n_classes: int, fitted: Fitted, tmp_path: Path, texts: list[str]
) -> None:
    # 20 are more than the hidden size, so than the rows of the head's first matrix.
    clf = fitted("roberta")
    names = [f"{place:02}" for place in range(n_classes)]
    clf.fit(texts, [names[place % n_classes] for place in range(40)])
    clf.export_peft(tmp_path)
    back = LNTunedTransformerClassifier.from_peft(tmp_path, names, precision="float32")
    assert_same(back.decision_function(texts), clf.decision_function(texts))


def test_the_backbone_may_be_elsewhere(export: Export, tmp_path: Path, texts: list[str]) -> None:
    clf, folder = export("bert", "lora")
    moved = Path(shutil.copytree(clf.backbone, tmp_path / "moved"))
    gone = edited(folder, tmp_path / "adapter", base_model_name_or_path="gone", revision="v1")
    with pytest.raises(ValueError, match="'gone'"):
        LNTunedTransformerClassifier.from_peft(gone, CLASSES)
    back = LNTunedTransformerClassifier.from_peft(
        gone, CLASSES, backbone=moved, precision="float32"
    )
    assert (back.backbone, back.revision) == (moved, None)
    assert (back.predict_proba(texts) == clf.predict_proba(texts)).all()


def test_an_adapter_has_no_windows(export: Export) -> None:
    _, folder = export("bert", "lora")
    with pytest.raises(ValueError, match="long_texts='windows': the head of a peft adapter"):
        LNTunedTransformerClassifier.from_peft(folder, long_texts="windows")


def test_an_adapter_of_another_backbone_is_refused(
    export: Export, tmp_path: Path, lively_backbone: Callable[..., Path]
) -> None:
    _, folder = export("bert", "lora")
    wider = save_backbone(tmp_path, hidden_size=32)
    with pytest.raises(ValueError, match="belongs to another model"):
        LNTunedTransformerClassifier.from_peft(folder, CLASSES, backbone=wider)
    with pytest.raises(ValueError, match="belongs to another"):
        LNTunedTransformerClassifier.from_peft(folder, CLASSES, backbone=lively_backbone("roberta"))


# -- what peft wrote -------------------------------------------------------------------


def write_with_peft(folder: Path, backbone: Path, config: Any, **options: Any) -> Path:
    """An adapter with random values, written by peft itself; no training."""
    model = peft.get_peft_model(base_model(backbone, **options), config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.2 * torch.randn(weight.shape, generator=generator).to(weight)
    model.save_pretrained(str(folder))
    return folder


def lora(**options: Any) -> Any:
    return peft.LoraConfig(task_type="SEQ_CLS", **{"r": 4, "lora_alpha": 6, **options})


def ln(**options: Any) -> Any:
    return peft.LNTuningConfig(task_type="SEQ_CLS", **options)


WRITTEN: dict[str, tuple[str, Any, str]] = {
    "lora": ("bert", lora(), "LoraTuning(alpha=6.0, rank=4)"),
    "rank-stabilised": ("bert", lora(use_rslora=True), "LoraTuning(alpha=12.0, rank=4)"),
    "gaussian": ("bert", lora(init_lora_weights="gaussian"), "LoraTuning(alpha=6.0, rank=4)"),
    "dropout": ("bert", lora(lora_dropout=0.1), "LoraTuning(alpha=6.0, rank=4)"),
    "one-layer": (
        "bert",
        lora(target_modules=["query", "value"], layers_to_transform=[1]),
        "LoraTuning(alpha=6.0, layers=[1], rank=4)",
    ),
    "feed-forward": (
        "distilbert",
        lora(target_modules=["lin1", "lin2"]),
        "LoraTuning(alpha=6.0, rank=4, targets=('ffn.input', 'ffn.output'))",
    ),
    "conv1d": (
        "gpt2",
        lora(fan_in_fan_out=True),
        "LoraTuning(alpha=6.0, rank=4, targets=('query', 'key', 'value'))",
    ),
    "lora-and-norms": (
        "roberta",
        lora(modules_to_save=["classifier", "LayerNorm"]),
        "LayerNormTuning() + LoraTuning(alpha=6.0, rank=4)",
    ),
    "norms": ("bert", ln(target_modules=["LayerNorm"]), "LayerNormTuning()"),
    "feed-forward-norms": (
        "gpt2",
        ln(target_modules=["ln_2"]),
        "LayerNormTuning(sites=('ffn',))",
    ),
    "rms-norms": ("llama", ln(), "LayerNormTuning()"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_adapters_written_by_peft_are_read(
    name: str, lively_backbone: Callable[..., Path], tmp_path: Path, texts: list[str]
) -> None:
    family, config, tuning = WRITTEN[name]
    backbone = lively_backbone(family)
    folder = write_with_peft(tmp_path / "adapter", backbone, config)
    back = LNTunedTransformerClassifier.from_peft(folder, precision="float32")
    assert repr(back.tuning) == tuning
    expected = logits(through_peft(backbone, folder), backbone, texts)
    assert_same(back.decision_function(texts), expected)


@pytest.mark.parametrize(
    "config", [lora(), ln(target_modules=["LayerNorm"])], ids=["lora", "layernorm"]
)
def test_adapters_in_bfloat16_are_read(
    config: Any, lively_backbone: Callable[..., Path], tmp_path: Path, texts: list[str]
) -> None:
    backbone = lively_backbone()
    folder = write_with_peft(tmp_path / "adapter", backbone, config, dtype=torch.bfloat16)
    back = LNTunedTransformerClassifier.from_peft(folder, precision="float32")
    # peft, too, widens them for a base in float32
    expected = logits(through_peft(backbone, folder), backbone, texts)
    assert_same(back.decision_function(texts), expected)


UNREADABLE: dict[str, tuple[Any, str]] = {
    "prefix": (
        peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4),
        "a PREFIX_TUNING adapter cannot be read",
    ),
    "ia3": (peft.IA3Config(task_type="SEQ_CLS"), "a IA3 adapter cannot be read"),
    "dora": (lora(use_dora=True), r"LORA adapter with \['use_dora'\] cannot be read"),
    "bias": (lora(bias="all"), r"LORA adapter with \['bias'\] cannot be read"),
    "rank-pattern": (lora(rank_pattern={"query": 2}), r"\['rank_pattern'\] cannot be read"),
    "alpha-pattern": (lora(alpha_pattern={"query": 2}), r"\['alpha_pattern'\] cannot be read"),
    # These two change the backbone's own matrices as well.
    "pissa": (lora(init_lora_weights="pissa"), "init_lora_weights"),
    "olora": (lora(init_lora_weights="olora"), "init_lora_weights"),
    "embeddings": (
        lora(modules_to_save=["classifier", "word_embeddings"]),
        "'embeddings.word_embeddings.weight' is nothing",
    ),
    "pooler": (lora(target_modules="all-linear"), "choice of linear layers has no form"),
    "one-here-one-there": (
        lora(target_modules=["layer.0.attention.self.value", "layer.1.attention.self.query"]),
        "choice of linear layers has no form",
    ),
    "one-norm-of-two": (
        ln(target_modules=["layer.0.attention.output.LayerNorm", "layer.1.output.LayerNorm"]),
        "choice of norms has no form",
    ),
    "no-head": (
        peft.LoraConfig(task_type="FEATURE_EXTRACTION"),
        "no classification head",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_has_no_form_here_is_refused_by_name(
    name: str, lively_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    config, message = UNREADABLE[name]
    folder = write_with_peft(tmp_path / "adapter", lively_backbone(), config)
    with pytest.raises(ValueError, match=message):
        LNTunedTransformerClassifier.from_peft(folder)


@pytest.mark.parametrize(
    "setting",
    [
        {"lora_bias": True},
        {"use_qalora": True},
        {"layer_replication": [[0, 2], [1, 2]]},
        {"target_parameters": ["weight"]},
        {"trainable_token_indices": [3]},
        {"alora_invocation_tokens": [3]},
        {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "loftq"},
    ],
    ids=lambda setting: "-".join(map(str, next(iter(setting.items())))),
)
def test_settings_with_another_arithmetic_are_refused_by_name(
    setting: dict[str, Any], export: Export, tmp_path: Path
) -> None:
    folder = edited(export("bert", "lora")[1], tmp_path / "adapter", **setting)
    with pytest.raises(ValueError, match=next(iter(setting))):
        LNTunedTransformerClassifier.from_peft(folder)


def test_a_regression_head_is_refused(lively_backbone: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_with_peft(tmp_path / "adapter", lively_backbone(), lora(), n_classes=1)
    with pytest.raises(ValueError, match="output"):
        LNTunedTransformerClassifier.from_peft(folder)


def test_a_folder_that_is_no_adapter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no adapter_config\.json"):
        LNTunedTransformerClassifier.from_peft(tmp_path)


def test_a_pickle_of_weights_is_refused(export: Export, tmp_path: Path) -> None:
    folder = edited(export("bert", "lora")[1], tmp_path / "adapter")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        LNTunedTransformerClassifier.from_peft(folder)


SETTINGS: list[dict[str, Any]] = [
    *({"r": value} for value in ("4", 0, -4, 4.0, True, None, [], 5, 10**9)),
    *({"lora_alpha": value} for value in ("6", 0, -6, None, [], {}, True)),
    *({"base_model_name_or_path": value} for value in (5, [], {"a": 1}, True)),
    *({"revision": value} for value in (5, [])),
    *({"use_rslora": value} for value in ("yes", 1, [])),
    *({"peft_type": value} for value in (5, [], {}, None, "", "lora")),
    {"init_lora_weights": [1]},
    {"init_lora_weights": {"a": 1}},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_settings_of_another_kind_are_refused(
    setting: dict[str, Any], export: Export, tmp_path: Path
) -> None:
    folder = edited(export("bert", "lora")[1], tmp_path / "adapter", **setting)
    with pytest.raises(ValueError, match=next(iter(setting)).partition("_")[0] + "|rank|another"):
        LNTunedTransformerClassifier.from_peft(folder, CLASSES)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '{"r": NaN}', '{"r": 1, "r": 2}', "[" * 50_000, b"\xff\xfe{}"],
    ids=lambda text: repr(text)[:12],
)
def test_a_configuration_that_is_no_object_is_refused(
    text: str | bytes, export: Export, tmp_path: Path
) -> None:
    folder = edited(export("bert", "lora")[1], tmp_path / "adapter")
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "adapter_config.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"adapter_config\.json"):
        LNTunedTransformerClassifier.from_peft(folder, CLASSES)


WEIGHTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda content: b"",
    "too little": lambda content: b"abc",
    "pointer": lambda content: (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    ),
    "page": lambda content: b"<!DOCTYPE html><html></html>",
    "cut": lambda content: content[: len(content) // 2],
    "endless header": lambda content: (2**62).to_bytes(8, "little") + content[8:],
}


@pytest.mark.parametrize("change", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_none_are_refused(
    change: Callable[[bytes], bytes], export: Export, tmp_path: Path
) -> None:
    folder = edited(export("bert", "lora")[1], tmp_path / "adapter")
    file = folder / "adapter_model.safetensors"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(DamagedFileError, match=r"adapter_model\.safetensors holds no weights"):
        LNTunedTransformerClassifier.from_peft(folder, CLASSES)


Tensors = dict[str, torch.Tensor]


def each(part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {
        name: change(tensor).contiguous() if part in name else tensor
        for name, tensor in tensors.items()
    }


TENSORS: dict[str, Callable[[Tensors], Tensors]] = {
    "not a number": each("lora_A", lambda tensor: tensor * torch.nan),
    "infinite": each("classifier", lambda tensor: tensor + torch.inf),
    "integers": each("classifier", lambda tensor: tensor.long()),
    "booleans": each("lora_B", lambda tensor: tensor > 0),
    "complex": each("lora_B", lambda tensor: tensor.to(torch.complex64)),
    "single numbers": each("classifier.bias", lambda tensor: tensor[0]),
    "another rank": each("lora_A", lambda tensor: torch.cat([tensor, tensor])),
    "other inputs": each("lora_A", lambda tensor: tensor[:, :-1]),
    "other vectors": each("classifier.weight", lambda tensor: tensor[:, :-1]),
    "endless outputs": each(
        "classifier", lambda tensor: torch.zeros(5000, *[1] * (tensor.dim() - 1))
    ),
    "no B": lambda tensors: {name: each for name, each in tensors.items() if "lora_B" not in name},
    "nothing": lambda tensors: {},
    "another place": lambda tensors: tensors | {"base_model.model.bert.more": torch.zeros(2)},
    "a pooler of no such part": lambda tensors: (
        tensors | {"base_model.model.bert.pooler.more.weight": torch.zeros(2)}
    ),
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_weights_of_no_adapter_are_refused(
    change: Callable[[Tensors], Tensors], export: Export, tmp_path: Path
) -> None:
    folder = edited(export("bert", "lora")[1], tmp_path / "adapter")
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)
    with pytest.raises(ValueError, match="adapter|tuning|model"):
        LNTunedTransformerClassifier.from_peft(folder, CLASSES)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_of_pipes_is_refused(name: str, export: Export, tmp_path: Path) -> None:
    folder = edited(export("bert", "lora")[1], tmp_path / "adapter")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ValueError, match=f"no {name}"):
        LNTunedTransformerClassifier.from_peft(folder, CLASSES)


def test_a_backbone_without_a_classifier_is_named() -> None:
    backbone: Any = SimpleNamespace(config=object(), source=SimpleNamespace(name="some/model"))
    with pytest.raises(ValueError, match="no classifier for object of backbone 'some/model'"):
        base_prefix(backbone)


def test_an_adapter_that_names_no_backbone_needs_one(
    export: Export, tmp_path: Path, texts: list[str]
) -> None:
    clf, folder = export("bert", "lora")
    nameless = edited(folder, tmp_path / "adapter", base_model_name_or_path=None)
    with pytest.raises(ValueError, match="backbone"):
        LNTunedTransformerClassifier.from_peft(nameless)
    back = LNTunedTransformerClassifier.from_peft(nameless, backbone=clf.backbone)
    assert_same(back.decision_function(texts), clf.decision_function(texts))


# -- without peft ----------------------------------------------------------------------


def test_neither_way_needs_peft(
    export: Export, tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clf, folder = export("bert", "both")
    clf.save(tmp_path / "clf.zip")
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it is an error
    load(tmp_path / "clf.zip").export_peft(tmp_path / "own")
    own, given = (each / "adapter_model.safetensors" for each in (tmp_path / "own", folder))
    assert own.read_bytes() == given.read_bytes()
    back = LNTunedTransformerClassifier.from_peft(folder, CLASSES, precision="float32")
    found = back.predict_proba(texts[:5])
    np.testing.assert_allclose(found, clf.predict_proba(texts[:5]), rtol=0, atol=1e-6)
