"""Errors as clients see them: a status, and a message in JSON that shows nothing of the inside."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sklearn_lntune.serving.batching import QueueFullError, StoppedError

log = logging.getLogger("sklearn_lntune.serving")

#: Seconds after which a client may try again.
RETRY_AFTER = {"Retry-After": "1"}
_USUAL = {
    400: "The request cannot be read.",
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
}


class RequestError(HTTPException):
    """A request that cannot be answered.

    Parameters
    ----------
    status_code : int
    message : str
        For the client.
    headers : dict of str to str, optional
    """

    def __init__(
        self, status_code: int, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status_code, message, headers)


def add_handlers(app: FastAPI) -> None:
    """Let ``app`` answer every error with ``{"error": message}``."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(QueueFullError, _on_full)
    app.add_exception_handler(StoppedError, _on_stopped)
    app.add_exception_handler(Exception, _on_failure)


def _response(status: int, message: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


def _on_http(request: Request, error: Any) -> JSONResponse:
    usual = error.detail if isinstance(error, RequestError) else _USUAL.get(error.status_code)
    return _response(error.status_code, usual or error.detail, error.headers)


def _on_full(request: Request, error: Exception) -> JSONResponse:
    return _response(429, "Too many requests are waiting; try again later.", RETRY_AFTER)


def _on_stopped(request: Request, error: Exception) -> JSONResponse:
    return _response(503, "The server is starting or stopping.", RETRY_AFTER)


def _on_failure(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises the error again after this answer, and the server logs it.
    return _response(500, "The server failed to answer; its log says why.")


def _on_invalid(request: Request, error: Any) -> JSONResponse:
    return _response(422, _message(error.errors()[0]))


def _message(error: dict[str, Any]) -> str:
    """The first fault that was found in a body, in a sentence."""
    field = ".".join(map(str, error["loc"][1:]))
    cause = error.get("ctx", {}).get("error")
    if error["type"] == "json_invalid":
        return f"The body is not valid JSON: {cause} at character {field}."
    if not field:
        return "The body must be a JSON object, sent as application/json."
    if isinstance(cause, ValueError):
        return str(cause)
    if error["type"] == "missing":
        return f"{field} is missing."
    if error["type"] == "extra_forbidden":
        return f"There is no field {field!r:.60}."
    return f"{field}: {error['msg']}."
