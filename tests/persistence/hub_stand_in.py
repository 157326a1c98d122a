"""A stand-in for the Hugging Face hub: a loopback server that keeps repositories in memory.

It answers what huggingface_hub asks of the hub to make a repository, to commit a folder
and to download a snapshot, in the hub's own forms, and notes every request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_API = re.compile(
    r"/api/models/(?P<repo>[^/]+/[^/]+)"
    r"(/(?P<what>revision|tree|preupload|commit|branch)/(?P<revision>[^/]+))?"
)
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass
class Repo:
    """Files by path of each commit, and the last commit of each branch."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Those of a branch or a commit."""
        return self.commits[self.commit(revision)]

    def commit(self, revision: str = "main") -> str:
        """The commit that ``revision`` means."""
        found = self.branches.get(revision, revision)
        if found not in self.commits:
            raise RefusedError(404, "RevisionNotFound")
        return found

    def write(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Make ``files`` the whole content of ``branch``, in a commit of its own."""
        name = hashlib.sha1(f"{branch} {len(self.commits)}".encode()).hexdigest()
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    authorization: str | None
    body: bytes


class Hub:
    """The repositories, who may write to them, and what was asked.

    Attributes
    ----------
    endpoint : str
        Address of the server.
    token : str
        What writing, and reading what is private, needs.
    repos : dict of str to Repo
    requests : list of Request
    failing : dict of str to int
        Status to answer for paths with this beginning.
    """

    def __init__(self, endpoint: str, token: str) -> None:
        self.endpoint = endpoint
        self.token = token
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.failing: dict[str, int] = {}

    def answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content."""
        for beginning, status in self.failing.items():
            if request.path.startswith(beginning):
                raise RefusedError(status)
        if request.path == "/api/repos/create":
            return self._create(request)
        if request.path == "/api/validate-yaml":
            return self._check_card(json.loads(request.body)["content"])
        if found := _API.fullmatch(request.path):
            return self._api(request, **found.groupdict())
        if found := _FILE.fullmatch(request.path):
            return self._file(request, **found.groupdict())
        raise RefusedError(404)

    def _create(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        self._need_token(request)
        asked = json.loads(request.body)
        name = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.endpoint}/{name}"}
        if name in self.repos:
            return _json({**url, "error": "You already created this model repo"}, 409)
        repo = Repo(private=asked.get("visibility") == "private" or asked.get("private", False))
        repo.write({".gitattributes": b"*.safetensors filter=lfs\n"})
        self.repos[name] = repo
        return _json(url)

    @staticmethod
    def _check_card(content: str) -> tuple[int, dict[str, str], bytes]:
        found = _FRONT_MATTER.match(content)
        try:
            header = yaml.safe_load(found[1]) if found else None
        except yaml.YAMLError as error:
            return _json({"errors": [{"message": str(error)}], "warnings": []}, 400)
        empty = [] if header else [{"message": "empty or missing yaml metadata"}]
        return _json({"errors": [], "warnings": empty})

    def _branch(self, request: Request, held: Repo, name: str) -> tuple[int, dict[str, str], bytes]:
        self._need_token(request)
        if name in held.branches:
            return _json({"error": f"Reference already exists: {name}"}, 409)
        held.branches[name] = held.branches["main"]
        return _json({})

    def _api(
        self, request: Request, repo: str, what: str | None, revision: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        held = self._repo(repo, request)
        revision = unquote(revision or "main")
        if what == "branch":
            return self._branch(request, held, revision)
        if request.method == "GET" and what in (None, "revision"):
            files = [{"rfilename": path} for path in held.files(revision)]
            sha = held.commit(revision)
            return _json({"id": repo, "sha": sha, "private": held.private, "siblings": files})
        if request.method == "GET" and what == "tree":
            return _json([_entry(path, data) for path, data in held.files(revision).items()])
        self._need_token(request)
        if what == "preupload":
            held.commit(revision)
            asked = json.loads(request.body)["files"]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            return _json({"files": [{"path": each["path"], **modes} for each in asked]})
        if what == "commit":
            return self._commit(held, repo, revision, request.body)
        raise RefusedError(404)

    def _commit(
        self, held: Repo, name: str, branch: str, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        files = dict(held.files(branch))
        lines = [json.loads(line) for line in body.splitlines() if line]
        # Deletions first: a file may be deleted and added in one commit.
        for value in (each["value"] for each in lines if each["key"] == "deletedFile"):
            del files[value["path"]]
        for value in (each["value"] for each in lines if each["key"] == "file"):
            assert value["encoding"] == "base64"
            files[value["path"]] = base64.b64decode(value["content"])
        assert {each["key"] for each in lines} <= {"header", "file", "deletedFile"}
        sha = held.write(files, branch)
        url = f"{self.endpoint}/{name}/commit/{sha}"
        return _json({"success": True, "commitOid": sha, "commitUrl": url})

    def _file(
        self, request: Request, repo: str, revision: str, path: str
    ) -> tuple[int, dict[str, str], bytes]:
        held = self._repo(repo, request)
        revision, path = unquote(revision), unquote(path)
        files = held.files(revision)
        if path not in files:
            raise RefusedError(404, "EntryNotFound")
        headers = {"ETag": f'"{_blob_id(files[path])}"', "X-Repo-Commit": held.commit(revision)}
        return 200, headers, files[path]

    def _repo(self, name: str, request: Request) -> Repo:
        held = self.repos.get(name)
        allowed = held is not None and (not held.private or self._has_token(request))
        if held is None or not allowed:  # the hub does not say which
            raise RefusedError(404, "RepoNotFound")
        return held

    def _has_token(self, request: Request) -> bool:
        return request.authorization == f"Bearer {self.token}"

    def _need_token(self, request: Request) -> None:
        if not self._has_token(request):
            raise RefusedError(401)


@contextmanager
def hub_stand_in(token: str) -> Iterator[Hub]:
    """A running `Hub`, on a port of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}", token)
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _respond(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        request = Request(
            self.command,
            urlsplit(self.path).path,
            self.headers.get("Authorization"),
            self._body(),
        )
        hub.requests.append(request)
        try:
            status, headers, content = hub.answer(request)
        except RefusedError as error:
            status, headers, content = _json({"error": error.code or "refused"}, error.status)
            headers |= {"X-Error-Code": error.code} if error.code else {}
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if request.method != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = _respond  # noqa: N815 - the server looks them up by name

    def _body(self) -> bytes:
        """A body comes with its length, or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _json(value: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(content), "oid": _blob_id(content)}


def _blob_id(content: bytes) -> str:
    """As git names a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
