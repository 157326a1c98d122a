"""The addresses of a server."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response

from sklearn_lntune.serving.answers import OtherKind
from sklearn_lntune.serving.bodies import ExplainBody, PredictBody, check_texts
from sklearn_lntune.serving.errors import RequestError
from sklearn_lntune.serving.service import Service

#: What nginx records for a client that has left.
_CLIENT_LEFT = 499
_MOST_NAME = 100


def public_routes(service: Service) -> APIRouter:
    """Predictions, and what may be read."""
    router = APIRouter()

    @router.post("/predict", summary="Labels and probabilities for texts")
    async def predict(body: PredictBody, request: Request) -> Response:
        check_texts(body.texts, service.limits)
        if body.tasks is None:
            answers = await _outcome(request, service.ask_all(body.texts))
        elif len(body.tasks) != len(body.texts):
            raise RequestError(
                422,
                f"tasks must have one name for each of the {len(body.texts)} texts; it has "
                f"{len(body.tasks)}. Without tasks, each text is for all of them.",
            )
        else:
            answers = await _outcome(request, service.ask(body.texts, body.tasks))
        if answers is None:
            return Response(status_code=_CLIENT_LEFT)
        n_tasks = len(answers) // len(body.texts)
        others = [each for each in answers if isinstance(each, OtherKind)]
        if others and (body.tasks is not None or len(others) == len(answers)):
            raise others[0].error()
        return JSONResponse(
            {
                "predictions": [
                    {"row": number // n_tasks, **each}
                    for number, each in enumerate(answers)
                    if not isinstance(each, OtherKind)
                ]
            }
        )

    @router.post("/explain", summary="Which words spoke for an answer")
    async def explain(body: ExplainBody, request: Request) -> Response:
        check_texts([body.text], service.limits, "text")
        found = await _outcome(request, service.explain(body.text, body.task, body.label))
        return Response(status_code=_CLIENT_LEFT) if found is None else JSONResponse(found)

    @router.get("/tasks", summary="Names of all tasks")
    async def tasks() -> dict[str, list[str]]:
        return {"tasks": service.names}

    @router.get("/healthz", summary="Whether requests are accepted")
    async def health() -> JSONResponse:
        is_open = service.batcher.is_open
        return JSONResponse({"status": "ok" if is_open else "stopping"}, 200 if is_open else 503)

    @router.get("/metrics", summary="Metrics in Prometheus' format")
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        content, media_type = service.metrics.page(accept)
        return Response(content, headers={"Content-Type": media_type})

    return router


def changing_routes(service: Service, token: str | None) -> APIRouter:
    """Addresses that add and remove tasks, for those who know ``token``."""
    router = APIRouter()

    def check_token(given: str | None) -> None:
        if token is None:
            raise RequestError(
                403, "Tasks cannot be changed: the server was started without a token."
            )
        scheme, _, credentials = (given or "").partition(" ")
        right = secrets.compare_digest(credentials.strip().encode(), token.encode())
        if scheme.lower() != "bearer" or not right:
            raise RequestError(
                401,
                "Changing tasks needs the header 'Authorization: Bearer TOKEN' with the token "
                "that the server was started with.",
                {"WWW-Authenticate": "Bearer"},
            )

    @router.put("/tasks/{name:path}", summary="Add or replace a task: the body is its .zip")
    async def put(
        name: str, request: Request, authorization: Annotated[str | None, Header()] = None
    ) -> JSONResponse:
        check_token(authorization)
        if len(name) > _MOST_NAME or "/" in name or not name.isprintable() or not name.strip():
            raise RequestError(
                422, f"A name has 1 to {_MOST_NAME} printable characters, and no slash."
            )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "uploaded.zip")
            with file.open("wb") as stream:
                async for chunk in request.stream():
                    await asyncio.to_thread(stream.write, chunk)
            replaced = await service.put(name, file)
        return JSONResponse({"task": name, "replaced": replaced}, 200 if replaced else 201)

    @router.delete("/tasks/{name:path}", summary="Remove a task", status_code=204)
    async def delete(name: str, authorization: Annotated[str | None, Header()] = None) -> None:
        check_token(authorization)
        await service.remove(name)

    return router


async def _outcome(request: Request, future: Future[Any]) -> Any:
    """The result of ``future``, or None if the client leaves before; then it is cancelled."""
    result = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((result, gone), return_when=asyncio.FIRST_COMPLETED)
        return result.result() if result.done() else None
    finally:
        result.cancel()
        gone.cancel()


async def _left(request: Request) -> None:
    """Return when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
