"""A backbone is known by what its files mean: what changes no answer is the same backbone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import save_backbone
from families import known_families
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from sklearn_lntune.backbone import probes, weights
from sklearn_lntune.backbone.digests import digest_of
from sklearn_lntune.backbone.identity import config_part
from sklearn_lntune.backbone.matching import differences
from sklearn_lntune.backbone.pool import Backbone, clear_backbones, get_backbone
from sklearn_lntune.backbone.resolve import resolve

Change = Callable[[Path], Any]


def backbone_in(folder: Path, trust_remote_code: bool = False) -> Backbone:
    """As the pool makes it, but each time anew."""
    return Backbone(resolve(folder), trust_remote_code)


def told(one: Path, other: Path, pooling: str = "mean") -> list[str]:
    """In what ``other`` differs from the backbone ``one`` of a fit, as a file tells it."""
    fitted = json.loads(json.dumps(backbone_in(one).identity(one, None)))
    return differences(fitted, backbone_in(other), pooling)


def edit(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | entries), "utf-8")


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors = change(tensors) or tensors
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.fixture
def copies(tiny_backbone: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """``copies(family)``: two folders with the same backbone."""

    def make(family: str = "bert") -> tuple[Path, Path]:
        source = tiny_backbone(family)
        one, other = (Path(shutil.copytree(source, tmp_path / name)) for name in ("one", "other"))
        return one, other

    return make


# -- the same ----------------------------------------------------------------------------


def saved_again(folder: Path, target: Path, kind: str) -> Path:
    """The backbone in ``folder`` as transformers saves a model of the class ``kind``."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = getattr(transformers, kind).from_pretrained(folder)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    return target


@pytest.mark.parametrize("family", known_families())
def test_saved_again_it_is_the_same(
    family: str, tiny_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_backbone(family)
    again = saved_again(folder, tmp_path / "again", "AutoModel")
    assert told(folder, again, "native") == []


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("bert", "AutoModelForMaskedLM"),
        ("roberta", "AutoModelForSequenceClassification"),
        ("nomic-bert", "AutoModelForMaskedLM"),
        ("esm", "AutoModelForMaskedLM"),
        ("qwen2", "AutoModelForCausalLM"),
        ("t5", "AutoModelForSeq2SeqLM"),
        ("t5", "T5EncoderModel"),
    ],
)
def test_saved_with_another_head_it_is_the_same(
    family: str, kind: str, tiny_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_backbone(family)
    headed = saved_again(folder, tmp_path / "headed", kind)
    assert told(folder, headed) == []
    # There is no pooler in it now; transformers makes one up.
    assert told(folder, saved_again(headed, tmp_path / "bare", "AutoModel")) == []


def test_a_pooler_counts_where_the_head_reads_it(
    tiny_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    for family, expected in (("bert", ["the weights of its pooler"]), ("roberta", [])):
        folder = tiny_backbone(family)
        headed = saved_again(folder, tmp_path / family, "AutoModelForMaskedLM")
        assert told(folder, headed, "native") == expected
        assert told(folder, headed, "cls") == []


def test_saved_by_sentence_transformers_it_is_the_same(
    tiny_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs bench")
    folder = tiny_backbone("t5")
    sentence_transformers.SentenceTransformer(str(folder)).save(str(tmp_path / "saved"))
    assert told(folder, tmp_path / "saved") == []


def old_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As BERT was first released: with a head, a buffer, and norms of other names."""
    renamed = {
        "bert." + name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): value
        for name, value in tensors.items()
    }
    more = {"bert.embeddings.position_ids": torch.arange(64)[None], "cls.bias": torch.zeros(120)}
    return renamed | more


SAME: dict[str, Change] = {
    "old names": lambda folder: edit_weights(folder, old_names),
    "an unused vocabulary": lambda folder: (folder / "vocab.txt").write_text("[PAD]\ngood\n"),
    "a README": lambda folder: (folder / "README.md").write_text("read me"),
    "truncation and padding": lambda folder: edit(
        folder / "tokenizer.json",
        truncation={
            "direction": "Right",
            "max_length": 5,
            "strategy": "LongestFirst",
            "stride": 0,
        },
        padding={
            "strategy": {"Fixed": 9},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
    ),
    "order of keys": lambda folder: [
        file.write_text(
            json.dumps(dict(reversed(json.loads(file.read_text("utf-8")).items()))), "utf-8"
        )
        for file in folder.glob("*.json")
    ],
    "labels and training": lambda folder: edit(
        folder / "config.json",
        id2label={"0": "ham", "1": "spam"},
        hidden_dropout_prob=0.3,
        initializer_range=0.5,
        architectures=["BertForSequenceClassification"],
        transformers_version="4.0.0",
        _name_or_path="/home/somebody/model",
        torch_dtype="float16",
    ),
    "a default said": lambda folder: edit(folder / "config.json", chunk_size_feed_forward=0),
    "a default left out": lambda folder: (folder / "config.json").write_text(
        json.dumps(
            {
                key: value
                for key, value in json.loads((folder / "config.json").read_text("utf-8")).items()
                if key not in ("hidden_act", "layer_norm_eps", "type_vocab_size")
            }
        )
    ),
    "what a tokenizer is used for": lambda folder: edit(
        folder / "tokenizer_config.json", model_max_length=7, chat_template="{{ x }}"
    ),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_changes_no_answer_does_not_matter(change: Change, copies: Any) -> None:
    one, other = copies()
    change(other)
    assert told(one, other) == []
    assert told(other, one) == []


def test_a_newer_transformers_that_knows_more_keys_is_no_difference(copies: Any) -> None:
    one, _ = copies()
    backbone = backbone_in(one)
    fitted = backbone.identity(one, None)
    parts = fitted["parts"]
    older = {key: value for key, value in parts["config"].items() if key != "is_decoder"}
    # in another file, a key that is left out has its default
    assert differences({**fitted, "parts": {**parts, "config": older, "config_file": "other"}}, backbone, "mean") == []  # fmt: skip # noqa: E501
    # the same files are the same, whatever form today's libraries give to what they hold
    renamed = {**parts, "config": {}, "tokenizer_class": "Then", "vocabulary": "", "rules": ""}
    assert differences({**fitted, "parts": renamed}, backbone, "mean") == []
    # but not if another version makes other tokens of them
    random = {**parts, "tokens": "other"}
    assert differences({**fitted, "parts": random}, backbone, "mean") == [
        "what its tokenizer does with texts"
    ]


# -- another -----------------------------------------------------------------------------


def set_bit(tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.layer.1.output.LayerNorm.bias"][3] += 1e-6


def halved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.half() for name, tensor in tensors.items()}


def swapped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    first, second = (f"encoder.layer.{i}.output.dense.weight" for i in (0, 1))
    return tensors | {first: tensors[second].clone(), second: tensors[first].clone()}


def replace_in(file: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        text = (folder / file).read_text("utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new), "utf-8")

    return change


TEXTS = "what its tokenizer does with texts"
VOCABULARY = "the vocabulary of its tokenizer"
ANOTHER: dict[str, tuple[Change, str]] = {
    "one bit": (lambda folder: edit_weights(folder, set_bit), "its weights"),
    "type": (lambda folder: edit_weights(folder, halved), "its weights"),
    "swapped": (lambda folder: edit_weights(folder, swapped), "its weights"),
    "configuration": (
        lambda folder: edit(folder / "config.json", layer_norm_eps=1e-5, hidden_act="relu"),
        "its configuration: hidden_act (was 'gelu', is 'relu'), "
        "layer_norm_eps (was 1e-12, is 1e-05)",
    ),
    "a word": (replace_in("tokenizer.json", '"happy"', '"sunny"'), VOCABULARY),
    "an unlikely word": (replace_in("tokenizer.json", '"inf"', '"infinite"'), VOCABULARY),
    "casing": (replace_in("tokenizer.json", '"Lowercase"', '"StripAccents"'), TEXTS),
    "class": (
        lambda folder: edit(folder / "tokenizer_config.json", tokenizer_class="RobertaTokenizer"),
        "the class of its tokenizer, which was TokenizersBackend and is RobertaTokenizer",
    ),
    "end that is cut": (
        lambda folder: edit(folder / "tokenizer_config.json", truncation_side="left"),
        TEXTS,
    ),
    "sentences told apart": (
        lambda folder: edit(
            folder / "tokenizer_config.json", model_input_names=["input_ids", "token_type_ids"]
        ),
        TEXTS,
    ),
}


@pytest.mark.parametrize(("change", "expected"), ANOTHER.values(), ids=ANOTHER)
def test_what_changes_answers_is_named(change: Change, expected: str, copies: Any) -> None:
    one, other = copies()
    change(other)
    assert expected in told(one, other)
    assert told(other, one) != []


def test_weights_that_the_configuration_names_are_those_that_count(copies: Any) -> None:
    one, other = copies()
    for folder in (one, other):
        shutil.copy(folder / "model.safetensors", folder / "others.safetensors")
    edit_weights(other, set_bit)
    shutil.move(other / "model.safetensors", other / "unused.safetensors")
    shutil.copy(other / "others.safetensors", other / "model.safetensors")
    assert told(one, other) == []

    edit(other / "config.json", transformers_weights="unused.safetensors")
    assert resolve(other).weight_files == [other / "unused.safetensors"]
    assert "unused.safetensors" in resolve(other).files()
    assert told(one, other) == ["its weights"]
    edit(other / "config.json", transformers_weights="others.safetensors")
    assert told(one, other) == []


@pytest.mark.parametrize("named", ["../model.safetensors", "absent.safetensors", "model.bin", 7])
def test_weights_that_the_configuration_must_not_name(named: Any, copies: Any) -> None:
    _, folder = copies()
    shutil.copy(folder / "model.safetensors", folder / "model.bin")
    shutil.copy(folder / "model.safetensors", folder.parent)
    edit(folder / "config.json", transformers_weights=named)
    with pytest.raises(ValueError, match="config.json names"):
        resolve(folder)


# -- tokenizers of other kinds -----------------------------------------------------------


@pytest.fixture
def slow(tiny_backbone: Callable[..., Path], tmp_path: Path) -> Callable[[str], Path]:
    """``slow(name)``: a backbone with PhoBERT's tokenizer, written in Python."""

    def make(name: str) -> Path:
        folder = Path(shutil.copytree(tiny_backbone("roberta"), tmp_path / name))
        for file in folder.glob("tokenizer*"):
            file.unlink()
        pieces = ["g@@", "o@@", "d", "go@@", "od", "good", "b@@", "a@@", "bad"]
        (folder / "vocab.txt").write_text("".join(f"{piece} 1\n" for piece in pieces), "utf-8")
        (folder / "bpe.codes").write_text("o d</w> 9\ng o 8\ngo od</w> 7\n", "utf-8")
        entries = {"tokenizer_class": "PhobertTokenizer"}
        (folder / "tokenizer_config.json").write_text(json.dumps(entries), "utf-8")
        return folder

    return make


def test_files_that_only_one_class_reads_count(slow: Callable[[str], Path]) -> None:
    one, other = slow("one"), slow("other")
    assert told(one, other) == []
    (other / "merges.txt").write_text("not read", "utf-8")
    (other / "bpe.codes").write_bytes((other / "bpe.codes").read_bytes().replace(b"\n", b"\r\n"))
    assert told(one, other) == []
    (other / "bpe.codes").write_text("o d</w> 9\ng o 8\n", "utf-8")
    assert told(one, other) == [VOCABULARY, TEXTS]
    assert "bpe.codes" in resolve(one).files()


def test_a_slow_tokenizer_saved_again_is_the_same(slow: Callable[[str], Path]) -> None:
    one = slow("one")
    again = saved_again(one, one.parent / "again", "AutoModel")
    assert told(one, again) == []


def test_a_tokenizer_from_a_vocabulary_alone_is_that_of_its_core(copies: Any) -> None:
    one, other = copies()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "##d"]
    (one / "vocab.txt").write_text("\n".join(words), "utf-8")
    (one / "tokenizer.json").unlink()
    (one / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', "utf-8")
    AutoTokenizer.from_pretrained(one).save_pretrained(other)
    assert (other / "tokenizer.json").is_file()
    assert told(one, other) == []
    edit(other / "tokenizer_config.json", do_lower_case=False)
    assert told(one, other) == [TEXTS]


def test_a_tokenizer_that_draws_lots_is_known_again(copies: Any, monkeypatch: Any) -> None:
    from sklearn_lntune.backbone import tokenizer_parts

    monkeypatch.setattr(tokenizer_parts, "_made", lambda tokens: os.urandom(8))
    one, other = copies()
    assert told(one, other) == []


# -- code --------------------------------------------------------------------------------


CODE = """
from transformers import BertConfig, BertModel
from .helper import SCALE

class OwnConfig(BertConfig):
    model_type = "own"

class OwnModel(BertModel):
    config_class = OwnConfig

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.last_hidden_state = SCALE * output.last_hidden_state
        return output
"""


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """``own_code(name)``: a backbone with a model class in two files of its own."""
    from transformers import dynamic_module_utils

    modules = tmp_path / "modules"
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(modules))
    monkeypatch.syspath_prepend(str(modules))

    def make(name: str) -> Path:
        folder = save_backbone(tmp_path / name)
        (folder / "own.py").write_text(CODE, "utf-8")
        (folder / "helper.py").write_text("SCALE = 1.0\n", "utf-8")
        classes = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
        edit(folder / "config.json", model_type="own", auto_map=classes)
        return folder

    return make


def test_trusted_code_counts(own_code: Callable[[str], Path]) -> None:
    one, other = own_code("one"), own_code("other")
    fitted = backbone_in(one, trust_remote_code=True).identity(one, None)

    def now() -> list[str]:
        return differences(fitted, backbone_in(other, trust_remote_code=True), "mean")

    assert now() == []
    (other / "unused.py").write_text("SCALE = 2.0\n", "utf-8")
    assert now() == []
    (other / "helper.py").write_text("SCALE = 2.0\n", "utf-8")
    assert now() == ["the code that comes with it (trust_remote_code)"]
    shutil.copy(one / "helper.py", other)
    assert now() == []
    (other / "own.py").write_text(CODE.replace("SCALE *", "2 * SCALE *"), "utf-8")
    assert now() == ["the code that comes with it (trust_remote_code)"]


def test_code_that_is_not_trusted_does_not_count(
    copies: Any, own_code: Callable[[str], Path]
) -> None:
    one, other = copies()
    shutil.copy(own_code("own") / "own.py", other)
    edit(other / "config.json", auto_map={"AutoModel": "own.OwnModel"})
    assert told(one, other) == []


# -- what it costs -----------------------------------------------------------------------


def test_tensors_are_read_once_until_their_file_changes(
    copies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    chunks = weights.StoredTensor.chunks

    def counting(tensor: weights.StoredTensor) -> Any:
        read.append(tensor.name)
        return chunks(tensor)

    monkeypatch.setattr(weights.StoredTensor, "chunks", counting)
    _, folder = copies()
    n_tensors = len(load_file(folder / "model.safetensors"))
    first = [backbone_in(folder).fingerprint for _ in range(2)]
    assert len(read) == n_tensors
    edit_weights(folder, set_bit)
    os.utime(folder / "model.safetensors", ns=(0, 0))
    assert backbone_in(folder).fingerprint not in first
    assert len(read) == 2 * n_tensors


def test_what_is_not_loaded_is_not_read(copies: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    chunks = weights.StoredTensor.chunks
    monkeypatch.setattr(
        weights.StoredTensor,
        "chunks",
        lambda tensor: read.append(tensor.name) or chunks(tensor),  # type: ignore[func-returns-value]
    )
    _, folder = copies("t5")
    assert backbone_in(folder).fingerprint
    assert "shared.weight" in read
    assert not [name for name in read if name.startswith("decoder")]


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_the_pool_notices_every_file_that_changes(file: str, copies: Any) -> None:
    _, folder = copies()
    before = get_backbone(folder)
    assert before.fingerprint
    assert get_backbone(folder) is before
    (folder / "notes.txt").write_text("nothing that is read", "utf-8")
    assert get_backbone(folder) is before
    os.utime(folder / file, ns=(1, 1))
    assert get_backbone(folder) is not before
    clear_backbones()


def test_the_pool_notices_files_that_come_and_go(copies: Any) -> None:
    _, folder = copies()
    tokenizer = (folder / "tokenizer.json").read_bytes()
    before = get_backbone(folder)
    (folder / "tokenizer.json").unlink()
    without = get_backbone(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    assert len({id(each) for each in (before, without, get_backbone(folder))}) == 3
    clear_backbones()


def test_quantised_weights_count_as_they_are_stored(copies: Any) -> None:
    """transformers loads them by ways of its own, or, without their library, not at all."""
    one, other = copies()
    for folder in (one, other):
        edit(folder / "config.json", quantization_config={"quant_method": "absent"})
    assert told(one, other) == []
    edit_weights(other, set_bit)
    assert told(one, other) == ["its weights"]


def test_the_random_state_stays(copies: Any) -> None:
    _, folder = copies()
    headed = saved_again(folder, folder.parent / "headed", "AutoModelForMaskedLM")
    before = torch.get_rng_state()
    assert backbone_in(headed).fingerprint
    assert (torch.get_rng_state() == before).all()


# -- saved classifiers hold these digests ------------------------------------------------


def test_digests_stay_what_they_are_in_saved_classifiers() -> None:
    folder = Path(__file__).parents[1] / "persistence" / "format1" / "folder" / "backbone"
    assert digest_of([probes.TEXTS, probes.PAIRS]).startswith("0a0a5e9397494f07")
    parts = backbone_in(folder).parts
    assert parts["weights"].startswith("b2f21b7b7b04218a")
    assert parts["pooler"].startswith("78b6e31c8bba552f")
    assert parts["tokens"].startswith("244d980bcf955ee4")
    assert parts["config"]["layer_norm_eps"] == 1e-12


def test_the_configuration_has_a_short_form_in_json_without_paths() -> None:
    part = config_part(
        {
            "layer_norm_eps": 1e-5,
            "rope_scaling": {"factor": float("inf"), 3: "x", "_private": 0},
            "layer_types": ["full_attention"] * 100,
            "scales": [1.0, float("nan")],
            "made_from": "/home/somebody/model",
            "_name_or_path": "/home/somebody/model",
            "id2label": {0: "ham"},
        }
    )
    assert part["rope_scaling"] == {"factor": "Infinity", "3": "x"}
    assert part["scales"] == [1.0, "NaN"]
    assert part["layer_types"].startswith("sha256:")
    assert part["made_from"].startswith("sha256:")
    assert set(part) == {"layer_norm_eps", "rope_scaling", "layer_types", "scales", "made_from"}
    assert json.loads(json.dumps(part, allow_nan=False)) == part
