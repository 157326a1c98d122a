"""``export``: write a classifier in the format of another library."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sklearn_lntune.cli import options
from sklearn_lntune.cli.output import check_free, print_line
from sklearn_lntune.estimators.loading import load


class Target(StrEnum):
    """The library to export to."""

    peft = "peft"
    transformers = "transformers"
    onnx = "onnx"


Wanted = Annotated[Target, typer.Argument(help="The library that is to read it.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="A folder; for onnx, a file.", show_default=False)
]


def export(
    target: Wanted,
    classifier: options.Classifier,
    output: Output,
    backbone: options.MovedBackbone = None,
    trust_remote_code: options.TrustCode = False,
) -> None:
    """Write a classifier for peft, transformers or ONNX runtimes.

    peft and transformers need a classifier trained with --set pooling=native.

    Example:

        sklearn-lntune export onnx tickets.zip -o tickets.onnx
    """
    # Nothing is replaced: a folder of transformers is too large to be lost by a typing error.
    check_free(output, overwrite=False)
    clf = load(classifier, backbone=backbone, trust_remote_code=trust_remote_code)
    writers = {
        Target.peft: clf.export_peft,
        Target.transformers: clf.export_transformers,
        Target.onnx: clf.export_onnx,
    }
    writers[target](output)
    print_line(str(output))
