"""Options that several commands have, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sklearn_lntune.cli.formats import Format
from sklearn_lntune.cli.targets import Target

Data = Annotated[
    str,
    typer.Argument(help="CSV, TSV, JSONL (also .gz) or Parquet.", show_default=False),
]
Classifier = Annotated[
    str,
    typer.Argument(
        help="A saved classifier, regressor or tagger: a .zip, a folder, or user/name on the hub."
    ),
]
TextColumn = Annotated[str, typer.Option("--text", help="The column of the texts.")]
PairColumn = Annotated[
    str | None,
    typer.Option("--text-pair", help="The column of the second texts, for sentence pairs."),
]
LabelColumn = Annotated[
    str, typer.Option("--label", help="The column of the labels, numbers or tags.")
]
TargetKind = Annotated[
    Target,
    typer.Option(
        "--target",
        help="What is in that column: one label; several labels (a list, or a text with "
        "--separator between them); a number, or a list of them; or a tag for each word (a list, "
        "or a text with spaces between them).",
    ),
]
Separator = Annotated[
    str, typer.Option("--separator", help="Stands between several labels or numbers in a text.")
]
DataFormat = Annotated[
    Format | None,
    typer.Option("--format", help="The format of DATA, if its name does not say."),
]
BackboneName = Annotated[
    str | None,
    typer.Option("--backbone", help="A folder or a name on the hub. [default: MiniLM]"),
]
MovedBackbone = Annotated[
    str | None,
    typer.Option("--backbone", help="Where the backbone is now, if it was moved."),
]
Tuning = Annotated[
    str, typer.Option("--tuning", help="What is trained: layernorm, layernorm+lora, head, ...")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other parameter of the estimator, such as lr=0.003; may be repeated.",
    ),
]
TestFile = Annotated[
    str | None, typer.Option("--test", help="A file of rows to score, with the same columns.")
]
HeldOut = Annotated[
    float,
    typer.Option(
        "--held-out",
        min=0,
        max=0.9,
        help="Share of the rows to score instead of training on them; 0 for none.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the split and of training.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, mps or auto.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace output files that are there already.")
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the figures to this file, too.")
]
PlotFile = Annotated[
    Path | None, typer.Option("--plot", help="Draw a picture: .png, .svg or .pdf.")
]
TrustCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Allow a backbone to run code that comes with it."),
]
