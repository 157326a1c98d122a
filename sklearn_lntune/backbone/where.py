"""An estimator's parameters about the backbone and the device, before they are resolved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class BackboneRef:
    """A reference to a backbone.

    Attributes
    ----------
    name : str or path
        A folder, or a name on the Hugging Face hub; the estimator's ``backbone``.
    revision : str or None
    trust_remote_code : bool
    """

    name: str | os.PathLike[str]
    revision: str | None = None
    trust_remote_code: bool = False

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """The reference in the parameters of an estimator."""
        return cls(params["backbone"], params["revision"], params["trust_remote_code"])


@dataclass(frozen=True)
class Where:
    """Requested device, number type and compilation; `placement` resolves them.

    Attributes
    ----------
    device : str or torch.device
    precision : {"auto", "int8", "bfloat16", "float32", "float64"}
    compile : bool
    """

    device: Any = "auto"
    precision: Any = "auto"
    compile: Any = False

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """The request in the parameters of an estimator."""
        return cls(params["device"], params["precision"], params["compile"])
