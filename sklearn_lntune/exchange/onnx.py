"""ONNX files, written by torch's exporter: backbone, delta and head in one graph."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_lntune.backbone.poolings import COMPARED
from sklearn_lntune.network import Batch, Network
from sklearn_lntune.tensors import tensor_of

_NEEDED = ("onnx", "onnxscript")


def write_onnx(
    file: Path,
    network: Network,
    example: dict[str, torch.Tensor],
    meta: Any,
    output_scale: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
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
    output_scale : tuple of two ndarray of shape (n_outputs,), optional
        Offset and factor that turn outputs into predictions, which the graph then applies.
    """
    lacking = [package for package in _NEEDED if importlib.util.find_spec(package) is None]
    if lacking:
        raise ImportError(
            f"export_onnx needs {' and '.join(lacking)}: pip install 'sklearn-lntune[onnx]'."
        )
    if network.window_pooling == COMPARED:
        example = {name: value.view(-1, 2, value.shape[1]) for name, value in example.items()}
    rows, tokens = torch.export.Dim("rows"), torch.export.Dim("tokens")
    # The pixels of images have a fixed height and width.
    shapes = tuple(
        {0: rows} if value.is_floating_point() else {0: rows, value.dim() - 1: tokens}
        for value in example.values()
    )
    program: Any = torch.onnx.export(
        _Positional(network, tuple(example), output_scale).eval(),
        tuple(example.values()),
        input_names=list(example),
        output_names=["logits" if output_scale is None else "predictions"],
        dynamic_shapes=(shapes,),
        dynamo=True,
        verbose=False,
    )
    program.model.metadata_props["sklearn_lntune"] = json.dumps(meta)
    file.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(file))


class _Positional(nn.Module):
    """The network with its inputs in a fixed order."""

    def __init__(
        self,
        network: Network,
        names: tuple[str, ...],
        scale: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.names = names
        self.scale = None if scale is None else [tensor_of(each).float() for each in scale]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Logits or predictions of shape (rows, outputs)."""
        if self.network.window_pooling == COMPARED:
            inputs = tuple(value.flatten(0, 1) for value in inputs)
        outputs: torch.Tensor = self.network(Batch(dict(zip(self.names, inputs, strict=True))))
        if self.scale is None:
            return outputs
        offset, factor = self.scale
        return outputs * factor + offset
