"""The bodies of requests, and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sklearn_lntune.inputs.text.utf8 import surrogate_row
from sklearn_lntune.serving.errors import RequestError
from sklearn_lntune.serving.limits import Limits

_FORMS = "a list of strings, or a list of pairs of strings, and not empty"


class PredictBody(BaseModel):
    """Texts or sentence pairs, and a task for each of them."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str] | list[tuple[str, str]] = Field(
        description="Texts, or pairs of texts.", examples=[["where is my parcel??"]], min_length=1
    )
    tasks: list[str] | None = Field(
        default=None,
        description="One task for each text. By default, each text is for all tasks.",
        examples=[["topic"]],
    )

    @field_validator("texts", mode="wrap")
    @classmethod
    def _check_texts(cls, value: Any, check: Any) -> Any:
        return _checked(value, check, "texts", _FORMS)

    @field_validator("tasks", mode="wrap")
    @classmethod
    def _check_tasks(cls, value: Any, check: Any) -> Any:
        return _checked(value, check, "tasks", "a list of names, one for each text")


class ExplainBody(BaseModel):
    """A text or a pair, the task, and the label that words spoke for."""

    model_config = ConfigDict(extra="forbid")

    text: str | tuple[str, str] = Field(description="A text, or a pair of texts.")
    task: str
    label: str | bool | int | float | None = Field(
        default=None,
        description="A label, or the number of an output. By default, the most likely label.",
    )

    @field_validator("text", mode="wrap")
    @classmethod
    def _check_text(cls, value: Any, check: Any) -> Any:
        return _checked(value, check, "text", "a string, or a pair of strings")


def _checked(value: Any, check: Any, name: str, form: str) -> Any:
    """``check(value)``, with one plain error in place of those for each form."""
    try:
        return check(value)
    except ValidationError as error:
        raise ValueError(f"{name} must be {form}.") from error


def check_texts(
    texts: Sequence[str | tuple[str, str]], limits: Limits, name: str = "texts[{}]"
) -> None:
    """Raise a RequestError if ``texts`` are too many, too long, or not text."""
    if len(texts) > limits.max_texts:
        raise RequestError(
            413, f"{len(texts)} texts are too many; a request may have {limits.max_texts}."
        )
    for number, text in enumerate(texts):
        length = len(text) if isinstance(text, str) else sum(map(len, text))
        if length > limits.max_characters:
            raise RequestError(
                413,
                f"{name.format(number)} has {length} characters; at most "
                f"{limits.max_characters} are allowed.",
            )
    broken = surrogate_row(texts)
    if broken is not None:
        raise RequestError(
            422, f"{name.format(broken)} holds half of a UTF-16 pair, not a character."
        )
