"""Which words spoke for a prediction."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import moved
from families import known_families
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklearn_lntune import (
    LNTunedTransformerClassifier,
    LNTunedTransformerRegressor,
    LNTunedTransformerTagger,
)
from sklearn_lntune.inspection import Explanation, Explanations, explain
from sklearn_lntune.prediction import attributing

Make = Callable[..., Path]

#: The tolerance of the sums in float64. Some families have kinks or change fast near the baseline,
#: and some compute the angles of positions in float32.
TOLERANCE = {
    **dict.fromkeys(["opt", "llama", "qwen3", "gemma2", "mistral", "t5"], 0.01),
    **dict.fromkeys(["deberta-v2", "modernbert", "esm", "gpt-neox"], 1e-4),
}
#: The test's tokenizer, read as one of Qwen 2, finds no words.
EXPLAINED = [family for family in known_families() if family != "qwen2"]


def fitted(folder: Path, X: Any, y: Any, **params: Any) -> LNTunedTransformerClassifier:
    """A classifier in float64 whose delta is far from where training starts."""
    quick = {"max_epochs": 1, "min_steps": 0, "random_state": 0, "device": "cpu"}
    far = {"batch_size": 32, "lr": 5e-3, "head_lr": 1e-2}
    clf = LNTunedTransformerClassifier(folder, precision="float64", **quick | far | params)
    return moved(clf.fit(X, y))


@pytest.fixture(scope="module")
def clf(lively_backbone: Make, texts: list[str], labels: list[str]) -> Any:
    return fitted(lively_backbone(), texts, labels)


def check_sums(clf: Any, X: Any, explanations: Explanations, tolerance: float) -> None:
    """Attributions add up, and the outputs are those of a prediction."""
    logits = clf.decision_function(X)
    for row, each in enumerate(explanations):
        assert each.output == pytest.approx(logits[row].max(), abs=1e-12)
        assert clf.classes_[logits[row].argmax()] == each.target
        assert each.attributions.sum() == pytest.approx(
            each.output - each.at_baseline, abs=tolerance
        )
        assert each.gap == pytest.approx(0, abs=tolerance)
        assert np.abs(each.attributions).max() > 1e-3  # so that the sums say something


@pytest.mark.parametrize(
    ("family", "baseline"),
    [*((family, "mask") for family in EXPLAINED), ("bert", "mean"), ("bart", "mean")],
)
def test_attributions_add_up_to_the_difference_in_logits(
    family: str, baseline: str, lively_backbone: Make, texts: list[str], labels: list[str]
) -> None:
    clf, X = fitted(lively_backbone(family), texts[:12], labels[:12]), texts[:4]
    found = explain(clf, X, baseline=baseline, n_steps=64, tolerance=3e-3)
    check_sums(clf, X, found, TOLERANCE.get(family, 1e-9))


@pytest.mark.parametrize(
    "params",
    [
        {"tuning": "layernorm+prefix"},
        {"tuning": "lora"},
        {"tuning": "adapter+bias"},
        {"tuning": "full"},
        {"tuning": "head"},
        {"pooling": "native"},
        {"pooling": "cls"},
    ],
    ids=str,
)
def test_every_tuning_and_pooling(
    params: Any, lively_backbone: Make, texts: list[str], labels: list[str]
) -> None:
    clf = fitted(lively_backbone(), texts[:12], labels[:12], **params)
    before = clf.predict_proba(texts)
    check_sums(clf, texts[:4], explain(clf, texts[:4]), 1e-9)
    assert (clf.predict_proba(texts) == before).all()


def test_attributions_are_those_of_single_passes(clf: Any, texts: list[str]) -> None:
    """The slow way: one text at one step at a time, through ``inputs_embeds``."""
    predictor = clf._predictor()
    body, embed = predictor.network.body, predictor.network.body.get_input_embeddings()
    points, weights = np.polynomial.legendre.leggauss(32)
    for each in explain(clf, texts[3:6], baseline="mask"):
        table = predictor.table_maker.table([each.texts[0]], clf.max_length_)
        inputs = predictor.network.batch(table, np.arange(1)).inputs
        ids, column = inputs.pop("input_ids"), clf.classes_.tolist().index(each.target)
        start = embed(torch.where((ids == 1) | (ids == 2), ids, 4)).detach()
        end, total = embed(ids).detach(), 0.0
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
            here = (start + point * (end - start)).requires_grad_()
            states = body(inputs_embeds=here, **inputs).last_hidden_state
            (gradient,) = torch.autograd.grad(
                predictor.network.head(states.mean(1))[0, column], here
            )
            total = total + weight * gradient
        expected = ((end - start) * total).sum(-1)[0, 1:-1].numpy()
        np.testing.assert_allclose(each.attributions, expected, atol=1e-12)


def test_pairs(lively_backbone: Make, texts: list[str], labels: list[str]) -> None:
    pairs = list(zip(texts, texts[::-1], strict=True))
    clf = fitted(lively_backbone(), pairs, labels)
    found = explain(clf, pairs[:6])
    check_sums(clf, pairs[:6], found, 1e-9)
    for pair, each in zip(pairs, found, strict=False):
        assert each.texts == pair
        assert each.words == [word for text in pair for word in text.split()]
        assert [text for text, *_ in each.spans] == [
            number for number, text in enumerate(pair) for _ in text.split()
        ]
    assert set(found.to_frame()["text"]) == {0, 1}


def test_words_are_shown_not_tokens(clf: Any) -> None:
    (each,) = explain(clf, ["Good, BAD  sun 305!"])  # digits are tokens of their own
    assert each.words == ["Good", ",", "BAD", "sun", "305", "!"]
    assert each.to_frame().columns.tolist() == ["text", "start", "end", "word", "attribution"]


def test_any_target_can_be_explained(clf: Any, texts: list[str]) -> None:
    logits = clf.decision_function(texts[:3])
    for column, label in enumerate(clf.classes_):
        found = explain(clf, texts[:3], label)
        assert [each.target for each in found] == [label] * 3
        assert [each.output for each in found] == pytest.approx(logits[:, column])


@pytest.mark.parametrize("classes", [[1, 2], [True, False], [0.5, 1.5]])
def test_labels_of_other_kinds(classes: list[Any], lively_backbone: Make, texts: list[str]) -> None:
    labels = (classes * 20)[: len(texts)]
    if isinstance(classes[0], float):
        labels = [str(label) for label in labels]
    clf = fitted(lively_backbone(), texts, labels)
    for label in clf.classes_:
        assert explain(clf, texts[:1], label)[0].target == label
    with pytest.raises(ValueError, match="target='nothing' is not among"):
        explain(clf, texts[:1], "nothing")
    if classes == [1, 2]:
        with pytest.raises(ValueError, match="target=True is not among"):
            explain(clf, texts[:1], True)


def test_every_form_of_x(clf: Any, texts: list[str]) -> None:
    expected = [each.attributions.tolist() for each in explain(clf, texts[:3])]
    for X in (np.array(texts[:3]), pd.Series(texts[:3])):
        assert [each.attributions.tolist() for each in explain(clf, X)] == expected


def test_memory_is_bounded(clf: Any, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    X = texts[:20]
    expected = explain(clf, X)
    sizes = []
    gradients = attributing._Path.gradients

    def noted(self: Any, network: Any, batch: Any, *args: Any) -> Any:
        sizes.append(batch["input_ids"].numel())
        return gradients(self, network, batch, *args)

    monkeypatch.setattr(attributing._Path, "gradients", noted)
    monkeypatch.setattr(attributing, "STEP_TOKENS", {"cpu": 50})
    for one, other in zip(explain(clf, X), expected, strict=True):
        np.testing.assert_allclose(one.attributions, other.attributions, atol=1e-12)
    assert max(sizes) <= 50 < sum(sizes)


def test_gradients_are_computed_wherever_they_are_switched_off(clf: Any, texts: list[str]) -> None:
    expected = explain(clf, texts[:1])[0].attributions
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert (explain(clf, texts[:1])[0].attributions == expected).all()


def test_more_steps_are_taken_if_a_sum_is_missed(
    lively_backbone: Make, texts: list[str], labels: list[str]
) -> None:
    clf = fitted(lively_backbone("gemma2"), texts[:12], labels[:12])
    with pytest.warns(UserWarning, match=r"1 of 1 rows miss their sum by more than 0.01 of"):
        explain(clf, texts[5:6], n_steps=1, tolerance=0.01)
    coarse = explain(clf, texts[5:6], n_steps=4, tolerance=10)[0]
    fine = explain(clf, texts[5:6], n_steps=64, tolerance=0.01)[0]
    assert abs(fine.gap) < 0.01 * np.abs(fine.attributions).sum() < abs(coarse.gap)


def test_a_text_without_words(clf: Any) -> None:
    (each,) = explain(clf, [""])
    assert each.words == []
    assert each.output == pytest.approx(each.at_baseline, abs=1e-12)
    assert each.to_frame().empty
    assert "without the words" in repr(each)
    assert "without the words" in each._repr_html_()


def test_words_that_were_cut_off_are_shown_as_such(
    lively_backbone: Make, texts: list[str], labels: list[str]
) -> None:
    clf = fitted(lively_backbone(), texts, labels)
    clf.max_length_ = 5
    (each,) = explain(clf, ["good bad sun rain fast"])
    assert each.words == ["good", "bad", "sun"]
    assert '<span title="cut off" style="opacity: 0.5"> rain fast</span>' in each._repr_html_()


# -- how they are shown -----------------------------------------------------------------


def test_html_is_escaped_and_holds_the_whole_text() -> None:
    text = '<script>alert("&amp;")</script>  end'
    each = Explanation(
        (text, "<b>"),
        [(0, 0, 8), (0, 37, 40), (1, 0, 3)],
        np.array([1.0, -2.0, 0.5]),
        "<img src=x onerror=y>",
        1.0,
        0.5,
    )
    for shown in (each, Explanations([each])):
        html = shown._repr_html_()
        seen: list[str] = []
        tags: set[str] = set()

        class Parser(HTMLParser):
            def handle_data(self, data: str) -> None:
                seen.append(data)  # noqa: B023 - used in the same turn

            def handle_starttag(self, tag: str, attributes: Any) -> None:
                tags.add(tag)  # noqa: B023

        Parser().feed(html)
        assert tags <= {"div", "p", "span", "b"}
        assert text in "".join(seen)
        assert "<img src=x onerror=y>" in "".join(seen)


def test_text_names_the_largest_words_first() -> None:
    spans = [(0, i, i + 1) for i in range(12)]
    each = Explanation(("abcdefghijkl",), spans, np.arange(12.0), "red", 70.0, 4.0)
    lines = repr(each).splitlines()
    assert lines[0] == "red: 70, without the words 4"
    assert lines[1].split() == ["+11.000", "l"]
    assert lines[-1].split() == ["+1.000", "2", "other", "words"]
    assert repr(Explanations([each, each])) == f"{each}\n\n{each}"


def test_many_rows_are_not_all_shown(clf: Any, texts: list[str]) -> None:
    (each,) = explain(clf, texts[:1])
    many = Explanations([each] * 60)
    assert repr(many).endswith("and 10 more")
    assert many._repr_html_().count("sklearn-lntune-explanation") == 50
    assert len(many[:3]) == 3
    assert isinstance(many[:3], Explanations)
    assert many.to_frame()["row"].max() == 59


# -- errors -----------------------------------------------------------------------------


def test_wrong_arguments(clf: Any, texts: list[str], tiny_clf: Any) -> None:
    with pytest.raises(NotFittedError):
        explain(tiny_clf(), texts)
    with pytest.raises(TypeError, match=r"got Pipeline\. Of a pipeline"):
        explain(make_pipeline(clf), texts)
    with pytest.raises(ValueError, match="baseline must be one of"):
        explain(clf, texts, baseline="zero")
    with pytest.raises(ValueError, match="n_steps must be an int"):
        explain(clf, texts, n_steps=0)
    with pytest.raises(ValueError, match="tolerance must be"):
        explain(clf, texts, tolerance=0)
    with pytest.raises(TypeError, match="X must be"):
        explain(clf, "one text")


def test_what_cannot_be_explained_is_said(
    clf: Any, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = clf._checked_backbone()
    with monkeypatch.context() as patched:
        patched.setattr(attributing, "n_embeddings", lambda model: None)
        with pytest.raises(ValueError, match="BertModel has no table of token embeddings"):
            explain(clf, texts)
    with monkeypatch.context() as patched:
        patched.setattr(type(backbone.tokenizer), "is_fast", False)
        with pytest.raises(ValueError, match="does not say which characters"):
            explain(clf, texts)
    with monkeypatch.context() as patched:
        patched.setattr(type(backbone.tokenizer), "mask_token_id", None, raising=False)
        assert len(explain(clf, texts[:1])) == 1
        with pytest.raises(ValueError, match="no mask token; choose 'mean'"):
            explain(clf, texts, baseline="mask")
    with monkeypatch.context() as patched:
        patched.setattr(attributing, "embeddings_of", lambda network: torch.nn.Embedding(120, 16))
        with pytest.raises(ValueError, match="in a way that gradients can follow"):
            explain(clf, texts)


# -- other kinds of target --------------------------------------------------------------


def test_several_labels(lively_backbone: Make, texts: list[str]) -> None:
    y = np.array([[len(text) % 2, len(text) % 3 == 0, "sun" in text] for text in texts], int)
    clf = fitted(lively_backbone(), texts, y)
    logits = clf.decision_function(texts[:3])
    for label in clf.classes_:
        for row, each in enumerate(explain(clf, texts[:3], label)):
            assert each.target == label
            assert each.output == pytest.approx(logits[row, label])
            assert each.gap == pytest.approx(0, abs=1e-9)
    assert [each.target for each in explain(clf, texts[:3])] == logits.argmax(axis=1).tolist()
    with pytest.raises(ValueError, match="target=3 is not among"):
        explain(clf, texts, 3)
    named = fitted(lively_backbone(), texts, pd.DataFrame(y, columns=["odd", "third", "sunny"]))
    for target in (2, "sunny"):
        (each,) = explain(named, texts[:1], target)
        assert (each.target, each.output) == ("sunny", pytest.approx(logits[0, 2]))


def test_numbers_are_explained_in_their_units(lively_backbone: Make, texts: list[str]) -> None:
    lengths = np.array([len(text) for text in texts], float)
    quick = {"max_epochs": 1, "min_steps": 0, "random_state": 0, "precision": "float64"}
    model: Any = LNTunedTransformerRegressor(lively_backbone(), device="cpu", **quick)
    moved(model.fit(texts, 100 * lengths))
    for expected, each in zip(model.predict(texts[:3]), explain(model, texts[:3]), strict=True):
        assert each.target is None
        assert each.output == pytest.approx(expected)
        assert each.gap == pytest.approx(0, abs=1e-6)
        assert np.abs(each.attributions).max() > 1
        assert repr(each).startswith("prediction: ")

    moved(model.fit(texts, np.column_stack([100 * lengths, -lengths])))
    with pytest.raises(ValueError, match=r"predicts 2 numbers; pass target.*\(0 to 1\)"):
        explain(model, texts)
    for column in (0, 1):
        (each,) = explain(model, texts[:1], column)
        assert each.target == column
        assert each.output == pytest.approx(model.predict(texts[:1])[0, column])


def test_texts_of_one_window(lively_backbone: Make, texts: list[str], labels: list[str]) -> None:
    windows = {"long_texts": "windows", "max_length": 6, "window_pooling": "attention"}
    clf = fitted(lively_backbone(), texts, labels, **windows)
    short = [text for text in texts if len(text.split()) <= 4][:3]
    check_sums(clf, short, explain(clf, short), 1e-9)
    with pytest.raises(ValueError, match=r"the text 'good bad .* is read in several windows"):
        explain(clf, [short[0], "good bad sun rain fast slow"])


def test_the_tag_of_a_word(lively_backbone: Make) -> None:
    sentences = [["good", "bad", "305", "sun"], ["sun", "rain"], ["fast"]] * 4
    tags = [["x", "y", "z", "x"], ["x", "y"], ["z"]] * 4
    options: Any = {"precision": "float64", "device": "cpu", "max_epochs": 1, "min_steps": 0}
    tagger: Any = LNTunedTransformerTagger(lively_backbone(), random_state=0, **options)
    moved(tagger.fit(sentences, tags))
    X = sentences[:2]
    for word in (0, 1):
        for each, sentence, predicted in zip(
            explain(tagger, X, word), X, tagger.predict(X), strict=True
        ):
            assert each.words == sentence
            assert each.texts == (" ".join(sentence),)
            assert each.target == predicted[word]
            assert each.gap == pytest.approx(0, abs=1e-9)
            assert np.abs(each.attributions).max() > 1e-3
        proba = tagger.predict_proba(X)
        logits = [[each.output for each in explain(tagger, X, (word, tag))] for tag in "xyz"]
        ratios = np.exp(logits) / np.exp(logits).sum(axis=0)
        assert pytest.approx(np.array([row[word] for row in proba])) == ratios.T
    with pytest.raises(ValueError, match=r"names the word 2, .* 'sun rain' has 2 words"):
        explain(tagger, X, 2)
    for target in (None, "x", True, -1):
        with pytest.raises(ValueError, match="target must be the number of the word"):
            explain(tagger, X, target)
    with pytest.raises(ValueError, match="target='w' is not among"):
        explain(tagger, X, (0, "w"))
    long = LNTunedTransformerTagger(lively_backbone(), max_length=6, random_state=0, **options)
    with pytest.raises(ValueError, match="is read in several windows"):
        explain(long.fit(sentences, tags), sentences, 0)
