"""``serve``: a folder of classifiers behind HTTP."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from sklearn_lntune.cli import options
from sklearn_lntune.cli.output import note

Folder = Annotated[Path, typer.Argument(help="Holds what `train` and `save` have written.")]
Host = Annotated[str, typer.Option("--host", help="The address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 for a free one.")]


def serve(
    folder: Folder,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    backbone: options.MovedBackbone = None,
    trust_remote_code: options.TrustCode = False,
) -> None:
    """Serve all classifiers of a folder over HTTP.

    Example:

        sklearn-lntune serve classifiers --port 8000
    """
    from sklearn_lntune.bank.delta_bank import DeltaBank

    try:
        import uvicorn

        create_app = import_module("sklearn_lntune.serving").create_app
    except ImportError as error:
        raise ImportError(
            f"serve needs {error.name}: pip install 'sklearn-lntune[serve]'"
        ) from error
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    bank = DeltaBank.from_folder(folder, backbone=backbone, trust_remote_code=trust_remote_code)
    if not bank.names:
        raise ValueError(f"there is no saved classifier in {folder}")
    note(f"{len(bank.names)} classifiers at http://{host}:{port}; Ctrl-C ends")
    uvicorn.run(create_app(bank), host=host, port=port, log_level="warning")
