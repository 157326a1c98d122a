"""``serve``: a folder of classifiers behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sklearn_lntune.cli import options

Folder = Annotated[Path, typer.Argument(help="Holds what `train` and `save` have written.")]
Host = Annotated[str, typer.Option("--host", help="The address to listen at.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 for a free one.")]
MaxMemory = Annotated[
    int | None, typer.Option("--max-memory", min=1, help="Bytes of classifiers in memory at once.")
]
# From the environment, since every user of a machine can read the arguments of a process.
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="SKLEARN_LNTUNE_TOKEN",
        help="Who sends it may add and remove classifiers; better given in the environment.",
    ),
]


def serve(
    folder: Folder,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    max_memory: MaxMemory = None,
    token: Token = None,
    backbone: options.MovedBackbone = None,
    trust_remote_code: options.TrustCode = False,
) -> None:
    """Serve all classifiers of a folder over HTTP, until Ctrl-C.

    Example:

        sklearn-lntune serve classifiers --port 8000
    """
    from sklearn_lntune import serving

    serving.serve(
        folder,
        host,
        port,
        max_memory=max_memory,
        token=token,
        backbone=backbone,
        trust_remote_code=trust_remote_code,
    )
