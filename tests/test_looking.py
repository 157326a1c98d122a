"""Looking at an object (`dir`, completion, a notebook's display) reads nothing."""

from __future__ import annotations

import inspect
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from conftest import save_backbone
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import get_scorer
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier

import sklearn_lntune
from sklearn_lntune import (
    DeltaBank,
    LNTunedTransformerClassifier,
    LNTunedTransformerRegressor,
    LNTunedTransformerTagger,
    clear_backbones,
    datasets,
    tuning,
)
from sklearn_lntune.tuning import LayerNormTuning, TuningSum

Clf = Callable[..., LNTunedTransformerClassifier]


@pytest.fixture(scope="module")
def gone(tmp_path_factory: pytest.TempPathFactory, texts: list[str], labels: list[str]) -> Any:
    """A fitted classifier, the same one loaded, and a bank of it; their backbone is deleted."""
    folder = tmp_path_factory.mktemp("gone")
    backbone = save_backbone(folder / "backbone")
    fitted = LNTunedTransformerClassifier(
        backbone, max_epochs=1, min_steps=0, random_state=0, device="cpu"
    ).fit(texts, labels)
    bank = DeltaBank({"one": fitted})
    (folder / "saved").mkdir()
    fitted.save(folder / "saved" / "one.zip")
    loaded = sklearn_lntune.load(folder / "saved" / "one.zip")
    later = DeltaBank.from_folder(folder / "saved")
    shutil.rmtree(backbone)
    clear_backbones()
    return {"fitted": fitted, "loaded": loaded, "bank": bank, "bank of a folder": later}


_PACKAGES = Path(sklearn.__file__).parents[1]
_opened: list[Any] | None = None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is None or event not in ("open", "os.listdir", "os.scandir", "socket.connect"):
        return
    path = str(arguments[0])
    # What does not count: late imports, and the style sheets of scikit-learn's displays.
    if not path.endswith((".py", ".pyc")) and not path.startswith(str(_PACKAGES)):
        _opened.append((event, *arguments))


sys.addaudithook(_note)  # Python has no way to remove it; it notes nothing outside `only_looking`


@contextmanager
def only_looking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if a backbone is asked for inside, or a file or connection is opened."""
    global _opened

    def fail(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("looking has asked for a backbone")

    with monkeypatch.context() as patched:
        for name in ("backbone.pool", "backbone.matching"):
            patched.setattr(f"sklearn_lntune.{name}.get_backbone", fail)
        _opened = []
        try:
            yield
            assert _opened == []
        finally:
            _opened = None


def objects(gone: Any) -> dict[str, Any]:
    """An object of every public class, and of each in every state that it can be in."""
    public = (getattr(tuning, name) for name in tuning.__all__)
    # The contract's own classes need arguments, and TuningMethod is abstract.
    methods = [
        value()
        for value in public
        if inspect.isclass(value) and hasattr(value, "get_params") and hasattr(value, "name")
    ]
    errors = [
        value("message")
        for value in (getattr(sklearn_lntune, name) for name in sklearn_lntune.__all__)
        if inspect.isclass(value) and issubclass(value, Exception)
    ]
    unfitted = {
        "unfitted": LNTunedTransformerClassifier(),
        "unfitted regressor": LNTunedTransformerRegressor(),
        "unfitted tagger": LNTunedTransformerTagger(),
        "wrong": LNTunedTransformerClassifier("nowhere", tuning="nonsense", lr=-1, callbacks="x"),
        "fitted, then set wrong": clone(gone["fitted"]).set_params(lr=-1, tuning=None),
        "unpickled": pickle.loads(pickle.dumps(gone["fitted"])),
        "sum": TuningSum() + LayerNormTuning(),
        "empty bank": DeltaBank(),
        "fused_fits": sklearn_lntune.fused_fits(),
        "bunch": datasets.load_support_tickets(subset="test"),
        "frames": datasets.load_support_tickets(subset="test", as_frame=True),
    }
    wrong = unfitted["fitted, then set wrong"]
    vars(wrong).update({k: v for k, v in vars(gone["fitted"]).items() if k.endswith("_")})
    named = {type(each).__name__: each for each in (*methods, *errors)}
    return gone | unfitted | named


def test_every_public_class_is_looked_at(gone: Any) -> None:
    public = [
        value
        for module in (sklearn_lntune, tuning)
        for value in (getattr(module, name) for name in module.__all__)
        if inspect.isclass(value)
    ]
    # What a method of the user's own is written with: records without properties.
    contract = {tuning.TuningMethod, tuning.AttachContext, tuning.PeftRef, tuning.Array}
    assert set(public) - contract <= {type(each) for each in objects(gone).values()}


def test_attributes_read_nothing_and_raise_attribute_errors_only(
    gone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = objects(gone)
    with only_looking(monkeypatch):
        for each in looked_at.values():
            for attribute in {*dir(type(each)), *object.__dir__(each), *dir(each)}:
                getattr(each, attribute, None)  # lets no error but an AttributeError pass
            repr(each)
            inspect.getmembers(each)


def test_displays_read_nothing(gone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = {k: v for k, v in objects(gone).items() if isinstance(v, BaseEstimator)}
    looked_at["pipeline"] = make_pipeline(gone["loaded"])
    assert len(looked_at) > 10
    with only_looking(monkeypatch):
        for each in looked_at.values():
            assert "<div" in each._repr_html_()
            assert {"text/plain", "text/html"} <= set(each._repr_mimebundle_())


def test_the_name_of_old_tells_the_new_one(gone: Any) -> None:
    for name in ("fitted", "loaded"):
        with pytest.raises(AttributeError, match=r"call net\(\)"):
            gone[name].net_  # noqa: B018
        assert not hasattr(gone[name], "net_")
    with pytest.raises(AttributeError, match=r"call net\(\)"):
        LNTunedTransformerClassifier().net_  # noqa: B018


def test_a_net_needs_the_backbone_and_a_fit(gone: Any) -> None:
    with pytest.raises(ValueError, match="backbone .* is not a folder"):
        gone["loaded"].net()
    with pytest.raises(NotFittedError):
        LNTunedTransformerClassifier().net()


# -- the net ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["texts", "array", "pairs", "frame", "native", "numbers"])
def test_a_net_answers_as_its_classifier(
    kind: str, tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    X: Any = {
        "array": np.array(texts, dtype=object),
        "pairs": list(zip(texts, texts[1:] + texts[:1], strict=True)),
        "frame": pd.DataFrame({"a": texts, "b": texts[::-1]}),
    }.get(kind, texts)
    y = [len(label) for label in labels] if kind == "numbers" else labels
    pooling = "native" if kind == "native" else "auto"
    clf = tiny_clf(pooling=pooling, max_epochs=1, precision="float32").fit(X, y)
    net = clf.net()
    assert isinstance(net, NeuralNetClassifier)
    assert (net.predict_proba(X) == clf.predict_proba(X)).all()
    assert (net.predict(X) == clf.predict(X)).all()
    assert net.predict(X).dtype == clf.predict(X).dtype
    assert net.score(X, y) == clf.score(X, y)
    weights = np.arange(len(y))
    assert net.score(X, y, sample_weight=weights) == clf.score(X, y, sample_weight=weights)
    assert (net.classes_ == clf.classes_).all()
    for scoring in ("accuracy", "neg_log_loss", "f1_macro"):
        assert get_scorer(scoring)(net, X, y) == get_scorer(scoring)(clf, X, y)
    logits = net.forward(X).numpy()
    assert (logits.argmax(axis=1) == clf.predict_proba(X).argmax(axis=1)).all()
    assert [len(batch) for batch in net.forward_iter(X)] == [8] * 5


def test_a_net_checks_what_it_predicts(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    net = tiny_clf(max_epochs=1).fit(texts, labels).net()
    with pytest.raises(ValueError, match="expecting 1 features"):
        net.predict([("a", "b")])
    with pytest.raises(ValueError, match="only predicts"):
        net.forward(texts, training=True)
    for train in (net.fit, net.partial_fit):
        with pytest.raises(TypeError, match="call fit or partial_fit of the classifier"):
            train(texts, labels)


def test_a_net_stays_as_it_is(tiny_clf: Clf, texts: list[str], labels: list[str]) -> None:
    clf = tiny_clf(max_epochs=1).fit(texts, labels)
    net, expected = clf.net(), clf.predict_proba(texts)
    clf.set_params(random_state=5, tuning="head").fit([(text, text) for text in texts], labels)
    assert (net.predict_proba(texts) == expected).all()
    assert (pickle.loads(pickle.dumps(net)).predict_proba(texts) == expected).all()
    assert (clone(net).predict_proba(texts) == expected).all()
    assert len(net.history) == 1


def test_a_net_of_another_tuning_than_the_parameter_now_says(
    tiny_clf: Clf, texts: list[str], labels: list[str]
) -> None:
    clf = tiny_clf(max_epochs=1).fit(texts, labels).set_params(tuning="bias")
    assert (clf.net().predict_proba(texts) == clf.predict_proba(texts)).all()


# -- the HTML display -------------------------------------------------------------------


def test_the_display_tells_backbone_share_and_size(
    gone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clf = gone["loaded"]
    trained = sum(value.size for name, value in clf.delta_.items() if name[:5] != "head/")
    share = 100 * trained / clf.backbone_["parameters"]
    kilobytes = sum(value.nbytes for value in clf.delta_.values()) / 1000
    caption = (
        f"backbone, {trained:,} trained parameters ({share:.2g} %), {kilobytes:,.0f} kB with the "
        "head"
    )
    with only_looking(monkeypatch):
        for each in (clf, gone["fitted"], make_pipeline(clf)):
            assert caption in each._repr_html_()
        assert "trained parameters" not in clone(clf)._repr_html_()


def test_the_display_escapes_the_name_of_the_backbone(gone: Any) -> None:
    clf = pickle.loads(pickle.dumps(gone["loaded"]))
    clf.backbone_ = {**clf.backbone_, "name": "<script>alert(1)</script> & co"}
    assert "<script>alert" not in clf._repr_html_()
    del clf.backbone_["parameters"]  # as in the oldest files
    assert "trained parameters, " in clf._repr_html_()


def test_displays_link_to_the_reference() -> None:
    """To the pages that autosummary writes for the names in the reference."""
    listed = (Path(__file__).parents[1] / "docs" / "api" / "index.rst").read_text("utf-8")
    module, pages = "", set()
    for line in listed.splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.removeprefix(".. currentmodule:: ")
        elif line.startswith("   "):
            pages.add(f"{module}.{line.strip()}.html")
    both = LayerNormTuning() + tuning.BiasTuning()
    for each in (LNTunedTransformerClassifier(), LayerNormTuning(), both):
        link = each._get_doc_link()
        assert link.startswith("https://")
        assert link.rpartition("/")[2] in pages
        assert f'href="{link}"' in each._repr_html_()
    assert type("Mine", (LNTunedTransformerClassifier,), {})()._get_doc_link() == ""
