"""`serve` as a process: it says where it listens, answers, and stops without a loss."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sklearn_lntune.serving import serve

NET = 300  # seconds after which a test has failed; no test waits for it

#: Serves a folder; "held" is printed when a computation has begun, which then waits for a line.
PROGRAM = """
import sys
from sklearn_lntune import DeltaBank
from sklearn_lntune.serving import Limits, serve

compute = DeltaBank._mixed

def hold(bank, X, tasks):
    print("held", flush=True)
    sys.stdin.readline()
    return compute(bank, X, tasks)

DeltaBank._mixed = hold
serve(sys.argv[1], port=0, limits=Limits(batch_answers=2, batch_seconds=0))
"""


@pytest.fixture
def folder(fitted: dict[str, Any], tmp_path: Path) -> Path:
    for name in ("topic", "long"):
        fitted[name].save(tmp_path / f"{name}.zip")
    return tmp_path


@pytest.fixture
def process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, bufsize=1) as process:
        watchdog = threading.Timer(NET, process.kill)
        watchdog.start()
        yield process
        process.kill()
        watchdog.cancel()


def post(port: int, content: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=NET)) as connection:
        connection.request("POST", "/predict", content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_stopping_loses_no_accepted_request(process: subprocess.Popen[str]) -> None:
    n_tasks, _, address = read_line(process).partition(" classifiers at ")
    assert n_tasks == "2"
    port = urlsplit(address).port
    assert port
    body = '{"texts": ["good", "bad", "old", "new"]}'
    # It stays open and idle, which must not hold up the end.
    idle = HTTPConnection("127.0.0.1", port, timeout=NET)
    with ThreadPoolExecutor(4) as clients, closing(idle):
        answers = [clients.submit(post, port, body)]
        assert read_line(process) == "held"
        answers += [clients.submit(post, port, body) for _ in range(3)]
        n_waiting = 0
        while n_waiting < 4 * 8 - 2:  # all answers but the two that are being computed
            idle.request("GET", "/metrics")
            metrics = idle.getresponse().read().decode()
            n_waiting = int(float(metrics.partition("\nlntune_waiting_answers ")[2].split()[0]))
        process.send_signal(signal.SIGTERM)
        assert process.stdin is not None
        process.stdin.write("\n" * 100)
        process.stdin.flush()
        found = [answer.result(NET) for answer in answers]
        rest, _ = process.communicate(timeout=NET)
    assert [status for status, _ in found] == [200] * 4
    assert all(content.count('"label"') == 8 for _, content in found)
    assert process.returncode in (0, -signal.SIGTERM)
    assert set(rest.split()) <= {"held"}
    with pytest.raises(ConnectionRefusedError):
        post(port, body)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folder": "absent"}, "must be a folder of saved classifiers"),
        ({"folder": "."}, "holds no saved classifier, and without a token"),
        ({"port": 70_000}, "port must be an int"),
        ({"port": "8000"}, "port must be an int"),
        ({"stop_seconds": 0}, "stop_seconds must be an int"),
        ({"host": "no such host"}, "cannot listen at host='no such host'"),
        ({"token": "short"}, "at least 16 characters"),
    ],
)
def test_faults_are_found_before_it_serves(
    arguments: dict[str, Any],
    message: str,
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    with pytest.raises(ValueError, match=message):
        serve(**{"folder": folder, "port": 0, **arguments})


def test_a_port_in_use(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port={port}: Address already in use"):
            serve(folder, port=port)
