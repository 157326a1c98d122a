"""Publishing on the hub and loading from there, against a loopback stand-in."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import save_backbone
from huggingface_hub import HfApi, ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError
from persistence.hub_stand_in import Hub, hub_stand_in

import sklearn_lntune
from sklearn_lntune import DamagedFileError, LNTunedTransformerClassifier

Clf = Callable[..., LNTunedTransformerClassifier]

TOKEN = "hf_" + "0123456789abcdef" * 2
FILES = {".gitattributes", "README.md", "SHA256SUMS", "config.json", "delta.safetensors"}
REPO = "me/tickets"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, with huggingface_hub of this process pointed at it and logged out."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    with hub_stand_in(TOKEN) as stand_in:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", stand_in.endpoint)
        template = stand_in.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        yield stand_in


@pytest.fixture(scope="module")
def fitted(tiny_backbone: Callable[..., Path], texts: list[str], labels: list[str]) -> Clf:
    """``fitted(random_state)``: a classifier, fitted once."""
    made: dict[int, LNTunedTransformerClassifier] = {}

    def fit(random_state: int = 0) -> LNTunedTransformerClassifier:
        if random_state not in made:
            clf = LNTunedTransformerClassifier(
                tiny_backbone(), random_state=random_state, precision="float32", device="cpu"
            )
            clf.set_params(max_epochs=1, min_steps=0, batch_size=8)
            made[random_state] = clf.fit(texts, labels)
        return made[random_state]

    return fit


def push(clf: LNTunedTransformerClassifier, repo: str = REPO, **options: Any) -> str:
    return clf.push_to_hub(repo, **{"token": TOKEN, **options})


def pulled(clf: LNTunedTransformerClassifier, **options: Any) -> LNTunedTransformerClassifier:
    """What was published of ``clf``; where its backbone lies was not."""
    return sklearn_lntune.load(REPO, backbone=clf.backbone, **options)


def same(one: Any, other: Any, texts: list[str]) -> bool:
    return bool((one.predict_proba(texts) == other.predict_proba(texts)).all())


# -- there and back --------------------------------------------------------------------


def test_what_was_pushed_predicts_the_same(hub: Hub, fitted: Clf, texts: list[str]) -> None:
    address = push(fitted())
    repo = hub.repos[REPO]
    assert address == f"{hub.endpoint}/{REPO}/commit/{repo.commit()}"
    assert repo.files().keys() == FILES
    assert not repo.private
    back = pulled(fitted())
    assert back.get_params() == fitted().get_params()
    assert same(back, fitted(), texts)


def test_a_second_push_replaces_the_first(hub: Hub, fitted: Clf, texts: list[str]) -> None:
    push(fitted(), include_backbone=True)
    repo = hub.repos[REPO]
    assert any(name.startswith("backbone/") for name in repo.files())
    first = repo.commit()
    push(fitted(1))
    assert repo.files().keys() == FILES
    assert same(pulled(fitted(1)), fitted(1), texts)
    assert same(sklearn_lntune.load(REPO, revision=first), fitted(), texts)


# -- what others put there ---------------------------------------------------------------

OTHERS = {
    "pytorch_model.bin": b"theirs",
    "sub/notes [1].txt": b"theirs",
    "LICENSE": b"theirs",
    "sub/README.txt": b"theirs",
    ".github/workflow.yml": b"theirs",
}


@pytest.mark.parametrize("before", [False, True], ids=["before", "after"])
def test_what_others_put_there_stays(before: bool, hub: Hub, fitted: Clf, texts: list[str]) -> None:
    if before:
        HfApi(token=TOKEN).create_repo(REPO)
    else:
        push(fitted(), include_backbone=True)
    repo = hub.repos[REPO]
    repo.write({**repo.files(), **OTHERS})
    for number in (1, 2):
        push(fitted(number))
        assert repo.files().keys() == FILES | OTHERS.keys()
        assert all(repo.files()[name] == content for name, content in OTHERS.items())
        assert same(pulled(fitted(number)), fitted(number), texts)


def test_what_comes_later_is_still_one_too_many(hub: Hub, fitted: Clf) -> None:
    push(fitted())
    repo = hub.repos[REPO]
    repo.write({**repo.files(), **OTHERS})
    push(fitted())
    repo.write({**repo.files(), "modeling.py": b"print('run')"})
    with pytest.raises(DamagedFileError, match=r"'modeling\.py'\] is not listed"):
        pulled(fitted())
    later = ("modeling.py", "LICENSE")  # what was there may go
    repo.write({name: file for name, file in repo.files().items() if name not in later})
    assert pulled(fitted()).classes_.tolist() == ["blue", "green", "red"]


@pytest.mark.parametrize("damage", ["no list", "empty list", "other config"])
def test_a_damaged_classifier_is_replaced(
    damage: str, hub: Hub, fitted: Clf, texts: list[str]
) -> None:
    push(fitted())
    repo = hub.repos[REPO]
    files = dict(repo.files())
    if damage == "no list":
        del files["SHA256SUMS"]
    else:
        files["SHA256SUMS" if damage == "empty list" else "config.json"] = b""
    repo.write(files)
    push(fitted(1))
    assert same(pulled(fitted(1)), fitted(1), texts)


LINE = b"0" * 64 + b"  "
CLASHES: dict[str, dict[str, bytes]] = {
    "model": {"config.json": b"{}", "model.safetensors": b"theirs"},
    "model under digests": {
        "SHA256SUMS": LINE + b"config.json\n" + LINE + b"model.safetensors\n",
        "config.json": b"{}",
        "model.safetensors": b"theirs",
    },
    "film": {"SHA256SUMS": LINE + b"film.iso\n", "film.iso": b"theirs"},
    "backbone": {"backbone/modeling.py": b"theirs"},
}


@pytest.mark.parametrize("files", CLASHES.values(), ids=CLASHES)
@pytest.mark.parametrize("include_backbone", [False, True])
def test_what_would_be_overwritten_is_named(
    files: dict[str, bytes], include_backbone: bool, hub: Hub, fitted: Clf
) -> None:
    HfApi(token=TOKEN).create_repo(REPO)
    repo = hub.repos[REPO]
    repo.write(files)
    before = repo.commit()
    with pytest.raises(ValueError, match="me/tickets holds .*another name, or delete"):
        push(fitted(), include_backbone=include_backbone)
    assert repo.commit() == before


def test_a_card_that_was_there_first_stays(hub: Hub, fitted: Clf, texts: list[str]) -> None:
    HfApi(token=TOKEN).create_repo(REPO)
    repo = hub.repos[REPO]
    repo.write({"README.md": b"---\nlicense: mit\n---\nMy own words."})
    push(fitted())
    assert repo.files()["README.md"].endswith(b"My own words.")
    assert same(pulled(fitted()), fitted(), texts)


def test_what_is_no_classifier_is_not_downloaded(hub: Hub) -> None:
    HfApi(token=TOKEN).create_repo(REPO)
    hub.repos[REPO].write({"config.json": b"{}", "model.safetensors": b"very large"})
    with pytest.raises(DamagedFileError, match="not a saved classifier"):
        sklearn_lntune.load(REPO)
    assert not any("/resolve/" in request.path for request in hub.requests)


# -- this machine ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "string", "relative", "relative from elsewhere"])
@pytest.mark.parametrize("include_backbone", [False, True])
def test_no_path_of_this_machine_is_published(
    kind: str,
    include_backbone: bool,
    hub: Hub,
    tmp_path: Path,
    texts: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = save_backbone(tmp_path / "secret" / "tiny")
    for name in ("config.json", "tokenizer_config.json"):
        noted = json.loads((folder / name).read_text("utf-8"))
        noted |= {"_name_or_path": str(folder), "name_or_path": str(folder)}
        if name == "config.json":
            del noted["name_or_path"]
        (folder / name).write_text(json.dumps(noted), "utf-8")
    monkeypatch.chdir(tmp_path)
    backbone: Any = {"path": folder, "string": str(folder)}.get(kind, "secret/tiny")
    clf = LNTunedTransformerClassifier(backbone, max_epochs=1, min_steps=0, device="cpu")
    clf.set_params(checkpoint=tmp_path / "secret" / "state").fit(texts[:8], labels[:8])
    expected = clf.predict_proba(texts[:3])
    if kind.endswith("elsewhere") and not include_backbone:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
    push(clf, include_backbone=include_backbone)
    for name, content in hub.repos[REPO].files().items():
        if name != "backbone/tokenizer_config.json":  # `_name_or_path` would be a part of it
            assert b"secret" not in content, name
    back = sklearn_lntune.load(REPO, **({} if include_backbone else {"backbone": folder}))
    assert (back.backbone_["name"], back.checkpoint) == ("tiny", None)
    np.testing.assert_allclose(back.predict_proba(texts[:3]), expected, rtol=0, atol=1e-6)
    if not include_backbone:
        assert sklearn_lntune.load(REPO).backbone == "tiny"


def test_a_local_file_finds_its_backbone_on_this_machine(
    fitted: Clf, tmp_path: Path, texts: list[str]
) -> None:
    fitted().save(tmp_path / "clf.zip")
    back = sklearn_lntune.load(tmp_path / "clf.zip")
    assert back.backbone == fitted().backbone
    assert same(back, fitted(), texts)


# -- there and back, more ------------------------------------------------------------------


def test_with_its_backbone_it_needs_nothing_else(
    hub: Hub, fitted: Clf, texts: list[str], tmp_path: Path
) -> None:
    push(fitted(), include_backbone=True)
    back = sklearn_lntune.load(REPO)
    assert tmp_path in Path(back.backbone).parents
    assert same(back, fitted(), texts)
    assert "the backbone is not among them" not in hub.repos[REPO].files()["README.md"].decode()


def test_what_was_loaded_once_is_there_without_the_hub(
    hub: Hub, fitted: Clf, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(fitted())
    sklearn_lntune.load(REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(hub.requests)
    assert same(pulled(fitted()), fitted(), texts)
    assert len(hub.requests) == before


@pytest.mark.parametrize("private", [None, False, True])
def test_private_is_for_a_new_repository(private: bool | None, hub: Hub, fitted: Clf) -> None:
    push(fitted(), private=private)
    assert hub.repos[REPO].private == bool(private)
    if private:
        with pytest.raises(ValueError, match="could not be downloaded"):
            sklearn_lntune.load(REPO, token=False)
    assert sklearn_lntune.load(REPO, token=TOKEN).classes_.tolist() == ["blue", "green", "red"]


def test_a_revision_is_a_branch_to_write_to_and_to_read(
    hub: Hub, fitted: Clf, texts: list[str]
) -> None:
    push(fitted())
    repo = hub.repos[REPO]
    before = repo.commit("main")
    push(fitted(2), revision="trial/2")  # makes it
    push(fitted(1), revision="trial/2")
    assert repo.commit("main") == before
    assert same(pulled(fitted()), fitted(), texts)
    assert same(pulled(fitted(1), revision="trial/2"), fitted(1), texts)


def test_parameters_of_save_are_those_of_push(hub: Hub, fitted: Clf) -> None:
    clf = fitted().__sklearn_clone__().set_params(callbacks=[object()])
    vars(clf).update({name: value for name, value in vars(fitted()).items() if name[-1] == "_"})
    with pytest.raises(ValueError, match="drop=.'callbacks'."):
        push(clf)
    assert hub.requests == []
    push(clf, drop=["callbacks"])
    assert sklearn_lntune.load(REPO).callbacks is None


# -- what cannot be had ----------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tickets",
        "a/b/c",
        "../tickets",
        "me/..",
        "/me/tickets",
        "me/my tickets",
        "me/",
        "me/a..b",
    ],
)
def test_names_that_are_none_are_refused(name: str, hub: Hub, fitted: Clf) -> None:
    with pytest.raises(ValueError, match="repo"):
        push(fitted(), name)
    assert [each for each in hub.requests if each.method == "POST"] == []


@pytest.mark.parametrize("name", ["no/such/name", "me/my tickets", "nothing-here"])
def test_what_is_no_name_is_not_asked_for(name: str, hub: Hub) -> None:
    with pytest.raises(ValueError, match="nor a name on the hub"):
        sklearn_lntune.load(name)
    assert hub.requests == []


def test_an_unknown_repository_is_an_error(hub: Hub) -> None:
    with pytest.raises(ValueError, match="'me/nothing' is neither a folder nor a file here"):
        sklearn_lntune.load("me/nothing")


def test_an_unknown_revision_is_an_error(hub: Hub, fitted: Clf) -> None:
    push(fitted())
    with pytest.raises(ValueError, match="could not be downloaded .*RevisionNotFoundError"):
        sklearn_lntune.load(REPO, revision="v9")


def test_a_repository_of_something_else_is_an_error(hub: Hub, fitted: Clf) -> None:
    push(fitted())
    hub.repos[REPO].write({"config.json": b"{}", "model.safetensors": b""})
    with pytest.raises(DamagedFileError, match="not a saved classifier"):
        sklearn_lntune.load(REPO)


@pytest.mark.parametrize("name", ["config.json", "delta.safetensors"])
def test_a_byte_changed_on_the_hub_is_found(name: str, hub: Hub, fitted: Clf) -> None:
    push(fitted())
    files = dict(hub.repos[REPO].files())
    middle = len(files[name]) // 2
    files[name] = (
        files[name][:middle] + bytes([files[name][middle] ^ 1]) + files[name][middle + 1 :]
    )
    hub.repos[REPO].write(files)
    with pytest.raises(DamagedFileError, match=f"{name} is damaged"):
        sklearn_lntune.load(REPO)


def test_a_file_too_many_or_too_few_on_the_hub_is_found(hub: Hub, fitted: Clf) -> None:
    push(fitted())
    whole = dict(hub.repos[REPO].files())
    hub.repos[REPO].write({**whole, "modeling.py": b"print('run')"})
    with pytest.raises(DamagedFileError, match=r"'modeling\.py'\] is not listed"):
        sklearn_lntune.load(REPO)
    hub.repos[REPO].write({name: file for name, file in whole.items() if name != "config.json"})
    with pytest.raises(DamagedFileError, match=r"'config\.json'\] is missing"):
        sklearn_lntune.load(REPO)


def test_a_push_that_the_hub_refuses_changes_nothing(
    hub: Hub, fitted: Clf, texts: list[str]
) -> None:
    push(fitted())
    before = hub.repos[REPO].commit()
    hub.failing[f"/api/models/{REPO}/commit"] = 403
    with pytest.raises(HfHubHTTPError, match="403"):
        push(fitted(1))
    assert hub.repos[REPO].commit() == before
    assert same(pulled(fitted()), fitted(), texts)


# -- the card --------------------------------------------------------------------------


def card_of(hub: Hub) -> tuple[dict[str, Any], str]:
    """The header and the text of the card, read as the hub does."""
    content = hub.repos[REPO].files()["README.md"].decode()
    found = re.fullmatch(r"---\n(.*?\n)---\n(.*)", content, re.DOTALL)
    assert found is not None
    header = yaml.safe_load(found[1])
    assert vars(ModelCard(content).data)["library_name"] == header["library_name"]
    return header, found[2]


def test_the_header_of_the_card(hub: Hub, fitted: Clf) -> None:
    push(fitted(), metrics={"accuracy": 0.75, "f1": 0.5}, data="forty tickets")
    header, _ = card_of(hub)
    assert header["library_name"] == "sklearn-lntune"
    assert header["pipeline_tag"] == "text-classification"
    assert {"sklearn-lntune", "text-classification"} <= set(header["tags"])
    assert "base_model" not in header  # it lies on this machine only
    (entry,) = header["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == "tickets"
    assert result["task"] == {"type": "text-classification"}
    assert result["dataset"]["name"] == "forty tickets"
    assert result["metrics"] == [
        {"type": "accuracy", "value": 0.75},
        {"type": "f1", "value": 0.5},
    ]


def test_without_metrics_there_is_no_index_of_results(hub: Hub, fitted: Clf) -> None:
    push(fitted())
    header, text = card_of(hub)
    assert "model-index" not in header
    assert "not described" in text


@pytest.mark.parametrize("kind", [np.float64, np.float32, int], ids=lambda kind: kind.__name__)
def test_metrics_may_be_of_any_kind_of_number(kind: Any, hub: Hub, fitted: Clf) -> None:
    push(fitted(), metrics={"accuracy": kind(1)})
    header, _ = card_of(hub)
    assert header["model-index"][0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 1}]


@pytest.mark.parametrize("data", ['it\'s: a "test" #1', "---", "two\nlines", "&a *b !c {d} [e]"])
def test_what_the_user_says_of_the_data_stays_text(data: str, hub: Hub, fitted: Clf) -> None:
    push(fitted(), metrics={"accuracy": 0.5}, data=data)
    header, _ = card_of(hub)
    assert header["model-index"][0]["results"][0]["dataset"]["name"] == data


def test_the_text_of_the_card(hub: Hub, fitted: Clf) -> None:
    clf = fitted()
    push(clf, metrics={"accuracy": 0.75}, data="forty tickets")
    _, text = card_of(hub)
    n_learnt = sum(value.size for value in clf.delta_.values())
    n_tuned = sum(value.size for name, value in clf.delta_.items() if "layernorm/" in name)
    for said in (
        "# tickets",
        "3 classes",
        "blue, green, red",
        "layernorm",
        f"{n_learnt:,} numbers",
        f"{n_tuned:,} numbers",
        f"Backbone: {Path(clf.backbone).name}, revision not known",
        clf.backbone_["fingerprint"][:16],
        "forty tickets",
        "accuracy: 0.75",
        "import sklearn_lntune",
        f'sklearn_lntune.load("{REPO}")',
    ):
        assert said in text.replace("'", '"'), said


def test_a_backbone_of_the_hub_is_named_with_its_revision(
    hub: Hub, default_backbone: str, texts: list[str], labels: list[str]
) -> None:
    clf = LNTunedTransformerClassifier(max_epochs=1, min_steps=0, random_state=0)
    push(clf.fit(texts[:8], labels[:8]))
    header, text = card_of(hub)
    assert header["base_model"] == default_backbone
    assert f"{default_backbone}, revision {clf.backbone_['revision']}" in text


def test_the_card_does_not_show_where_a_local_backbone_lies(hub: Hub, fitted: Clf) -> None:
    clf = fitted()
    push(clf)
    content = hub.repos[REPO].files()["README.md"].decode()
    assert str(Path(clf.backbone).parent) not in content
    assert Path(clf.backbone).name in content


# -- tokens ----------------------------------------------------------------------------


def assert_no_token(folder: Path) -> None:
    """No file below ``folder`` holds the token, whole or in large part."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert TOKEN[3:20].encode() not in file.read_bytes(), file


def test_a_token_goes_into_headers_and_nowhere_else(
    hub: Hub, fitted: Clf, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    push(fitted(), private=True)
    back = sklearn_lntune.load(REPO, token=TOKEN)
    asked = [each for each in hub.requests if REPO in each.path or "create" in each.path]
    assert {each.authorization for each in asked} == {f"Bearer {TOKEN}"}
    assert not any(TOKEN in each.path or TOKEN.encode() in each.body for each in hub.requests)
    assert not any(TOKEN.encode() in file for file in hub.repos[REPO].files().values())
    assert_no_token(tmp_path)
    assert TOKEN[3:20] not in caplog.text + "".join(capfd.readouterr())
    for clf in (fitted(), back):
        assert TOKEN not in repr(vars(clf))


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_errors_do_not_show_the_token(
    status: int, hub: Hub, fitted: Clf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    push(fitted())
    hub.failing["/api/"] = status
    with pytest.raises((HfHubHTTPError, ValueError)) as pushing:
        push(fitted())
    with pytest.raises(ValueError, match="could not be downloaded") as loading:
        sklearn_lntune.load(REPO, token=TOKEN)
    for caught in (pushing, loading):
        shown = "".join(traceback.format_exception(caught.value))
        assert TOKEN[3:20] not in shown + str(caught.value) + repr(caught.value)
    assert TOKEN[3:20] not in caplog.text


def test_a_wrong_token_is_not_shown_either(hub: Hub, fitted: Clf) -> None:
    wrong = TOKEN[::-1]
    with pytest.raises(HfHubHTTPError) as caught:
        fitted().push_to_hub(REPO, token=wrong)
    assert wrong[:16] not in "".join(traceback.format_exception(caught.value))
    assert hub.repos == {}


def test_the_token_of_the_login_is_the_default(hub: Hub, fitted: Clf) -> None:
    file = Path(constants.HF_TOKEN_PATH)
    file.parent.mkdir(parents=True)
    file.write_text(TOKEN)
    fitted().push_to_hub(REPO, private=True)
    with pytest.raises(ValueError, match="could not be downloaded"):
        sklearn_lntune.load(REPO, token=False)
    assert sklearn_lntune.load(REPO).classes_.tolist() == ["blue", "green", "red"]
    assert HfApi().model_info(REPO).private


# -- a process of its own --------------------------------------------------------------


@pytest.mark.slow
def test_a_process_that_knows_the_hub_by_its_environment_only(
    fitted: Clf, texts: list[str], tmp_path: Path
) -> None:
    clf, home = fitted(), tmp_path / "home"
    clf.save(tmp_path / "clf.zip")
    program = (
        "import logging, os, sys; logging.basicConfig(level=logging.DEBUG)\n"
        "from pathlib import Path; import numpy as np; import sklearn_lntune\n"
        "folder, token = Path(sys.argv[1]), sys.stdin.read()\n"
        "clf = sklearn_lntune.load(folder / 'clf.zip')\n"
        "clf.push_to_hub('me/tickets', token=token, private=True)\n"
        "back = sklearn_lntune.load('me/tickets', token=token, backbone=clf.backbone)\n"
        "np.save(folder / 'found.npy', back.predict_proba(sys.argv[2:]))"
    )
    with hub_stand_in(TOKEN) as hub:
        known = {name: value for name, value in os.environ.items() if "TOKEN" not in name}
        at_hub = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home)}
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path), *texts[:5]],
            env=known | at_hub | {"HF_DEBUG": "1", "NO_PROXY": "127.0.0.1"},
            input=TOKEN,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "DEBUG" in done.stderr
    assert TOKEN[3:20] not in done.stdout + done.stderr
    assert_no_token(tmp_path)
    assert hub.repos[REPO].files().keys() == FILES
    expected = clf.predict_proba(texts[:5])
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, rtol=0, atol=1e-6)
