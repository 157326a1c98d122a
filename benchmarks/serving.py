"""A server under load: many tasks behind one address, and tasks that come and go meanwhile.

    python benchmarks/serving.py [--seconds 5] [--rounds 2] [--backbone small] [--long 2000]

A classifier of support tickets is fitted by LayerNorm tuning, and varied. Each request is one
text that nobody sent before, for a task drawn at random. Clients are threads with a connection
each, which send the next request as soon as the last one is answered. All servers of a part
wait meanwhile, and take turns in each round.

The backbone is a random BERT of 4 layers of 128 units, so that what a request costs besides
the matrix products shows; with ``--backbone default`` it is all-MiniLM-L6-v2. CPU time of the
servers is recorded besides, since other processes on the machine change it the least.

*tasks*: servers with banks of 1 to 1,000 tasks, asked by 1 to 64 clients.
*processes*: a bank of 4 tasks, beside 4 processes with one task each behind the same code.
*changes*: the bank of 1,000, while another client uploads and deletes tasks all the time.
*memory*: a bank of 100 tasks, asked by 8 clients many thousand times; how large the process is.

An interrupted run continues where it was.
"""

import contextlib
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import harness
import many
import numpy as np
import pandas as pd
import psutil
from harness import RESULTS, Records, lines, rst

from sklearn_lntune.datasets import load_support_tickets

TOKEN = "a token of the benchmark"
PROGRAM = (
    "import sys; from sklearn_lntune.serving import serve; "
    f"serve(sys.argv[1], port=0, token={TOKEN!r})"
)
N_PROCESSES = 4
MEMORY_TASKS, MEMORY_PARTS = 100, 10
#: Cores that other processes may use, on average, for a time to be sound.
MOST_OTHERS = 0.5
BACKBONES = {
    "small": "A random BERT of 4 layers of 128 units",
    "default": "The default backbone (all-MiniLM-L6-v2)",
}
TEXTS = list(load_support_tickets().data)
_numbers = itertools.count()


class Server:
    """A process that serves a folder."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._first: str | None = None

    @property
    def port(self) -> int:
        """Where it listens; waits until it does."""
        if self._first is None:
            assert self._process.stdout is not None
            self._first = self._process.stdout.readline()
        return int(self._first.strip().rstrip("/").rpartition(":")[2])

    def resident(self) -> float:
        """Megabytes."""
        return psutil.Process(self._process.pid).memory_info().rss / 1e6

    def busy(self) -> float:
        """Seconds of CPU time so far."""
        return sum(psutil.Process(self._process.pid).cpu_times()[:2])

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()


@contextlib.contextmanager
def servers(folders: Sequence[Path]) -> Iterator[list[Server]]:
    """A server for each folder; they load at the same time, and read all their files."""
    started = [Server(folder) for folder in folders]
    try:
        for server in started:
            with Client([server]) as client:
                assert client.send(0, "POST", "/predict", b'{"texts": ["warm"]}') == 200
        yield started
    finally:
        for server in started:
            server.stop()


class Client:
    """Connections to servers: a task is on the server whose turn its number is."""

    def __init__(self, running: Sequence[Server]) -> None:
        self._connections = [HTTPConnection("127.0.0.1", each.port) for each in running]

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    def ask(self, task: int) -> int:
        """The status of a request for one new text."""
        number = next(_numbers)
        text = f"{TEXTS[number % len(TEXTS)]} {number}"
        body = json.dumps({"texts": [text], "tasks": [str(task)]})
        return self.send(task % len(self._connections), "POST", "/predict", body.encode())

    def send(self, server: int, method: str, path: str, body: bytes = b"") -> int:
        connection = self._connections[server]
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status


def load(
    running: Sequence[Server],
    n_tasks: int,
    n_clients: int,
    seconds: float,
    n_each: float = math.inf,
) -> dict[str, Any]:
    """What clients see within some seconds, or of ``n_each`` requests each."""
    begin, busy = time.perf_counter(), sum(server.busy() for server in running)

    def ask(seed: int) -> list[tuple[int, float]]:
        draw, answers = np.random.default_rng(seed), []
        with Client(running) as client:
            while (start := time.perf_counter()) < begin + seconds and len(answers) < n_each:
                status = client.ask(int(draw.integers(n_tasks)))
                answers.append((status, time.perf_counter() - start))
        return answers

    with ThreadPoolExecutor(n_clients) as threads:
        answers = [each for part in threads.map(ask, range(n_clients)) for each in part]
    taken = time.perf_counter() - begin
    busy = sum(server.busy() for server in running) - busy
    waits = 1e3 * np.array([wait for _, wait in answers])
    return {
        "requests": len(answers),
        "failed": sum(status != 200 for status, _ in answers),
        "per second": round(len(answers) / taken, 1),
        "CPU a request, ms": round(1e3 * busy / len(answers), 2),
        "p50, ms": round(float(np.quantile(waits, 0.5)), 1),
        "p99, ms": round(float(np.quantile(waits, 0.99)), 1),
        "resident, MB": round(sum(server.resident() for server in running), 1),
    }


def changing(server: Server, n_tasks: int, file: Path, seconds: float) -> dict[str, Any]:
    """Load, while tasks are added, replaced and removed."""
    done = threading.Event()
    statuses: list[int] = []

    def change() -> None:
        upload = file.read_bytes()
        with Client([server]) as client:
            while not done.is_set():
                path = f"/tasks/extra{len(statuses) % 7}"
                statuses.append(client.send(0, "PUT", path, upload))
                statuses.append(client.send(0, "PUT", path, upload))
                statuses.append(client.send(0, "DELETE", path))

    before = server.resident()
    thread = threading.Thread(target=change)
    thread.start()
    found = load([server], n_tasks, 16, seconds)
    done.set()
    thread.join()
    return {
        **found,
        "changes": len(statuses),
        "failed changes": sum(status >= 300 for status in statuses),
        "resident before, MB": round(before, 1),
    }


def backbone(parent: Path, name: str) -> str:
    """The folder of a backbone: the default one, or a small random one with its tokenizer."""
    if name == "default":
        return harness.backbone_folder()
    from transformers import BertConfig, BertModel

    tokenizer = harness.plain_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
    )
    BertModel(config).save_pretrained(parent / "backbone")
    tokenizer.save_pretrained(parent / "backbone")
    return str(parent / "backbone")


def write_folders(parent: Path, given: Any) -> dict[int, Path]:
    """A folder with so many saved classifiers, for each number of tasks."""
    X, y = load_support_tickets(subset="train", return_X_y=True)
    clf = many.fitted(X, y, backbone=backbone(parent, given.backbone))
    folders = {n: parent / f"{n} tasks" for n in given.tasks}
    for folder in folders.values():
        folder.mkdir()
    for number in range(max(given.tasks)):
        file = parent / f"{number}.zip"
        many.varied(clf, number).save(file)
        for n, folder in folders.items():
            if number < n:
                shutil.copyfile(file, folder / file.name)
    return folders


def measure(run: Records, given: Any) -> None:
    """All parts, except for what an interrupted run has measured already."""
    n_changes = sum(each["part"] == "changes" for each in run)
    with tempfile.TemporaryDirectory() as parent:
        folders = write_folders(Path(parent), given)
        if n_changes < given.rounds:  # these loads come last on their servers
            load_by_tasks(run, given, folders)
        load_by_processes(run, given, Path(parent))
        load_for_long(run, given, folders[max(n for n in folders if n <= MEMORY_TASKS)])


def load_by_tasks(run: Records, given: Any, folders: dict[int, Path]) -> None:
    with servers(list(folders.values())) as running:
        asked = list(zip(folders, running, strict=True))
        for turn, c in itertools.product(range(given.rounds), given.clients):
            for n, server in asked[:: 1 if turn % 2 else -1]:
                key = {"part": "tasks", "tasks": n, "clients": c, "round": turn}
                run.once(key, partial(load, [server], n, c, given.seconds))
        n, server = asked[-1]
        for turn in range(given.rounds):
            key = {"part": "changes", "tasks": n, "clients": 16, "round": turn}
            run.once(key, partial(changing, server, n, folders[n] / "0.zip", 3 * given.seconds))


def load_by_processes(run: Records, given: Any, parent: Path) -> None:
    folders = [parent / "all", *(parent / f"only {number}" for number in range(N_PROCESSES))]
    for folder in folders:
        folder.mkdir()
    for number, only in enumerate(folders[1:]):
        for folder in (folders[0], only):
            shutil.copyfile(parent / f"{number}.zip", folder / f"{number}.zip")
    with servers(folders) as (bank, *others):
        for turn, c in itertools.product(range(given.rounds), given.clients):
            for who, asked in {"one bank": [bank], "a process each": others}.items():
                key = {"part": "processes", "who": who, "clients": c, "round": turn}
                run.once(key, partial(load, asked, N_PROCESSES, c, given.seconds))


def load_for_long(run: Records, given: Any, folder: Path) -> None:
    n_tasks = len(list(folder.iterdir()))
    with servers([folder]) as (server,):
        for part in range(MEMORY_PARTS):
            key = {"part": "memory", "tasks": n_tasks, "clients": 8, "round": part}
            run.once(key, partial(load, [server], n_tasks, 8, math.inf, given.long / 8))


def figure() -> str:
    """What a request costs by tasks and clients, during changes, and with a process per task."""
    records = pd.DataFrame(lines(RESULTS / "serving.jsonl"))
    parts = dict(iter(records[records["run"] == records["run"].max()].groupby("part")))
    tasks, changes = parts["tasks"], parts["changes"]
    first = tasks.iloc[0].to_dict()
    report = {"processor": first["cpu"], "date": first["date"], "versions": first["versions"]}
    memory = tasks.loc[tasks["tasks"] == tasks["tasks"].max(), "resident, MB"]
    costs = by_columns(tasks, "tasks", "CPU a request, ms")
    share = float((costs.iloc[:, 0] / costs.iloc[:, -1]).min())
    beside = one_process_each(parts["processes"]) if "processes" in parts else ""
    beside += memory_over_time(parts["memory"]) if "memory" in parts else ""
    return (
        "CPU time of the server per request, in milliseconds, by the number of tasks:\n\n"
        + rst(costs)
        + f"\nThe same CPU time answers {share:.2f} times as many requests for "
        f"{costs.columns[-1]:,} tasks as for one, or more.\n"
        + waiting_times(tasks)
        + f"\nThe process with {tasks['tasks'].max():,.0f} tasks took {memory.iloc[0]:.0f} MB after"
        f" the first and {memory.iloc[-1]:.0f} MB after the last of these loads. During "
        f"{changes['changes'].sum():.0f} uploads and deletions, of which "
        f"{changes['failed changes'].sum():.0f} failed, it answered "
        f"{changes['requests'].sum():.0f} requests of 16 clients, of which "
        f"{changes['failed'].sum():.0f} failed; it took "
        f"{changes['resident before, MB'].iloc[0]:.0f} MB before, and "
        f"{changes['resident, MB'].iloc[-1]:.0f} MB after.\n"
        + beside
        + f"\n{BACKBONES[first['backbone']]}; one new text of the support tickets per request; "
        f"medians of {tasks['round'].nunique()} rounds in turns; clients on the same machine, on "
        f"which other processes used {tasks['others'].median():.1f} of {first['cores']:.0f} cores; "
        f"{first['threads']:.0f} thread per server {harness.origin(report)}; "
        "``benchmarks/serving.py``.\n"
    )


def one_process_each(processes: pd.DataFrame) -> str:
    """A table of one bank beside a process for each task."""
    cells = by_columns(processes, "who", "CPU a request, ms").map("{:.1f} ms, ".format)
    cells += by_columns(processes, "who", "resident, MB").map("{:.0f} MB".format)
    return (
        f"\n{N_PROCESSES} tasks in one bank, or in a process each: CPU time per request, and "
        "resident memory of all processes:\n\n" + rst(cells)
    )


def memory_over_time(memory: pd.DataFrame) -> str:
    """How large a process is after each so many requests."""
    sizes = ", ".join(f"{size:.0f}" for size in memory["resident, MB"])
    return (
        f"\nA process with {memory['tasks'].iloc[0]:.0f} tasks took {sizes} MB after each "
        f"{memory['requests'].median():,.0f} of {memory['requests'].sum():,.0f} requests of 8 "
        "clients.\n"
    )


def waiting_times(tasks: pd.DataFrame) -> str:
    """Tables of throughput and of the times that clients wait."""
    others = tasks["others"].median()
    caveat = ""
    if others > MOST_OTHERS:
        caveat = (
            f"\nThe next two tables say little of the server: other processes used {others:.1f} of "
            "the cores meanwhile, in some rounds more than in others.\n"
        )
    waits = by_columns(tasks, "tasks", "p50, ms").map("{:.0f} / ".format)
    waits += by_columns(tasks, "tasks", "p99, ms").map("{:.0f}".format)
    return (
        f"{caveat}\nRequests answered per second:\n\n"
        + rst(by_columns(tasks, "tasks", "per second"))
        + "\nTime that a client waits, median / 99th percentile, in milliseconds:\n\n"
        + rst(waits)
    )


def by_columns(part: pd.DataFrame, columns: str, value: str) -> pd.DataFrame:
    """Medians over rounds, a row for each number of clients."""
    part = part.astype({"clients": int} | ({"tasks": int} if columns == "tasks" else {}))
    return part.pivot_table(value, "clients", columns, "median").round(2)


def main() -> None:
    given = harness.options(
        __doc__, tasks=((1, 10, 100, 1000), (1, 4)), clients=((1, 8, 64), (1, 2)),
        seconds=(5.0, 0.5), rounds=(2, 1), backbone=("small", "small"), long=(2000, 16),
    )  # fmt: skip
    here = harness.surroundings("fastapi", "uvicorn")
    stamp = {"date": here.pop("date")}
    settings = {name: getattr(given, name) for name in ("seconds", "rounds", "backbone")}
    about = {"cpu": here.pop("processor"), "tiny": given.tiny, "cores": os.cpu_count()}
    about |= {**settings, **here}
    run = harness.open_run(given.out / "serving.jsonl", about, stamp)
    measure(run, given)
    run.once({"part": "finished"}, dict)


if __name__ == "__main__":
    main()
