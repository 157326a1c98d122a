"""`serve`: a folder of saved classifiers as a server on a port."""

from __future__ import annotations

import contextlib
import os
import socket

import uvicorn

from sklearn_lntune.bank import DeltaBank
from sklearn_lntune.checks import check_number
from sklearn_lntune.console import print_line
from sklearn_lntune.serving.app import create_app
from sklearn_lntune.serving.limits import Limits


def serve(
    folder: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    max_memory: int | None = None,
    backbone: str | os.PathLike[str] | None = None,
    trust_remote_code: bool = False,
    token: str | None = None,
    limits: Limits | None = None,
    stop_seconds: int = 60,
) -> None:
    """Serve the classifiers in a folder until the process is told to stop.

    After SIGTERM or Ctrl+C, no new connection is accepted, every request that was accepted is
    answered, and the function returns or the signal ends the process.

    Parameters
    ----------
    folder : str or path
        Holds saved classifiers, as for `DeltaBank.from_folder`. Uploads are not written to it.
    host : str, default="127.0.0.1"
        Address to listen at. By default, other machines cannot connect.
    port : int, default=8000
        Port to listen at; 0 is any free one. The address is printed.
    max_memory : int, optional
        Bytes of deltas to hold, as for `DeltaBank.from_folder`.
    backbone : str or path, optional
        Used instead of the backbones that the files and uploads name.
    trust_remote_code : bool, default=False
        Whether a backbone may run code that comes with it.
    token : str, optional
        As for `create_app`.
    limits : Limits, optional
        As for `create_app`.
    stop_seconds : int, default=60
        Longest time that stopping may take; then requests without an answer are dropped.

    Raises
    ------
    ValueError
        If there is no such folder, it holds nothing and there is no token to add something, or
        nothing can listen at that address.

    Examples
    --------
    >>> from sklearn_lntune.serving import serve
    >>> serve("classifiers", port=8080)  # doctest: +SKIP
    """
    check_number("port", port, integer=True, high=65_535)
    check_number("stop_seconds", stop_seconds, integer=True, low=1)
    bank = DeltaBank.from_folder(
        folder, max_memory=max_memory, backbone=backbone, trust_remote_code=trust_remote_code
    )
    if not len(bank) and token is None:
        raise ValueError(
            f"{os.fspath(folder)} holds no saved classifier, and without a token none can be added."
        )
    app = create_app(
        bank, limits=limits, token=token, backbone=backbone, trust_remote_code=trust_remote_code
    )
    config = uvicorn.Config(
        app,
        lifespan="on",
        ws="none",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=stop_seconds,
    )
    with _listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        where = f"http://{shown}:{listener.getsockname()[1]}/"
        print_line(f"{len(bank)} classifiers at {where}")
        with contextlib.suppress(KeyboardInterrupt):  # of Ctrl+C, after it has been obeyed
            uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"cannot listen at host={host!r}, port={port}: {reason}.") from error
