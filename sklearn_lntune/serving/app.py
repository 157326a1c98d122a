"""`create_app`: a bank as an ASGI application."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from sklearn_lntune.bank import DeltaBank
from sklearn_lntune.serving.errors import add_handlers
from sklearn_lntune.serving.limits import Limits
from sklearn_lntune.serving.middleware import BodyLimited, Measured
from sklearn_lntune.serving.routes import changing_routes, public_routes
from sklearn_lntune.serving.service import Service

_STATIC = Path(__file__).parent / "static"
_SHORTEST_TOKEN = 16


def create_app(
    bank: DeltaBank,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    backbone: str | os.PathLike[str] | None = None,
    trust_remote_code: bool = False,
) -> FastAPI:
    """Make an application that answers for the classifiers of a bank over HTTP.

    Requests of many clients are joined in batches, which one thread computes. Run it in one
    process, with uvicorn or any other ASGI server that supports lifespans; :doc:`/serving`
    describes the addresses.

    Parameters
    ----------
    bank : DeltaBank
        May be changed while it is served.
    limits : Limits, optional
        By default, those of ``Limits()``.
    token : str, optional
        Clients that send it may add, replace and remove classifiers; 16 characters at least.
        Without it, nobody may.
    backbone : str or path, optional
        Used by uploaded classifiers instead of the one that they name. Without it, an upload
        can make the server read any backbone that it finds, from the Hugging Face hub, too.
    trust_remote_code : bool, default=False
        Whether the backbone of an upload may run code that comes with it.

    Returns
    -------
    fastapi.FastAPI
        The application.

    Raises
    ------
    TypeError
        If ``bank``, ``limits`` or ``token`` is of another type.
    ValueError
        If the token is too short, or cannot be sent in a header.

    Examples
    --------
    >>> from sklearn_lntune import DeltaBank
    >>> from sklearn_lntune.serving import create_app
    >>> app = create_app(DeltaBank())
    >>> app.title
    'sklearn-lntune'
    """
    if not isinstance(bank, DeltaBank):
        raise TypeError(f"bank must be a DeltaBank; got {type(bank).__name__}.")
    if not isinstance(limits, Limits | None):
        raise TypeError(f"limits must be Limits or None; got {type(limits).__name__}.")
    _check_token(token)
    service = Service(
        bank, limits or Limits(), {"backbone": backbone, "trust_remote_code": trust_remote_code}
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(service.start)
        try:
            yield
        finally:
            await asyncio.to_thread(service.batcher.stop)

    # The pages of FastAPI's own documentation load their scripts from elsewhere.
    app = FastAPI(title="sklearn-lntune", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimited, limits=service.limits)
    app.add_middleware(Measured, observe=service.metrics.on_request)
    add_handlers(app)
    app.include_router(public_routes(service))
    app.include_router(changing_routes(service, token))

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    app.state.service = service
    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


def _check_token(token: str | None) -> None:
    if token is None:
        return
    if not isinstance(token, str):
        raise TypeError(f"token must be a string; got {type(token).__name__}.")
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise ValueError(
            f"token must have at least {_SHORTEST_TOKEN} characters, all of them printable ASCII; "
            "secrets.token_urlsafe() makes one."
        )
    if token != token.strip():
        raise ValueError("token must not begin or end with spaces: a header would lose them.")
