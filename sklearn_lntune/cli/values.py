"""Plain values that a user writes: after ``--set NAME=``, and in a grid file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from sklearn_lntune.persistence.untrusted import parse_json, read_regular

#: A grid is a page of text; anything larger is another file.
_MAX_BYTES = 2**20


class _Loader(yaml.SafeLoader):
    """YAML's plain values alone: no objects, and no references, which can grow without end."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references (*name) are not read")
        return super().compose_node(parent, index)


# YAML 1.1 takes 1e-3 for a string: it wants a point before the exponent.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def parse_value(text: str) -> Any:
    """The value that ``text`` writes in YAML.

    Examples
    --------
    >>> parse_value("1e-3"), parse_value("layernorm"), parse_value("[0, 1]"), parse_value("true")
    (0.001, 'layernorm', [0, 1], True)
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{text!r:.60} is not a plain value: {error}") from error


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """Parameters from arguments of the form ``name=value``.

    Examples
    --------
    >>> parse_settings(["lr=3e-3", "pooling=cls"])
    {'lr': 0.003, 'pooling': 'cls'}
    """
    params = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise ValueError(f"--set takes NAME=VALUE; got {setting!r}")
        params[name] = parse_value(value)
    return params


def read_grid(file: Path) -> list[dict[str, list[Any]]]:
    """The grids in a YAML, JSON or TOML file: lists of values by parameter.

    A file holds one grid, or (YAML and JSON) a list of them. In TOML, a list of tables called
    ``grid`` stands for several.

    Raises
    ------
    ValueError
        If the file is not of its kind, or not a grid.
    """
    parse = _PARSERS.get(file.suffix.lower())
    if parse is None:
        raise ValueError(f"{file}: a grid is a file that ends in {', '.join(_PARSERS)}")
    if file.is_file() and file.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{file} is larger than {_MAX_BYTES:,} bytes; it is not a grid")
    try:
        found = parse(read_regular(file))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read as {file.suffix[1:]}: {error}") from error
    if isinstance(found, dict) and set(found) == {"grid"} and isinstance(found["grid"], list):
        found = found["grid"]
    grids = found if isinstance(found, list) else [found]
    if not grids:
        raise ValueError(f"{file} holds no grid")
    for grid in grids:
        _check_grid(grid, file)
    return grids


def _check_grid(grid: Any, file: Path) -> None:
    if not isinstance(grid, dict) or not grid:
        raise ValueError(f"{file} must give a list of values for each parameter; it holds {grid!r}")
    for name, values in grid.items():
        if not isinstance(name, str) or not isinstance(values, list) or not values:
            raise ValueError(f"{file}: {name!r} must have a list of values; it has {values!r:.60}")


def _parse_yaml(content: bytes) -> Any:
    return yaml.load(content.decode(), _Loader)  # noqa: S506 - a SafeLoader


_PARSERS: dict[str, Callable[[bytes], Any]] = {
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".json": parse_json,
    ".toml": lambda content: tomllib.loads(content.decode()),
}
