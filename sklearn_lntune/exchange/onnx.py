"""ONNX files, written by torch's exporter: backbone, delta and head in one graph."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sklearn_lntune.network import Batch, Network

_NEEDED = ("onnx", "onnxscript")


def write_onnx(file: Path, network: Network, example: dict[str, torch.Tensor], meta: Any) -> None:
    """Write ``network`` with dynamic numbers of rows and tokens.

    Parameters
    ----------
    file : Path
    network : Network
        On the CPU.
    example : dict of str to torch.Tensor
        A batch; the graph's inputs get its names.
    meta : object
        Classes and further information for the file's metadata, written as JSON.
    """
    lacking = [package for package in _NEEDED if importlib.util.find_spec(package) is None]
    if lacking:
        raise ImportError(
            f"export_onnx needs {' and '.join(lacking)}: pip install 'sklearn-lntune[onnx]'."
        )
    rows, tokens = torch.export.Dim("rows"), torch.export.Dim("tokens")
    # The pixels of images have a fixed height and width.
    shapes = tuple(
        {0: rows} if value.is_floating_point() else {0: rows, 1: tokens}
        for value in example.values()
    )
    program: Any = torch.onnx.export(
        _Positional(network, tuple(example)).eval(),
        tuple(example.values()),
        input_names=list(example),
        output_names=["logits"],
        dynamic_shapes=(shapes,),
        dynamo=True,
        verbose=False,
    )
    program.model.metadata_props["sklearn_lntune"] = json.dumps(meta)
    file.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(file))


class _Positional(nn.Module):
    """The network with its inputs in a fixed order."""

    def __init__(self, network: Network, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Logits of shape (rows, classes)."""
        logits: torch.Tensor = self.network(Batch(dict(zip(self.names, inputs, strict=True))))
        return logits
