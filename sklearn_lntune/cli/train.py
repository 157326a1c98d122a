"""``train``: fit a classifier, regressor or tagger on a file; write it, its figures and card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sklearn_lntune.cli import options
from sklearn_lntune.cli.artifacts import Files, describe
from sklearn_lntune.cli.data import Columns, read_parts
from sklearn_lntune.cli.models import new_estimator
from sklearn_lntune.cli.output import (
    check_free,
    note,
    print_line,
    print_table,
    verbosity,
)
from sklearn_lntune.cli.scores import figures, predicted, print_report
from sklearn_lntune.cli.targets import SEPARATOR, Target, for_fit

Output = Annotated[
    Path,
    typer.Option("--output", "-o", help="Where to write the classifier: a .zip, or a folder."),
]


def train(
    data: options.Data,
    output: Output,
    text: options.TextColumn = "text",
    label: options.LabelColumn = "label",
    target: options.TargetKind = Target.label,
    separator: options.Separator = SEPARATOR,
    text_pair: options.PairColumn = None,
    data_format: options.DataFormat = None,
    test: options.TestFile = None,
    held_out: options.HeldOut = 0.1,
    backbone: options.BackboneName = None,
    tuning: options.Tuning = "layernorm",
    settings: options.Parameters = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    trust_remote_code: options.TrustCode = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a classifier; write it, its figures and a model card.

    Writes OUTPUT, and beside it NAME.metrics.json and, for a .zip, the card NAME.md. Figures are
    those of the rows of --test, or of rows that are held out. With --target, a classifier of
    several labels, a regressor or a tagger of words is trained instead.

    Example:

        sklearn-lntune train tickets.csv --text message --label queue -o tickets.zip
        sklearn-lntune train reviews.csv --label stars --target number -o stars.zip
    """
    files = Files(output)
    check_free(*files.all, overwrite=overwrite)
    files.check()
    clf = new_estimator(
        target,
        backbone=backbone,
        tuning=tuning,
        settings=settings,
        trust_remote_code=trust_remote_code,
        device=device,
        random_state=seed,
    )
    columns = Columns(text, text_pair, label, target, separator)
    train_rows, test_rows = read_parts(
        data, columns, data_format, test=test, held_out=held_out, seed=seed
    )
    if not quiet:
        scored = 0 if test_rows is None else len(test_rows)
        note(f"{len(train_rows):,} rows to train on, {scored:,} to score")
    shown = clf.verbose or verbosity(quiet)
    clf.set_params(verbose=shown).fit(train_rows.texts, for_fit(train_rows.targets, target))
    found: dict[str, Any] = {}
    if test_rows is not None:
        found = figures(target, test_rows.targets, predicted(clf, test_rows.texts, target))
        print_report(found)
        print_line()
    metrics = {name: value for name, value in found.items() if isinstance(value, float)}
    files.write(clf, metrics, found, describe(data, train_rows, test, test_rows))
    learnt = sum(values.size for values in clf.delta_.values())
    print_table(
        ["file", "bytes"],
        [[str(file), _size(file)] for file in files.all],
        f"{learnt:,} numbers learnt, in {clf.n_steps_:,} steps",
    )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
