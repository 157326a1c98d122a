"""Everything that an estimator does with texts, with images: on a tiny vision transformer."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from vision import image_clf, kinds, pictures, save_image_backbone

from sklearn_lntune import (
    DeltaBank,
    LNTunedTransformerClassifier,
    LNTunedTransformerRegressor,
    fused_fits,
    load,
)
from sklearn_lntune.backbone.modality import input_of_fit
from sklearn_lntune.exceptions import BackboneMismatchError
from sklearn_lntune.inputs.text.opening import TextInput
from sklearn_lntune.training.net import DeltaNet

X, Y = pictures(), kinds()


@pytest.fixture(scope="module")
def fitted(image_backbone: Callable[..., Path]) -> LNTunedTransformerClassifier:
    return image_clf(image_backbone(), max_epochs=8, lr=0.02, head_lr=0.02).fit(X, Y)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    files = [str(tmp_path / f"{row}.png") for row in range(len(X))]
    for file, image in zip(files, X, strict=True):
        Image.fromarray(image).save(file)
    return files


@pytest.fixture
def table(paths: list[str]) -> Any:
    import datasets

    rows = datasets.Dataset.from_dict({"image": paths, "label": Y.tolist()})
    return rows.cast_column("image", datasets.Image())


def test_it_learns_and_says_what_it_used(fitted: LNTunedTransformerClassifier) -> None:
    assert fitted.score(X, Y) > 0.9
    assert (fitted.pooling_, fitted.max_length_, fitted.n_features_in_) == ("cls", 4, 1)
    assert fitted.embed(X).shape == fitted.transform(X).shape == (24, 16)
    np.testing.assert_allclose(fitted.predict_proba(X).sum(1), 1)


def test_files_and_arrays_give_the_same_fit(
    paths: list[str], image_backbone: Callable[..., Path]
) -> None:
    one, other = (image_clf(image_backbone()).fit(rows, Y) for rows in (X, paths))
    for name, value in one.delta_.items():
        np.testing.assert_array_equal(value, other.delta_[name])


def test_copies_predict_the_same(fitted: LNTunedTransformerClassifier, tmp_path: Path) -> None:
    expected = fitted.predict_proba(X)
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict_proba(X), expected)
    assert not hasattr(clone(fitted), "delta_")
    fitted.save(tmp_path / "kinds.zip")
    saved = load(tmp_path / "kinds.zip")
    np.testing.assert_array_equal(saved.predict_proba(X), expected)
    assert saved.backbone_["parts"]["image_processor"] == "ViTImageProcessor"
    fitted.save(tmp_path / "whole", include_backbone=True)
    np.testing.assert_array_equal(load(tmp_path / "whole").predict_proba(X), expected)
    assert (tmp_path / "whole" / "backbone" / "preprocessor_config.json").is_file()
    net = fitted.net()
    np.testing.assert_array_equal(net.predict_proba(X), expected)


def test_tables_are_streamed(
    table: Any, image_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    expected = image_clf(image_backbone()).fit(X, Y)
    table.to_parquet(tmp_path / "rows.parquet")
    for rows in (table, table.to_iterable_dataset(), tmp_path / "rows.parquet"):
        clf = image_clf(image_backbone()).fit(rows)
        assert clf.feature_names_in_.tolist() == ["image"]
        for name, value in expected.delta_.items():
            np.testing.assert_array_equal(clf.delta_[name], value)
        np.testing.assert_array_equal(clf.predict(rows), expected.predict(X))
    named = image_clf(image_backbone(), image_column="photo")
    assert named.fit(table.rename_column("image", "photo")).score(X, Y) > 0


def test_searches_fuse_their_fits(image_backbone: Callable[..., Path]) -> None:
    pipeline = make_pipeline(FunctionTransformer(), image_clf(image_backbone()))
    name = "lntunedtransformerclassifier__head_lr"
    search = GridSearchCV(pipeline, {name: [1e-3, 1e-2]}, cv=2)
    slow = clone(search).fit(X, Y)
    with fused_fits():
        fast = clone(search).fit(X, Y)
    for key in ("mean_test_score", "split0_test_score"):
        np.testing.assert_array_equal(fast.cv_results_[key], slow.cv_results_[key])
    one, other = (each.best_estimator_[-1].delta_ for each in (fast, slow))
    for key, value in one.items():
        np.testing.assert_allclose(value, other[key], rtol=0, atol=1e-9)


def test_a_bank_of_classifiers_of_images(
    fitted: LNTunedTransformerClassifier,
    image_backbone: Callable[..., Path],
    tiny_clf: Callable[..., Any],
    texts: list[str],
    labels: list[str],
    tmp_path: Path,
) -> None:
    other = image_clf(image_backbone()).fit(X, np.arange(24) % 2)
    bank = DeltaBank({"kind": fitted, "parity": other})
    found = bank.predict_proba(X)
    np.testing.assert_allclose(found["kind"], fitted.predict_proba(X), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["parity"], other.predict_proba(X), rtol=0, atol=1e-12)
    for name, clf in (("kind", fitted), ("parity", other)):
        clf.save(tmp_path / f"{name}.zip")
    read = DeltaBank.from_folder(tmp_path, max_memory=1)
    assert (read.predict(X) == bank.predict(X)).to_numpy().all()
    mixed = bank.predict(X[:2], tasks=["kind", "parity"])
    assert mixed.tolist() == [fitted.predict(X[:1])[0], other.predict(X[1:2])[0]]
    bank.add("topic", tiny_clf().fit(texts, labels))
    with pytest.raises(ValueError, match="some of these classifiers take texts and others images"):
        bank.predict(X)
    assert bank.predict(texts[:2], tasks=["topic"] * 2).shape == (2,)
    assert bank.predict(X[:2], tasks=["kind"] * 2).shape == (2,)


def test_partial_fit_and_warm_start_go_on(image_backbone: Callable[..., Path]) -> None:
    clf = image_clf(image_backbone(), lr=0.02, head_lr=0.02)
    for _ in range(8):
        clf.partial_fit(X, Y, classes=np.unique(Y))
    assert clf.n_epochs_ == 8
    assert clf.score(X, Y) > 0.8
    before = clf.log_[-1]["train_loss"]
    clf.set_params(warm_start=True).fit(X, Y)
    assert clf.log_[-1]["train_loss"] < before


def test_a_checkpoint_resumes_on_the_same_images_only(
    image_backbone: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clf = image_clf(image_backbone(), checkpoint=tmp_path / "state", checkpoint_every=1)
    expected = image_clf(image_backbone()).fit(X, Y)
    real = DeltaNet._step

    def interrupted(self: DeltaNet, batch: Any) -> Any:
        if self.progress_.step == 4:
            raise KeyboardInterrupt
        return real(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(DeltaNet, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            clone(clf).fit(X, Y)
    changed = X.copy()
    changed[3, 0, 0, 0] ^= 8
    with pytest.raises(ValueError, match="another fit.*X"):
        clone(clf).fit(changed, Y)
    resumed = clf.fit(X, Y)
    assert resumed.n_steps_ == expected.n_steps_
    for name, value in expected.delta_.items():
        np.testing.assert_array_equal(resumed.delta_[name], value)


def test_early_stopping_scores_images(image_backbone: Callable[..., Path]) -> None:
    clf = image_clf(image_backbone(), early_stopping=True, scoring="accuracy")
    clf.fit(X, Y, X_val=list(X[:6]), y_val=Y[:6])
    assert clf.log_[-1]["valid_score"] >= 0
    image_clf(image_backbone(), early_stopping=True, validation_fraction=0.25).fit(X, Y)


def test_numbers_and_several_labels(image_backbone: Callable[..., Path]) -> None:
    params = image_clf(image_backbone(), max_epochs=6).get_params(deep=False)
    for name in ("class_weight", "label_smoothing"):
        del params[name]
    light = X.mean((1, 2, 3))
    regressor = LNTunedTransformerRegressor(**params).fit(X, light)
    assert regressor.predict(X).shape == (24,)
    marks = np.stack([light > 80, light > 150], axis=1).astype(int)
    assert image_clf(image_backbone()).fit(X, marks).predict(X).shape == (24, 2)


@pytest.mark.parametrize("precision", ["auto", "bfloat16", "float32"])
def test_other_precisions(precision: str, image_backbone: Callable[..., Path]) -> None:
    for tuning in ("layernorm", "full", "lora+prefix"):
        clf = image_clf(image_backbone(), precision=precision, tuning=tuning, max_epochs=1)
        assert np.isfinite(clf.fit(X, Y).predict_proba(X)).all()


@pytest.mark.parametrize("family", ["vit", "deit", "dinov2", "beit", "clip", "siglip"])
def test_the_models_own_head(
    family: str, image_backbone: Callable[..., Path], tmp_path: Path
) -> None:
    clf = image_clf(image_backbone(family), pooling="native", max_epochs=4)
    if family in ("clip", "siglip"):
        with pytest.raises(ValueError, match="transformers has no classification head for"):
            clf.fit(X, Y)
        return
    clf.fit(X, Y)
    assert clf.log_[-1]["train_loss"] < clf.log_[0]["train_loss"]
    clf.export_transformers(tmp_path)
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    with torch.no_grad():
        logits = model(**processor(list(X), return_tensors="pt")).logits
    np.testing.assert_allclose(logits.softmax(1), clf.predict_proba(X), atol=1e-4)
    assert model.config.id2label == {0: "dark", 1: "half", 2: "light"}


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated:FutureWarning")
def test_onnx(fitted: LNTunedTransformerClassifier, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    fitted.export_onnx(file := tmp_path / "kinds.onnx")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["pixel_values"]
    pixels = fitted._predictor().table_maker
    from sklearn_lntune.inputs.image.opening import ImageInput

    table = pixels.table(ImageInput().rows(X), 1)
    found = session.run(None, table.collate(np.arange(24)))[0]
    np.testing.assert_allclose(found, fitted._compute(X), atol=1e-4)


def test_peft_has_no_form_for_it(image_backbone: Callable[..., Path], tmp_path: Path) -> None:
    clf = image_clf(image_backbone(), pooling="native").fit(X, Y)
    with pytest.raises(ValueError, match="export_peft.*images"):
        clf.export_peft(tmp_path)


@pytest.mark.parametrize("model", ["clip", "siglip"])
def test_the_tower_of_images_of_a_model_with_two(model: str, tmp_path: Path) -> None:
    import transformers
    from vision import _VIT, save_image_processor

    name = {"clip": "CLIP", "siglip": "Siglip"}[model]
    text = {"vocab_size": 60, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    sizes = {key: _VIT[key] for key in _VIT if key not in ("image_size", "patch_size")}
    config = getattr(transformers, f"{name}Config")(
        text_config=sizes | text, vision_config=_VIT | {"projection_dim": 16}
    )
    getattr(transformers, f"{name}Model")(config).save_pretrained(both := tmp_path / "both")
    save_image_processor(both, model)
    clf = image_clf(both).fit(X, Y)
    assert clf.pooling_ == "pooler"
    tower = getattr(transformers, f"{name}VisionModel").from_pretrained(both)
    tower.save_pretrained(alone := tmp_path / "alone")
    save_image_processor(alone, model)
    other = image_clf(alone).fit(X, Y)
    for key, value in clf.delta_.items():
        np.testing.assert_array_equal(other.delta_[key], value)
    assert clf.backbone_["parts"]["weights"] == other.backbone_["parts"]["weights"]


def test_a_backbone_of_texts_takes_no_images(
    tiny_clf: Callable[..., Any], texts: list[str], labels: list[str], table: Any, paths: list[str]
) -> None:
    for rows in (X, list(X), paths, table, table["image"]):
        with pytest.raises((ValueError, TypeError), match="takes texts; for images, pass"):
            tiny_clf().fit(rows, Y)
    with pytest.raises((ValueError, TypeError), match="takes texts; for images, pass"):
        tiny_clf().fit(texts, labels).predict(X)


def test_a_backbone_of_images_takes_no_texts(
    fitted: LNTunedTransformerClassifier,
    image_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
) -> None:
    for call in (
        lambda: image_clf(image_backbone()).fit(texts, labels),
        lambda: fitted.predict(texts),
    ):
        with pytest.raises(ValueError, match="row 0 of X is 'good', and there is no such file"):
            call()


def test_an_image_that_cannot_be_read_is_named_and_nothing_is_lost(
    fitted: LNTunedTransformerClassifier, paths: list[str]
) -> None:
    delta = fitted.delta_
    content = Path(paths[5]).read_bytes()
    Path(paths[5]).write_bytes(content[:200])
    for call in (lambda: fitted.predict(paths), lambda: fitted.fit(paths, Y)):
        with pytest.raises(ValueError, match=rf"row 5 of X \({paths[5]}\) cannot be read"):
            call()
    assert fitted.delta_ is delta


# -- the folder of a backbone ------------------------------------------------------------


def edit(folder: Path, **changes: Any) -> Path:
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"size": {"height": 16, "width": 16}, "do_center_crop": True},
        {"image_mean": [0.4, 0.5, 0.5]},
        {"resample": 3},
        {"do_rescale": False},
        {"image_processor_type": "BitImageProcessor"},
    ],
    ids=str,
)
def test_a_classifier_knows_its_image_processor(changes: dict[str, Any], tmp_path: Path) -> None:
    clf = image_clf(save_image_backbone(tmp_path), max_epochs=1).fit(X, Y)
    expected = clf.predict(X)
    edit(tmp_path, transformers_version="4.0", _processor_class="ViTProcessor")
    np.testing.assert_array_equal(clf.predict(X), expected)
    edit(tmp_path, **changes)
    with pytest.raises((BackboneMismatchError, ValueError), match="image processor"):
        clf.predict(X)


@pytest.mark.parametrize("size", [8, [8, 8], {"height": 8, "width": 8}], ids=str)
def test_sizes_in_the_forms_of_all_versions(
    size: Any, fitted: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    folder = edit(save_image_backbone(tmp_path), size=size)
    clf = pickle.loads(pickle.dumps(fitted)).set_params(backbone=folder)
    np.testing.assert_array_equal(clf.predict_proba(X), fitted.predict_proba(X))


def test_a_copy_elsewhere_is_the_same_backbone(
    fitted: LNTunedTransformerClassifier, tmp_path: Path
) -> None:
    clf = pickle.loads(pickle.dumps(fitted)).set_params(backbone=save_image_backbone(tmp_path))
    np.testing.assert_array_equal(clf.predict_proba(X), fitted.predict_proba(X))


BROKEN: dict[str, tuple[Any, str]] = {
    "none": (None, "no image processor could be read"),
    "not JSON": ("{", "is not JSON"),
    "a list": ("[]", "must hold an object"),
    "huge": ({"size": {"height": 10**6, "width": 10**6}}, "sides are from 1 to 8192"),
    "negative": ({"size": {"height": -8, "width": 8}}, "sides are from 1 to 8192"),
    "a text": ({"size": "large"}, "sides are from 1 to 8192"),
    "no spread": ({"image_std": [0.5, 0, 0.5]}, "no image can be normalised"),
    "NaN": ({"image_mean": [float("nan")] * 3}, "no image can be normalised"),
    "unknown": ({"image_processor_type": "NoImageProcessor"}, "no image processor could be read"),
    "another size": (
        {"size": {"height": 12, "width": 12}},
        "12 x 12 pixels and 3 channels, which its image processor makes",
    ),
    "too many means": ({"image_mean": [0.5] * 4}, "image processor fails on a probe"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_folder_whose_image_processor_does_not_fit(what: str, tmp_path: Path) -> None:
    changes, message = BROKEN[what]
    save_image_backbone(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    if changes is None:
        file.unlink()
    elif isinstance(changes, str):
        file.write_text(changes)
    else:
        edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        image_clf(tmp_path).fit(X, Y)
    assert str(tmp_path) in str(caught.value)


def test_models_without_a_vector_for_each_patch_are_refused(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetModel, SwinConfig, SwinModel, ViTImageProcessorPil

    swin = SwinConfig(image_size=8, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 1])
    swin.window_size = 2
    resnet = ResNetConfig(hidden_sizes=[4, 4], depths=[1, 1], embedding_size=4)
    for kind, config in ((SwinModel, swin), (ResNetModel, resnet)):
        folder = tmp_path / kind.__name__
        kind(config).save_pretrained(folder)
        ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(folder)
        with pytest.raises(ValueError, match="not supported|no normalisation|is unknown"):
            image_clf(folder).fit(X, Y)


def test_models_of_sound_are_refused(tmp_path: Path) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Wav2Vec2Config(**sizes, intermediate_size=16, conv_dim=(4,) * 7)
    Wav2Vec2Model(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="takes 'input_values'; choose a model of texts or of"):
        image_clf(tmp_path).fit(X, Y)


def test_without_pillow_the_error_says_what_to_install(
    image_backbone: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "PIL" else found(name, *a)
    )
    with pytest.raises(ImportError, match=r"pip install 'sklearn-lntune\[images\]'"):
        image_clf(image_backbone()).fit(X, Y)


def test_length_and_pooling_that_images_do_not_have(image_backbone: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="images are not cut"):
        image_clf(image_backbone(), max_length=2).fit(X, Y)
    with pytest.raises(ValueError, match="pooling='last' is for texts"):
        image_clf(image_backbone(), pooling="last").fit(X, Y)
    assert (
        image_clf(image_backbone(), pooling="pooler", max_epochs=1).fit(X, Y).pooling_ == "pooler"
    )


def test_a_pooler_that_is_not_in_the_files_is_not_used(tmp_path: Path) -> None:
    from transformers import AutoConfig, ViTModel

    folder = save_image_backbone(tmp_path)
    config = AutoConfig.from_pretrained(folder)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    with pytest.raises(ValueError, match="no pooler in its files; choose"):
        image_clf(folder, pooling="pooler").fit(X, Y)


def test_torchvision_is_never_asked(image_backbone: Callable[..., Path]) -> None:
    from sklearn_lntune.backbone.pool import get_backbone

    assert get_backbone(image_backbone()).image_processor.backend == "pil"


def test_repeated_images_are_computed_once(
    fitted: LNTunedTransformerClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn_lntune.inputs.image import pixels

    processed, seen = pixels.processed, []
    monkeypatch.setattr(pixels, "processed", lambda *a: seen.append(a) or processed(*a))
    assert accuracy_score(fitted.predict(X), fitted.predict(np.concatenate([X, X]))[24:]) == 1
    assert len(seen) == 48


@pytest.mark.parametrize("parts", [None, 1, "image_processor", ["image_processor"]])
def test_parts_of_another_type_are_those_of_no_backbone_of_images(parts: Any) -> None:
    assert isinstance(input_of_fit({"parts": parts}), TextInput)
