"""What clients get: answers of the classifiers, and errors that they can act on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import moved
from fastapi.testclient import TestClient
from sklearn.base import clone

from sklearn_lntune import (
    DeltaBank,
    LNTunedTransformerClassifier,
    LNTunedTransformerRegressor,
    LNTunedTransformerTagger,
)
from sklearn_lntune.inspection import explain
from sklearn_lntune.serving import Limits, create_app

NET = 60  # seconds after which a test has failed; no test waits for it
Fitted = dict[str, LNTunedTransformerClassifier]


def check(found: dict[str, Any], clf: LNTunedTransformerClassifier, text: Any) -> None:
    """An answer against the classifier itself."""
    (expected,) = clf.predict_proba([text])
    assert list(found["probabilities"]) == [str(label) for label in clf.classes_]
    np.testing.assert_allclose(list(found["probabilities"].values()), expected, atol=1e-6)
    assert found["label"] == clf.predict([text])[0]


def message_of(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    return str(response.json()["error"])


class Gate:
    """Holds the computing thread of a client's app until it is opened."""

    def __init__(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        self.sizes: list[int] = []
        mixed = DeltaBank._mixed

        def held(bank: DeltaBank, X: Any, tasks: Any) -> Any:
            self.sizes.append(len(X))
            self.entered.set()
            assert self.opened.wait(NET)
            return mixed(bank, X, tasks)

        monkeypatch.setattr(DeltaBank, "_mixed", held)


# -- predictions -----------------------------------------------------------------------


def test_a_task_for_each_text(client: TestClient, fitted: Fitted, texts: list[str]) -> None:
    names = ["topic", "long", "topic"]
    response = client.post("/predict", json={"texts": texts[:3], "tasks": names})
    assert response.status_code == 200
    predictions = response.json()["predictions"]
    assert [(each["row"], each["task"]) for each in predictions] == list(enumerate(names))
    for found, name, text in zip(predictions, names, texts, strict=False):
        check(found, fitted[name], text)
    assert predictions[1]["label"] in (True, False)  # as JSON has it


def test_all_tasks_that_take_what_is_sent(
    client: TestClient, fitted: Fitted, texts: list[str]
) -> None:
    predictions = client.post("/predict", json={"texts": texts[:2]}).json()["predictions"]
    assert [(each["row"], each["task"]) for each in predictions] == [
        (0, "topic"), (0, "long"), (1, "topic"), (1, "long")
    ]  # fmt: skip
    for found in predictions:
        check(found, fitted[found["task"]], texts[found["row"]])
    pair = texts[:2]
    (found,) = client.post("/predict", json={"texts": [pair]}).json()["predictions"]
    assert found["task"] == "same"
    check(found, fitted["same"], tuple(pair))


def test_several_labels_and_numbers(lively_backbone: Callable[..., Path], texts: list[str]) -> None:
    params: dict[str, Any] = {"max_epochs": 1, "min_steps": 0, "device": "cpu", "random_state": 0}
    sizes = np.array([[len(text), len(text.split())] for text in texts], float)
    tags = LNTunedTransformerClassifier(lively_backbone(), **params)
    tags = moved(tags.fit(texts, sizes > [12, 2]))
    number = LNTunedTransformerRegressor(lively_backbone(), **params)
    members = {"tags": tags, "one": number.fit(texts, sizes[:, 0])}
    members["two"] = clone(number).fit(texts, sizes)
    named = pd.DataFrame(sizes > [12, 2], columns=["long", "many"])
    members["named"] = moved(clone(tags).fit(texts, named))
    with TestClient(create_app(DeltaBank(members))) as client:
        predictions = client.post("/predict", json={"texts": texts[:20]}).json()["predictions"]
    seen = set()
    for found in predictions:
        sent = [texts[found["row"]]]
        if found["task"] == "tags":
            assert found["labels"] == np.flatnonzero(tags.predict(sent)[0]).tolist()
            (expected,) = tags.predict_proba(sent)
            np.testing.assert_allclose(list(found["probabilities"].values()), expected, atol=1e-5)
            seen.add(len(found["labels"]))
        elif found["task"] == "named":
            marks = members["named"].predict(sent)[0] == 1
            assert found["labels"] == named.columns[marks].tolist()
            assert list(found["probabilities"]) == ["long", "many"]
        else:
            name = "value" if found["task"] == "one" else "values"
            assert set(found) == {"row", "task", name}
            expected = members[found["task"]].predict(sent)[0]
            np.testing.assert_allclose(found[name], expected, rtol=1e-4)
    assert len(seen) > 1


def test_tags_of_words(
    lively_backbone: Callable[..., Path], fitted: Fitted, texts: list[str]
) -> None:
    sentences = [text.split() for text in texts]
    tagger = LNTunedTransformerTagger(
        lively_backbone(), max_epochs=1, min_steps=0, device="cpu", random_state=0
    )
    tagger.fit(sentences, [[word[0] < "m" for word in words] for words in sentences])
    bank = DeltaBank({"tags": tagger, "topic": fitted["topic"]})
    with TestClient(create_app(bank)) as client:
        body = {"texts": [*texts[:3], " "], "tasks": ["tags", "topic", "tags", "tags"]}
        predictions = client.post("/predict", json=body).json()["predictions"]
        refused = client.post("/explain", json={"text": texts[0], "task": "tags"})
        assert "tags words" in message_of(refused, 422)
    check(predictions.pop(1), fitted["topic"], texts[1])
    for found, words in zip(predictions, [sentences[0], sentences[2], []], strict=True):
        tags = tagger.predict([words])[0] if words else []
        assert (found["words"], found["tags"]) == (words, list(tags))


def test_texts_and_pairs_share_a_batch(
    bank: DeltaBank, fitted: Fitted, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with TestClient(create_app(bank)) as client, ThreadPoolExecutor(4) as threads:
        gate = Gate(client, monkeypatch)
        bodies: list[Any] = [
            {"texts": texts[:1], "tasks": ["topic"]},
            {"texts": [texts[:2]], "tasks": ["same"]},
            {"texts": texts[1:2], "tasks": ["long"]},
        ]
        first = threads.submit(client.post, "/predict", json=bodies[0])
        assert gate.entered.wait(NET)
        others = [threads.submit(client.post, "/predict", json=body) for body in bodies[1:]]
        gate.opened.set()
        for future, body in zip([first, *others], bodies, strict=True):
            (found,) = future.result(NET).json()["predictions"]
            text = body["texts"][0]
            check(found, fitted[body["tasks"][0]], tuple(text) if len(text) == 2 else text)


def test_an_answer_larger_than_a_batch(bank: DeltaBank, fitted: Fitted, texts: list[str]) -> None:
    with TestClient(create_app(bank, limits=Limits(batch_answers=3))) as client:
        predictions = client.post("/predict", json={"texts": texts[:5]}).json()["predictions"]
    assert len(predictions) == 10
    for found in predictions:
        check(found, fitted[found["task"]], texts[found["row"]])


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 422, "not valid JSON"),
        (b"[]", 422, "must be a JSON object"),
        (b"[" * 100_000, 400, "cannot be read"),
        (b"\xff", 400, "cannot be read"),
        ({}, 422, "texts is missing"),
        ({"texts": []}, 422, "texts must be a list of strings"),
        ({"texts": "a"}, 422, "texts must be a list of strings"),
        ({"texts": [1]}, 422, "texts must be a list of strings"),
        ({"texts": ["a", ["b", "c"]]}, 422, "texts must be a list of strings"),
        ({"texts": [["a", "b", "c"]]}, 422, "texts must be a list of strings"),
        ({"texts": ["a"], "task": "topic"}, 422, "no field 'task'"),
        ({"texts": ["a"], "tasks": "topic"}, 422, "tasks must be a list of names"),
        ({"texts": ["a"], "tasks": []}, 422, "one name for each of the 1 texts; it has 0"),
        ({"texts": ["a"], "tasks": ["absent"]}, 404, "no task 'absent'"),
        ({"texts": ["a"], "tasks": ["same"]}, 422, "'same' takes pairs of texts, and got single"),
        ({"texts": [["a", "b"]], "tasks": ["long"]}, 422, "'long' takes single texts"),
        (b'{"texts": ["\\ud83d"]}', 422, "texts[0] holds half of a UTF-16 pair"),
    ],
)
def test_faults_are_named(client: TestClient, body: Any, status: int, message: str) -> None:
    if isinstance(body, bytes):
        response = client.post(
            "/predict", content=body, headers={"Content-Type": "application/json"}
        )
    else:
        response = client.post("/predict", json=body)
    assert message in message_of(response, status)


def test_other_addresses_and_methods(client: TestClient) -> None:
    assert message_of(client.get("/nothing"), 404) == "There is nothing at this address."
    assert message_of(client.get("/predict"), 405) == "This address does not take that method."
    plain = client.post("/predict", content="texts", headers={"Content-Type": "text/plain"})
    assert "sent as application/json" in message_of(plain, 422)


def test_a_failure_shows_nothing_of_the_inside(
    bank: DeltaBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(DeltaBank, "_mixed", fail)
    with TestClient(create_app(bank), raise_server_exceptions=False) as client:
        response = client.post("/predict", json={"texts": ["a"]})
        assert message_of(response, 500) == "The server failed to answer; its log says why."
        assert client.get("/healthz").json() == {"status": "ok"}


def test_a_damaged_file_fails_those_who_ask_for_it(fitted: Fitted, tmp_path: Path) -> None:
    for name in ("topic", "long"):
        fitted[name].save(tmp_path / f"{name}.zip")
    bank = DeltaBank.from_folder(tmp_path)
    (tmp_path / "topic.zip").write_bytes(b"damaged")
    with TestClient(create_app(bank)) as client:
        response = client.post("/predict", json={"texts": ["a"], "tasks": ["topic"]})
        assert message_of(response, 503) == "The file of the task 'topic' cannot be read."
        response = client.post("/predict", json={"texts": ["a"], "tasks": ["long"]})
        check(response.json()["predictions"][0], fitted["long"], "a")


# -- explanations ------------------------------------------------------------------------


def test_words_are_those_of_explain(client: TestClient, fitted: Fitted, texts: list[str]) -> None:
    for task, text in (("topic", texts[6]), ("same", texts[4:6]), ("long", texts[3])):
        response = client.post("/explain", json={"text": text, "task": task})
        assert response.status_code == 200, response.text
        found = response.json()
        (expected,) = explain(fitted[task], [text if isinstance(text, str) else tuple(text)])
        assert found["task"] == task
        assert found["label"] == expected.target
        words = found["words"]
        assert [word["word"] for word in words] == expected.words
        assert [(word["text"], word["start"], word["end"]) for word in words] == expected.spans
        attributions = [word["attribution"] for word in words]
        np.testing.assert_allclose(attributions, expected.attributions, rtol=0.2, atol=1e-3)
        rise = found["output"] - found["output_without_words"]
        np.testing.assert_allclose(sum(attributions), rise, rtol=0.1, atol=1e-3)


def test_words_for_another_label(client: TestClient, fitted: Fitted, texts: list[str]) -> None:
    for task, labels in (("topic", ["blue", "red"]), ("long", [False, True])):
        for label in labels:
            body = {"text": texts[6], "task": task, "label": label}
            found = client.post("/explain", json=body).json()
            assert found["label"] is label or found["label"] == label
            (expected,) = explain(fitted[task], texts[6:7], label)
            np.testing.assert_allclose(found["output"], expected.output, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 422, "text is missing"),
        ({"text": ["a"], "task": "topic"}, 422, "text must be a string, or a pair of strings"),
        ({"text": "a", "task": "absent"}, 404, "no task 'absent'"),
        ({"text": "a", "task": "same"}, 422, "'same' takes pairs"),
        ({"text": "a", "task": "topic", "label": "absent"}, 404, "has no label 'absent'"),
        ({"text": "a", "task": "long", "label": 1}, 404, "has no label 1"),
        ({"text": "a" * 20_001, "task": "topic"}, 413, "text has 20001 characters"),
    ],
)
def test_faults_of_explanations(client: TestClient, body: Any, status: int, message: str) -> None:
    assert message in message_of(client.post("/explain", json=body), status)


def test_what_cannot_be_explained(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **how: Any) -> Any:
        raise ValueError("/secret/path")

    monkeypatch.setattr("sklearn_lntune.serving.explaining.explain_state", fail)
    message = message_of(client.post("/explain", json={"text": "a", "task": "topic"}), 422)
    assert message == "Answers of the task 'topic' cannot be explained."


# -- limits ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "sent", "message"),
    [
        ({"max_body": 60}, ["a" * 60], "more than 60 bytes"),
        ({"max_texts": 2}, ["a"] * 3, "3 texts are too many; a request may have 2"),
        ({"max_characters": 5}, ["a", "a" * 6], "texts[1] has 6 characters; at most 5"),
        ({"max_characters": 5}, [["aaa", "bbb"]], "texts[0] has 6 characters"),
        ({"max_answers": 3}, ["a"] * 2, "6 answers are too many"),
    ],
)
def test_limits(bank: DeltaBank, limits: Any, sent: Any, message: str) -> None:
    with TestClient(create_app(bank, limits=Limits(**limits))) as client:
        assert message in message_of(client.post("/predict", json={"texts": sent}), 413)


def test_a_full_queue_is_said_with_429(bank: DeltaBank, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(max_answers=2, max_waiting=2, batch_seconds=0)
    with TestClient(create_app(bank, limits=limits)) as client, ThreadPoolExecutor(1) as threads:
        gate = Gate(client, monkeypatch)
        body = {"texts": ["a"], "tasks": ["topic"]}
        held = threads.submit(client.post, "/predict", json=body)
        assert gate.entered.wait(NET)
        service = client.app.state.service  # type: ignore[attr-defined]
        service.batcher.submit([("a", "topic")] * 2)
        refused = client.post("/predict", json=body)
        assert "Too many requests" in message_of(refused, 429)
        assert refused.headers["Retry-After"] == "1"
        gate.opened.set()
        assert held.result(NET).status_code == 200


def test_a_body_that_does_not_come_in_time(bank: DeltaBank) -> None:
    app = create_app(bank, limits=Limits(body_seconds=0))
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b""}
        scope |= {"headers": [(b"content-type", b"application/json")]}  # type: ignore[dict-item]
        await app(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 408


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_texts": 0}, "max_texts must be an int"),
        ({"max_body": 1.5}, "max_body must be an int"),
        ({"batch_seconds": -1}, "batch_seconds must be a number"),
        ({"max_answers": 9, "max_waiting": 8}, "max_answers=9 exceeds max_waiting=8"),
    ],
)
def test_impossible_limits(settings: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Limits(**settings)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"bank": {}}, TypeError, "bank must be a DeltaBank; got dict"),
        ({"limits": {}}, TypeError, "limits must be Limits"),
        ({"token": 1}, TypeError, "token must be a string"),
        ({"token": ""}, ValueError, "at least 16 characters"),
        ({"token": "é" * 20}, ValueError, "printable ASCII"),
        ({"token": "a" * 20 + " "}, ValueError, "begin or end with spaces"),
    ],
)
def test_impossible_arguments(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        create_app(**{"bank": DeltaBank(), **arguments})


# -- clients that leave ------------------------------------------------------------------


def test_a_client_that_leaves_is_not_computed(
    bank: DeltaBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(bank, limits=Limits(batch_seconds=0))
    with TestClient(app) as client, ThreadPoolExecutor(2) as threads:
        gate = Gate(client, monkeypatch)
        body = b'{"texts": ["a"], "tasks": ["topic"]}'
        kind = {"Content-Type": "application/json"}
        held = threads.submit(client.post, "/predict", content=body, headers=kind)
        assert gate.entered.wait(NET)
        sent: list[Any] = []

        async def leave() -> None:
            messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

            async def receive() -> Any:
                return messages.pop(0)

            async def send(message: Any) -> None:
                sent.append(message)

            scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b""}
            scope |= {"headers": [(b"content-type", b"application/json")]}  # type: ignore[dict-item]
            await app(scope, receive, send)

        asyncio.run(leave())
        assert sent[0]["status"] == 499
        assert app.state.service.batcher.n_waiting == 0
        gate.opened.set()
        held.result(NET)
        assert gate.sizes == [1]
        assert 'status="499"} 1.0' in client.get("/metrics").text


# -- health and metrics ------------------------------------------------------------------


def test_health(bank: DeltaBank) -> None:
    app = create_app(bank)
    with TestClient(app) as client:
        assert client.get("/healthz").status_code == 200
    stopped = TestClient(app)
    assert stopped.get("/healthz").status_code == 503
    response = stopped.post("/predict", json={"texts": ["a"]})
    assert message_of(response, 503) == "The server is starting or stopping."


def test_metrics(client: TestClient) -> None:
    client.post("/predict", json={"texts": ["a", "b"], "tasks": ["topic", "long"]})
    client.post("/predict", json={})
    client.get("/any/thing")
    client.request("ODD", "/tasks")
    response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    for line in (
        'lntune_requests_total{method="POST",route="/predict",status="200"} 1.0',
        'lntune_requests_total{method="POST",route="/predict",status="422"} 1.0',
        'lntune_requests_total{method="GET",route="other",status="404"} 1.0',
        "lntune_batch_answers_sum 2.0",
        "lntune_waiting_answers 0.0",
        "lntune_tasks 3.0",
    ):
        assert line in response.text.splitlines()
    assert "ODD" not in response.text
    other = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert other.text.endswith("# EOF\n")


def test_apps_count_apart(client: TestClient) -> None:
    client.get("/tasks")
    with TestClient(create_app(DeltaBank())) as second:
        assert "/tasks" not in second.get("/metrics").text


def test_headers_protect_every_answer(client: TestClient) -> None:
    for path in ("/", "/tasks", "/nothing"):
        headers = client.get(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none';")
        assert headers["X-Content-Type-Options"] == "nosniff"


# -- changes -----------------------------------------------------------------------------


def saved(clf: LNTunedTransformerClassifier, folder: Path) -> bytes:
    file = folder / "saved.zip"
    clf.save(file)
    return file.read_bytes()


def test_tasks_come_and_go(
    client: TestClient, fitted: Fitted, admin: dict[str, str], tmp_path: Path
) -> None:
    assert client.get("/tasks").json() == {"tasks": ["topic", "long", "same"]}
    new = saved(fitted["new"], tmp_path)
    response = client.put("/tasks/a new one", content=new, headers=admin)
    assert response.status_code == 201
    assert response.json() == {"task": "a new one", "replaced": False}
    ask = {"texts": ["good bad"], "tasks": ["a new one"]}
    check(client.post("/predict", json=ask).json()["predictions"][0], fitted["new"], "good bad")

    response = client.put(
        "/tasks/a new one", content=saved(fitted["topic"], tmp_path), headers=admin
    )
    assert response.json() == {"task": "a new one", "replaced": True}
    check(client.post("/predict", json=ask).json()["predictions"][0], fitted["topic"], "good bad")

    assert client.delete("/tasks/a new one", headers=admin).status_code == 204
    assert "no task 'a new one'" in message_of(client.post("/predict", json=ask), 404)
    message_of(client.delete("/tasks/a new one", headers=admin), 404)
    assert client.get("/tasks").json() == {"tasks": ["topic", "long", "same"]}


def test_changes_are_off_without_a_token(bank: DeltaBank, admin: dict[str, str]) -> None:
    with TestClient(create_app(bank)) as client:
        for headers in ({}, admin):
            assert "without a token" in message_of(
                client.delete("/tasks/topic", headers=headers), 403
            )
            assert "without a token" in message_of(client.put("/tasks/x", headers=headers), 403)
    assert "topic" in bank


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Basic correct horse battery staple", "Bearer \xe9"],
)
def test_changes_need_the_token(
    client: TestClient, bank: DeltaBank, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    response = client.delete("/tasks/topic", headers=headers)
    assert "Authorization: Bearer TOKEN" in message_of(response, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    message_of(client.put("/tasks/new", content=b"x" * 10**6, headers=headers), 401)
    assert bank.names == ["topic", "long", "same"]


def test_uploads_are_checked(
    client: TestClient, bank: DeltaBank, fitted: Fitted, admin: dict[str, str], tmp_path: Path
) -> None:
    whole = saved(fitted["new"], tmp_path)
    damaged = whole.replace(b"layernorm", b"layernorn", 1)
    for content in (b"", b"PK\x03\x04", damaged, whole[:-1]):
        response = client.put("/tasks/new", content=content, headers=admin)
        assert "not an intact .zip" in message_of(response, 422)
    response = client.put("/tasks/same", content=whole, headers=admin)
    assert "'same' takes pairs of texts; delete it first" in message_of(response, 409)
    for name in ("%20", "a%2Fb", "a%00b", "a" * 101):
        response = client.put(f"/tasks/{name}", content=whole, headers=admin)
        assert "printable characters" in message_of(response, 422)
    assert bank.names == ["topic", "long", "same"]


def test_an_upload_on_another_backbone(
    client: TestClient,
    admin: dict[str, str],
    fitted: Fitted,
    tiny_backbone: Any,
    tmp_path: Path,
) -> None:
    fitted["new"].save(tmp_path / "new.zip")
    bank = DeltaBank({"topic": fitted["topic"]})
    app = create_app(bank, token=admin["Authorization"].partition(" ")[2], backbone=tiny_backbone())
    with TestClient(app) as client:
        content = (tmp_path / "new.zip").read_bytes()
        response = client.put("/tasks/new", content=content, headers=admin)
    message = message_of(response, 422)
    assert message == "This classifier was fitted on a backbone that the server does not have."


def test_large_uploads_are_refused(bank: DeltaBank, admin: dict[str, str]) -> None:
    token = admin["Authorization"].partition(" ")[2]
    limits = Limits(max_upload=2**20, max_body=10)
    with TestClient(create_app(bank, token=token, limits=limits)) as client:
        response = client.put("/tasks/new", content=b"x" * (2**20 + 1), headers=admin)
        assert "more than 1048576 bytes" in message_of(response, 413)


def test_a_removed_task_answers_all_that_was_accepted(
    bank: DeltaBank,
    fitted: Fitted,
    admin: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = create_app(bank, token=admin["Authorization"].partition(" ")[2])
    with TestClient(app) as client, ThreadPoolExecutor(3) as threads:
        gate = Gate(client, monkeypatch)
        first = threads.submit(client.post, "/predict", json={"texts": ["a"], "tasks": ["topic"]})
        assert gate.entered.wait(NET)
        ask = {"texts": ["good"], "tasks": ["long"]}
        waiting = app.state.service.ask(["good"], ["long"])
        leaving = threads.submit(client.delete, "/tasks/long", headers=admin)
        while "long" in client.get("/tasks").json()["tasks"]:
            assert not leaving.done()  # until the deletion has come
        message_of(client.post("/predict", json=ask), 404)
        assert "long" in bank
        gate.opened.set()
        assert leaving.result(NET).status_code == 204
        check(waiting.result(NET)[0], fitted["long"], "good")
        assert first.result(NET).status_code == 200
        assert "long" not in bank
