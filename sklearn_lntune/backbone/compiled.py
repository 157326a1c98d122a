"""torch.compile for a backbone with a delta attached, with eager mode as the fallback."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from typing import Any

import torch
from torch import nn


def has_compiler() -> bool:
    """Whether there is a C++ compiler, which torch.compile needs on a CPU."""
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    return shutil.which(os.environ.get("CXX", usual)) is not None


class CompiledBody:
    """Runs ``body`` through torch.compile, for any number of rows and tokens.

    It is compiled in the first run, separately with and without gradients. A body that
    cannot be compiled runs in eager mode, with one warning.

    Parameters
    ----------
    body : torch.nn.Module
        Complete: nothing may be attached to it afterwards.
    """

    def __init__(self, body: nn.Module) -> None:
        self._body = body
        self._run: Any = torch.compile(body, dynamic=True)
        # Imported here because it takes a second, and few fits need it.
        from torch._dynamo.exc import TorchDynamoException

        self._failure = TorchDynamoException

    def __call__(self, **inputs: torch.Tensor) -> Any:
        """The output of the body."""
        if self._run is self._body:
            return self._body(**inputs)
        try:
            return self._run(**inputs)
        except self._failure as error:
            self._run = self._body
            warnings.warn(
                f"{type(self._body).__name__} cannot be compiled here and runs as it is: "
                f"{str(error).strip().splitlines()[0]}",
                UserWarning,
                stacklevel=2,
            )
            return self._body(**inputs)
