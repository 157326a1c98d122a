"""torch.compile for a backbone with a delta attached, or the plain way where it cannot."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from typing import Any

import torch
from torch import nn


def has_compiler() -> bool:
    """Whether there is the C++ compiler that torch.compile needs on a CPU."""
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    return shutil.which(os.environ.get("CXX", usual)) is not None


class CompiledBody:
    """Runs ``body`` through torch.compile, for any number of rows and tokens.

    Compiling happens at the first run, in each way of running (with gradients or
    without) anew. A body that cannot be compiled runs as it is, with one warning.

    Parameters
    ----------
    body : torch.nn.Module
        Nothing may be attached to it afterwards.
    """

    def __init__(self, body: nn.Module) -> None:
        self._body = body
        self._run: Any = torch.compile(body, dynamic=True)
        # Imported here only: it takes a second, which few fits need.
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
