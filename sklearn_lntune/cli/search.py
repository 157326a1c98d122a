"""``search``: try the settings of a grid file, with all fits side by side."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer
from sklearn.base import clone
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import GridSearchCV, ParameterGrid

from sklearn_lntune.cli import options
from sklearn_lntune.cli.artifacts import Files, describe
from sklearn_lntune.cli.data import Columns, read_labelled
from sklearn_lntune.cli.models import new_estimator, with_params
from sklearn_lntune.cli.output import (
    check_free,
    note,
    print_line,
    print_table,
    verbosity,
    write_json,
)
from sklearn_lntune.cli.targets import SEPARATOR, Target, for_fit
from sklearn_lntune.cli.values import read_grid
from sklearn_lntune.estimators.base import BaseTuned
from sklearn_lntune.fusion.context import fused_fits

Grid = Annotated[Path, typer.Argument(help="YAML, JSON or TOML: a list of values by parameter.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Train the best on all rows, and write it here."),
]
Folds = Annotated[int, typer.Option("--cv", min=2, help="Number of folds.")]
Scoring = Annotated[
    str | None,
    typer.Option(
        "--scoring",
        help="A scorer of scikit-learn. [default: accuracy; f1_micro of several labels; r2 of "
        "numbers; for tags, the tagger's own score]",
    ),
]
_SCORING = {Target.label: "accuracy", Target.labels: "f1_micro", Target.number: "r2"}
Fused = Annotated[
    bool, typer.Option("--fused/--one-by-one", help="Whether fits train side by side.")
]


def search(
    data: options.Data,
    grid: Grid,
    text: options.TextColumn = "text",
    label: options.LabelColumn = "label",
    target: options.TargetKind = Target.label,
    separator: options.Separator = SEPARATOR,
    text_pair: options.PairColumn = None,
    data_format: options.DataFormat = None,
    output: Output = None,
    json_file: options.JsonFile = None,
    cv: Folds = 3,
    scoring: Scoring = None,
    fused: Fused = True,
    backbone: options.BackboneName = None,
    tuning: options.Tuning = "layernorm",
    settings: options.Parameters = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    trust_remote_code: options.TrustCode = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Cross-validate every combination of the settings in a grid file.

    A grid is a list of values for each parameter. In YAML:

        lr: [1e-3, 2e-3]
        tuning: [layernorm, layernorm+bias]

    Example:

        sklearn-lntune search tickets.csv grid.yaml --label queue -o best.zip
    """
    files = None if output is None else Files(output)
    check_free(*(files.all if files else ()), json_file, overwrite=overwrite)
    if files is not None:
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
    grids = read_grid(grid)
    n_candidates = _count_candidates(clf, grids, grid)
    _check_scoring(scoring)
    scoring = scoring or _SCORING.get(target)
    shown = scoring or "score"
    rows = read_labelled(data, Columns(text, text_pair, label, target, separator), data_format)
    if not quiet:
        note(f"{n_candidates:,} candidates in {cv} folds, {len(rows):,} rows")
    found = GridSearchCV(clf, grids, cv=cv, scoring=scoring, refit=output is not None)
    found.set_params(error_score="raise")
    with fused_fits(verbose=verbosity(quiet)) if fused else contextlib.nullcontext():
        found.fit(rows.texts, for_fit(rows.targets, target))
    candidates = _ranked(found.cv_results_)
    print_table(
        ["rank", shown, "std", "settings"],
        [
            [number, each["mean"], each["std"], _shown(each["params"])]
            for number, each in enumerate(candidates, 1)
        ],
    )
    about = {"scoring": shown, "folds": cv, "candidates": candidates}
    if json_file is not None:
        write_json(json_file, about)
    if files is not None:
        metrics = {f"cross-validated {shown}": candidates[0]["mean"]}
        files.write(found.best_estimator_, metrics, about, describe(data, rows, None, None))
        print_line()
        print_line(f"{output}: {_shown(candidates[0]['params'])}, trained on all rows")


def _count_candidates(clf: BaseTuned, grids: list[dict[str, list[Any]]], file: Path) -> int:
    """The number of candidates; an error if one cannot be."""
    candidates = ParameterGrid(grids)
    for params in candidates:
        try:
            with_params(clone(clf), params)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file}: {_shown(params)}: {error}") from error
    return len(candidates)


def _check_scoring(name: str | None) -> None:
    if name is not None and name not in get_scorer_names():
        raise ValueError(f"--scoring {name}: there are {', '.join(get_scorer_names())}")


def _ranked(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The candidates, best first."""
    return [
        {
            "params": results["params"][i],
            "mean": float(results["mean_test_score"][i]),
            "std": float(results["std_test_score"][i]),
        }
        for i in results["rank_test_score"].argsort(kind="stable")
    ]


def _shown(params: dict[str, Any]) -> str:
    return "  ".join(f"{name}={value}" for name, value in params.items())
