"""The tagger: what the classifier can do, with a tag for each word."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WORDS, moved
from seqeval.metrics import f1_score
from sklearn.base import clone
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

import sklearn_lntune
from sklearn_lntune import DeltaBank, LNTunedTransformerTagger, fused_fits
from sklearn_lntune.backbone.pool import get_backbone

Make = Callable[..., LNTunedTransformerTagger]
LENGTH = 12  # so that the longest sentences are several windows


@pytest.fixture
def make(lively_backbone: Callable[..., Path]) -> Make:
    def make(family: str = "bert", **params: Any) -> LNTunedTransformerTagger:
        quick = {"max_epochs": 2, "min_steps": 0, "batch_size": 8, "random_state": 0}
        exact = {"precision": "float64", "device": "cpu", "max_length": LENGTH}
        return LNTunedTransformerTagger(lively_backbone(family), **{**quick, **exact, **params})

    return make


def tag(word: str, before: str) -> str:
    kind = {"cat": "animal", "dog": "animal", "red": "colour", "blue": "colour"}.get(word)
    return "O" if kind is None else f"I-{kind}" if before == word else f"B-{kind}"


@pytest.fixture(scope="module", name="X")
def sentences() -> list[list[str]]:
    """Sentences of very different lengths, one of them empty; "3.5" is several tokens."""
    random = np.random.default_rng(0)
    lengths = [0, 1, 40, *random.integers(1, 9, 21)]
    return [random.choice([*WORDS[:14], "3.5", " "], length).tolist() for length in lengths]


@pytest.fixture(scope="module", name="y")
def tags_of_sentences(X: list[list[str]]) -> list[list[str]]:
    return [[tag(*pair) for pair in zip(words, ["", *words], strict=False)] for words in X]


@pytest.fixture
def fitted(make: Make, X: Any, y: Any) -> LNTunedTransformerTagger:
    tagger: Any = make(max_epochs=1).fit(X, y)
    return moved(tagger)  # type: ignore[return-value]


# -- predictions ---------------------------------------------------------------------


def test_each_word_gets_a_tag(fitted: LNTunedTransformerTagger, X: Any, y: Any) -> None:
    predicted, probabilities = fitted.predict(X), fitted.predict_proba(X)
    assert [len(tags) for tags in predicted] == [len(words) for words in X]
    assert {type(each) for tags in predicted for each in tags} == {str}
    assert fitted.classes_.tolist() == sorted({each for tags in y for each in tags})
    for tags, rows in zip(predicted, probabilities, strict=True):
        assert rows.shape == (len(tags), len(fitted.classes_))
        np.testing.assert_allclose(rows.sum(axis=1), 1)
        assert fitted.classes_[rows.argmax(axis=1)].tolist() == tags
    assert fitted.predict([" ".join(words) for words in X[3:6]]) == [
        fitted.predict([" ".join(words).split()])[0] for words in X[3:6]
    ]


def test_a_sentence_that_fits_is_computed_as_by_the_plain_model(
    fitted: LNTunedTransformerTagger, lively_backbone: Callable[..., Path]
) -> None:
    folder = lively_backbone()
    model = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    for name, value in fitted.delta_.items():
        if name.startswith("layernorm/"):
            _, path, term = name.split("/")
            weight = getattr(model.get_submodule(path), {"gain": "weight"}.get(term, term))
            weight.data = torch.from_numpy(value)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = ["red", "3.5", "cat", "12"]
    inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    begins = [inputs.word_ids().index(word) for word in range(4)]
    states = model(input_ids=inputs["input_ids"]).last_hidden_state[0][begins]
    logits = states.detach().numpy() @ fitted.delta_["head/weight"].T + fitted.delta_["head/bias"]
    expected = functional.softmax(torch.from_numpy(logits), 1).numpy()
    np.testing.assert_allclose(fitted.predict_proba([words])[0], expected, rtol=0, atol=1e-12)


def test_transform_gives_the_vector_of_each_sentence(
    fitted: LNTunedTransformerTagger, X: Any, lively_backbone: Callable[..., Path]
) -> None:
    vectors = fitted.transform(X)
    assert vectors.shape == (len(X), fitted.embedding_size_)
    # A long sentence has the vector of its beginning, like a text that is cut.
    words = ["red", "cat"] * 20
    np.testing.assert_allclose(
        fitted.transform([words])[0], fitted.transform([words[: LENGTH - 2]])[0], atol=1e-12
    )


def test_the_score_is_that_of_seqeval(fitted: LNTunedTransformerTagger, X: Any, y: Any) -> None:
    assert fitted.score(X, y) == pytest.approx(f1_score(y, fitted.predict(X)))
    weights = np.arange(len(X))
    repeated = np.repeat(weights, weights)
    expected = fitted.score([X[i] for i in repeated], [y[i] for i in repeated])
    assert fitted.score(X, y, sample_weight=weights) == pytest.approx(expected)


def test_parts_of_speech_are_scored_by_accuracy(make: Make, X: Any) -> None:
    y = [[len(word) for word in words] for words in X]
    tagger = make().fit(X, y)
    predicted = tagger.predict(X)
    assert {type(each) for tags in predicted for each in tags} == {int}
    right = [
        a == b
        for row, other in zip(y, predicted, strict=True)
        for a, b in zip(row, other, strict=True)
    ]
    assert tagger.score(X, y) == pytest.approx(np.mean(right))


# -- training ------------------------------------------------------------------------


def test_it_learns(make: Make, X: Any, y: Any) -> None:
    tagger = make(max_epochs=30, lr=1e-2, head_lr=3e-2).fit(X, y)
    assert tagger.score(X, y) > 0.9


@pytest.mark.parametrize("weighted", [False, True])
def test_a_fit_equals_a_plain_loop(
    weighted: bool,
    make: Make,
    lively_backbone: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    X: Any,
    y: Any,
) -> None:
    """Every sentence fits into one window, so that a loop over sentences computes the same."""
    from sklearn_lntune.network import Network
    from sklearn_lntune.training import batches as training_batches

    X = [[word for word in words if word != " "] or ["cat"] for words in X[3:]]
    y = [[tag(*pair) for pair in zip(words, ["", *words], strict=False)] for words in X]
    weight = np.random.default_rng(0).integers(1, 4, len(X)) if weighted else None
    plan: list[np.ndarray] = []
    start: dict[str, np.ndarray] = {}
    shuffled, made = training_batches.shuffled_batches, Network.__init__

    def recorded(*args: Any) -> list[np.ndarray]:
        batches = shuffled(*args)
        plan.extend(batches)
        return batches

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        start.update(self.delta())

    monkeypatch.setattr(training_batches, "shuffled_batches", recorded)
    monkeypatch.setattr(Network, "__init__", noted)
    tagger = make(max_length=64, dropout=0.0, lr=3e-3, head_lr=3e-3).fit(X, y, weight)

    from sklearn_lntune.training.rules import lr_factor

    folder, dtype = lively_backbone(), torch.float64
    model = AutoModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    model.requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    learnt = {}
    for norm in get_backbone(folder).anatomy.norms:
        module = model.get_submodule(norm.path)
        learnt[f"layernorm/{norm.path}/gain"] = module.weight.requires_grad_()
        learnt[f"layernorm/{norm.path}/bias"] = module.bias.requires_grad_()
    for name in ("head/weight", "head/bias"):
        learnt[name] = torch.tensor(start[name], dtype=dtype, requires_grad=True)
    decayed = [learnt["head/weight"]]
    others = [value for value in learnt.values() if value is not decayed[0]]
    optimizer = torch.optim.AdamW(
        [{"params": others, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.01}],
        lr=3e-3,
    )
    weights = np.ones(len(X)) if weight is None else weight
    mean = np.mean([w * len(words) for w, words in zip(weights, X, strict=True)])
    for step, batch in enumerate(plan):
        total = torch.zeros((), dtype=dtype)
        for row in batch:
            inputs = tokenizer(X[row], is_split_into_words=True, return_tensors="pt")
            states = model(input_ids=inputs["input_ids"]).last_hidden_state[0]
            begins = [inputs.word_ids().index(word) for word in range(len(X[row]))]
            logits = states[begins] @ learnt["head/weight"].T + learnt["head/bias"]
            codes = torch.tensor(np.searchsorted(tagger.classes_, y[row]))
            # Each word counts the same, times the weight of its sentence.
            total = total + functional.cross_entropy(logits, codes, reduction="sum") * weights[row]
        optimizer.zero_grad()
        (total / mean / len(batch)).backward()
        torch.nn.utils.clip_grad_norm_(learnt.values(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * lr_factor(step, len(plan), 0.1, "linear")
        optimizer.step()
    assert tagger.delta_.keys() == learnt.keys()
    for name, values in tagger.delta_.items():
        expected = learnt[name].detach().numpy()
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12, err_msg=name)


def test_a_weight_of_zero_leaves_a_sentence_out(make: Make, X: Any, y: Any) -> None:
    weights = np.ones(len(X))
    weights[[2, 5]] = 0
    kept = np.flatnonzero(weights)
    weighted = make().fit(X, y, weights)
    without = make().fit([X[i] for i in kept], [y[i] for i in kept])
    for name, value in weighted.delta_.items():
        np.testing.assert_allclose(value, without.delta_[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("scoring", ["auto", "loss", "accuracy", make_scorer(lambda a, b: 0.5)])
def test_early_stopping_scores_validation_sentences(
    scoring: Any, make: Make, X: Any, y: Any
) -> None:
    tagger = make(early_stopping=True, scoring=scoring, max_epochs=3)
    tagger.fit(X, y, X_val=X[:6], y_val=y[:6])
    scores = tagger.history_["valid_score"]
    assert len(scores) == 3
    if scoring == "auto":
        assert tagger.score(X[:6], y[:6]) == pytest.approx(scores.max())
    held_out = make(early_stopping=True, scoring="loss", validation_fraction=0.3).fit(X, y)
    np.testing.assert_allclose(
        held_out.history_["valid_score"], -held_out.history_["valid_loss"], rtol=1e-12
    )


def test_partial_fit_goes_on(make: Make, X: Any, y: Any) -> None:
    classes = {each for tags in y for each in tags} | {"B-new"}
    tagger = make()
    with pytest.raises(ValueError, match="classes must be passed"):
        tagger.partial_fit(X, y)
    tagger.partial_fit(X[:9], y[:9], classes=list(classes)).partial_fit(X[9:], y[9:])
    assert tagger.n_epochs_ == 2
    assert set(tagger.classes_) == classes
    with pytest.raises(ValueError, match="differ from those of the first call"):
        tagger.partial_fit(X, y, classes=["O", "B-a"])


def test_a_warm_start_needs_the_same_tags(make: Make, X: Any, y: Any) -> None:
    tagger = make(warm_start=True).fit(X, y)
    tagger.fit(X, y)
    with pytest.raises(ValueError, match="warm_start continues with the tags"):
        tagger.fit([["a", "b"]], [["O", "B-a"]])


@pytest.mark.parametrize(
    "tuning", ["bias", "lora", "prefix", "adapter", "scale", "layernorm+prefix", "full", "head"]
)
def test_every_method_trains_a_tagger(tuning: str, make: Make, X: Any, y: Any) -> None:
    tagger = make(tuning=tuning, max_epochs=1).fit(X, y)
    assert [len(tags) for tags in tagger.predict(X)] == [len(words) for words in X]


@pytest.mark.parametrize("family", ["roberta", "deberta-v2", "modernbert", "gpt2", "llama", "t5"])
def test_every_family_trains_a_tagger(
    family: str, tiny_backbone: Callable[..., Path], X: Any, y: Any
) -> None:
    tagger = LNTunedTransformerTagger(
        tiny_backbone(family), max_epochs=1, min_steps=0, device="cpu", precision="float64"
    ).fit(X[:6], y[:6])
    assert [len(tags) for tags in tagger.predict(X[:6])] == [len(words) for words in X[:6]]


def test_only_upper_layers_train_from_cached_activations(
    make: Make, X: Any, y: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn_lntune.training import fitting
    from sklearn_lntune.tuning import LayerNormTuning

    tagger = make(tuning=LayerNormTuning(layers=1))
    cached = clone(tagger).fit(X, y)
    monkeypatch.setattr(fitting, "activation_cache_of", lambda job, network: None)
    for name, value in clone(tagger).fit(X, y).delta_.items():
        np.testing.assert_allclose(cached.delta_[name], value, rtol=0, atol=1e-12)


def test_a_fit_resumes_from_its_checkpoint(
    make: Make, X: Any, y: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn_lntune.training.steps import Steps

    options = {"max_epochs": 3, "checkpoint": tmp_path / "checkpoint", "checkpoint_every": 1}
    whole = make(max_epochs=3).fit(X, y)
    step, n_steps = Steps.step, iter(range(5))

    def interrupted(self: Any, *args: Any) -> Any:
        if next(n_steps, None) is None:
            raise RuntimeError("pulled the plug")
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "step", interrupted)
        with pytest.raises(RuntimeError, match="plug"):
            make(**options).fit(X, y)
    resumed = make(**options).fit(X, y)
    assert resumed.n_steps_ == whole.n_steps_
    for name, value in whole.delta_.items():
        np.testing.assert_array_equal(value, resumed.delta_[name])
    with pytest.raises(ValueError, match="checkpoint"):
        make(**options).fit(X, [tags[::-1] for tags in y])


# -- scikit-learn --------------------------------------------------------------------


def test_clones_pickles_and_files(fitted: LNTunedTransformerTagger, X: Any, tmp_path: Path) -> None:
    assert clone(fitted).get_params() == fitted.get_params()
    stored = pickle.dumps(fitted)
    assert len(stored) < 30_000
    expected = fitted.predict_proba(X)
    fitted.save(tmp_path / "tagger.zip", metrics={"f1": 0.5})
    for again in (pickle.loads(stored), sklearn_lntune.load(tmp_path / "tagger.zip")):
        assert type(again) is LNTunedTransformerTagger
        for rows, own in zip(again.predict_proba(X), expected, strict=True):
            np.testing.assert_array_equal(rows, own)
    fitted.save(tmp_path / "tagger")
    card = (tmp_path / "tagger" / "README.md").read_text("utf-8")
    assert "token-classification" in card
    assert "tagger.predict" in card
    assert "B-animal" in card


def test_it_is_a_step_of_a_pipeline(make: Make, X: Any, y: Any) -> None:
    lower = FunctionTransformer(lambda rows: [[word.lower() for word in row] for row in rows])
    pipeline = make_pipeline(lower, make(max_epochs=1)).fit(X, y)
    assert pipeline.predict([["RED", "Cat"]]) == pipeline.predict([["red", "cat"]])
    assert pipeline.score(X, y) == pipeline[-1].score(X, y)
    vectors = Pipeline([("vectors", make(max_epochs=1))]).fit(X, y).transform(X)
    assert vectors.shape[0] == len(X)


def test_a_fused_search_equals_a_plain_one(make: Make, X: Any, y: Any) -> None:
    grid = {"lr": [1e-3, 3e-2], "max_length": [LENGTH, 64]}
    scores = []
    for fused in (False, True):
        search = GridSearchCV(make(), grid, cv=2, scoring=None, error_score="raise")
        if fused:
            with fused_fits() as banks:
                search.fit(X, y)
            del banks
        else:
            search.fit(X, y)
        proba = np.concatenate(search.best_estimator_.predict_proba(X))
        scores.append((search.cv_results_["mean_test_score"], proba))
    np.testing.assert_allclose(scores[0][0], scores[1][0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(scores[0][1], scores[1][1], rtol=0, atol=1e-10)


def test_a_fused_fit_equals_a_fit_alone(make: Make, X: Any, y: Any) -> None:
    import joblib

    def fit(seed: int, size: int) -> LNTunedTransformerTagger:
        return make(
            random_state=seed, early_stopping=True, scoring="accuracy", batch_size=size
        ).fit(X, y)

    jobs = [(0, 8), (1, 5), (2, 8)]
    with fused_fits():
        together = joblib.Parallel()(joblib.delayed(fit)(*job) for job in jobs)
    for job, found in zip(jobs, together, strict=True):
        alone = fit(*job)
        np.testing.assert_allclose(
            alone.history_["valid_score"], found.history_["valid_score"], rtol=1e-10
        )
        for name, value in alone.delta_.items():
            np.testing.assert_allclose(found.delta_[name], value, rtol=0, atol=1e-10)


def test_cross_validation_takes_lists_of_lists(make: Make, X: Any, y: Any) -> None:
    from sklearn.metrics import make_scorer

    scorer = make_scorer(f1_score, zero_division=0)
    scores = cross_val_score(make(max_epochs=1), X, y, cv=2, scoring=scorer)
    assert scores.shape == (2,)


# -- tables, banks, files ------------------------------------------------------------


def test_tables_are_streamed(make: Make, X: Any, y: Any, tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, List, Value

    names = sorted({each for tags in y for each in tags})
    codes = [[names.index(each) for each in tags] for tags in y]
    features = Features(
        {
            "id": Value("int64"),
            "tokens": List(Value("string")),
            "tags": List(ClassLabel(names=names)),
        }
    )
    named = Dataset.from_dict(
        {"id": list(range(len(X))), "tokens": X, "tags": codes}, features=features
    )
    plain = Dataset.from_dict({"words": X, "tags": y})
    plain.to_parquet(tmp_path / "rows.parquet")
    expected = make().fit(X, y)
    for table in (named, named.to_iterable_dataset(), plain, tmp_path / "rows.parquet"):
        tagger = make().fit(table)
        assert tagger.classes_.tolist() == names
        for name, value in expected.delta_.items():
            np.testing.assert_allclose(tagger.delta_[name], value, rtol=0, atol=1e-12)
        assert tagger.predict(table) == expected.predict(X)
        assert tagger.score(table) == expected.score(X, y)


def test_errors_of_tables_name_the_row(make: Make, tmp_path: Path) -> None:
    from datasets import Dataset

    table = Dataset.from_dict({"tokens": [["a"], ["b", "c"]], "tags": [["O"], ["B-a"]]})
    with pytest.raises(ValueError, match="row 1 of X has 2 words, and row 1 of y has 1 tags"):
        make().fit(table)
    with pytest.raises(ValueError, match="label_column='labels' is not a column"):
        make(label_column="labels").fit(table)
    with pytest.raises(ValueError, match="does not know which column"):
        make().fit(table.rename_column("tokens", "a").add_column("b", [["a"], ["b"]]))
    with pytest.raises(ValueError, match="is not a column"):
        make(text_column="c").fit(table)
    with pytest.raises(TypeError, match="'n' of X holds neither"):
        make(text_column="n").fit(table.add_column("n", [1, 2]))
    missing = Dataset.from_dict({"tokens": [["a"], ["b", None]], "tags": [["O"], ["O", "B"]]})
    with pytest.raises(ValueError, match="word 1 of row 1 of column 'tokens' of X is missing"):
        make().fit(missing)


def test_a_bank_holds_taggers_and_classifiers(
    make: Make, fitted: LNTunedTransformerTagger, tiny_clf: Any, X: Any, y: Any
) -> None:
    texts = [" ".join(words) for words in X if words]
    other = make(random_state=1, max_length=64).fit(X, [*y[:-1], ["B-z"] * len(y[-1])])
    clf = tiny_clf(max_epochs=1).fit(texts, [len(text) % 2 for text in texts])
    bank = DeltaBank({"first": fitted, "other": other, "full": make(tuning="full").fit(X, y)})
    found = bank.predict(X)
    assert found["first"].tolist() == fitted.predict(X)
    assert found["other"].tolist() == other.predict(X)
    rows = bank.predict_proba(X)["first"]
    for own, expected in zip(rows, fitted.predict_proba(X), strict=True):
        np.testing.assert_allclose(own, expected, rtol=0, atol=1e-12)
    bank.add("clf", clf)
    mixed = bank.predict(
        texts, tasks=["first", "clf"] * (len(texts) // 2) + ["other"] * (len(texts) % 2)
    )
    assert mixed[0] == fitted.predict(texts[:1])[0]
    assert mixed[1] == clf.predict(texts[1:2])[0]
    assert bank.predict(texts)["clf"].tolist() == clf.predict(texts).tolist()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:# The axis name. .* will not be used:UserWarning")
def test_onnx_gives_the_logits_of_all_tokens(
    fitted: LNTunedTransformerTagger, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    fitted.export_onnx(tmp_path / "tagger.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "tagger.onnx"))
    tokenizer = get_backbone(fitted.backbone).tokenizer
    words = ["red", "3.5", "cat"]
    inputs = tokenizer(words, is_split_into_words=True, return_tensors="np")
    (logits,) = session.run(None, {key: inputs[key] for key in ("input_ids", "attention_mask")})
    begins = [inputs.word_ids().index(word) for word in range(3)]
    found = functional.softmax(torch.from_numpy(logits[0][begins]).double(), 1).numpy()
    np.testing.assert_allclose(found, fitted.predict_proba([words])[0], rtol=0, atol=1e-4)


# -- errors --------------------------------------------------------------------------


def test_lengths_that_differ_are_an_error_before_the_backbone_is_loaded(X: Any, y: Any) -> None:
    tagger = LNTunedTransformerTagger("/no/such/folder")
    with pytest.raises(ValueError, match="row 4 of X has 5 words, and row 4 of y has 6 tags"):
        tagger.fit([*X[:4], ["a"] * 5], [*y[:4], ["O"] * 6])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        tagger.fit(X, y[:-1])


def test_validation_data_have_names_of_their_own(make: Make, X: Any, y: Any) -> None:
    with pytest.raises(ValueError, match="row 0 of X_val has 1 words, and row 0 of y_val has 2"):
        make().fit(X, y, X_val=[["a"]], y_val=[["O", "O"]])


def test_what_has_no_native_head_says_so(
    make: Make, fitted: LNTunedTransformerTagger, X: Any, y: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no skorch net"):
        fitted.net()
    with pytest.raises(ValueError, match="pooling='native' trains the model's head for whole"):
        make(pooling="native").fit(X, y)
    for export in (fitted.export_transformers, fitted.export_peft):
        with pytest.raises(ValueError, match="a tagger has no head of transformers"):
            export(tmp_path / "folder")
    with pytest.raises(ValueError, match="LNTunedTransformerClassifier.from_peft"):
        LNTunedTransformerTagger.from_peft(tmp_path)


def test_a_target_for_another_estimator_names_it(make: Make, tiny_clf: Any, X: Any, y: Any) -> None:
    with pytest.raises(ValueError, match="LNTunedTransformerClassifier"):
        make().fit(X, ["a", "b"] * (len(X) // 2))
    with pytest.raises(ValueError, match="LNTunedTransformerRegressor"):
        make().fit(X, np.linspace(0.1, 0.9, len(X)))
    texts = [" ".join(words) for words in X]
    for tags in (y, [["O", "B-a"]] * len(X), np.array([["O", "B-a"]] * len(X))):
        with pytest.raises(ValueError, match="LNTunedTransformerTagger"):
            tiny_clf().fit(texts, tags)
    with pytest.raises((ValueError, TypeError), match="LNTunedTransformerTagger"):
        tiny_clf().fit(X, ["a", "b"] * (len(X) // 2))


def test_sentences_without_a_word_are_not_enough(make: Make) -> None:
    with pytest.raises(ValueError, match="contains no labels"):
        make().fit([[], []], [[], []])


def test_texts_are_predicted_only_when_fitted(make: Make) -> None:
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        make().predict([["a"]])
    with pytest.raises(NotFittedError):
        make().score([["a"]], [["O"]])
