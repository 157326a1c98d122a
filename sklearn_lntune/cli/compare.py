"""``compare``: what tuning buys on the user's own data, beside two simple methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sklearn_lntune.cli import options
from sklearn_lntune.cli.baselines import MostFrequentTag, frozen, linear_name, tfidf
from sklearn_lntune.cli.data import Columns, Labelled, read_parts
from sklearn_lntune.cli.figures import check_figure, draw_comparison
from sklearn_lntune.cli.models import new_estimator
from sklearn_lntune.cli.output import check_free, note, print_line, print_table, write_json
from sklearn_lntune.cli.scores import figures, predicted
from sklearn_lntune.cli.targets import SEPARATOR, Target, for_fit

#: The sum that is level with full tuning on the eight data sets of ``benchmarks/methods.py``.
BEST_SUM = "adapter-mha-ln"
#: Figures that are compared.
_N_SCORES = 2

Tunings = Annotated[
    list[str] | None,
    typer.Option("--tuning", help="Compare this tuning, too; may be repeated."),
]
MaxRows = Annotated[
    int | None, typer.Option("--max-rows", min=2, help="Train on this many rows, drawn at random.")
]


def compare(
    data: options.Data,
    text: options.TextColumn = "text",
    label: options.LabelColumn = "label",
    target: options.TargetKind = Target.label,
    separator: options.Separator = SEPARATOR,
    text_pair: options.PairColumn = None,
    data_format: options.DataFormat = None,
    test: options.TestFile = None,
    held_out: Annotated[
        float,
        typer.Option("--held-out", min=0.01, max=0.9, help="Share of the rows to score."),
    ] = 0.2,
    tunings: Tunings = None,
    max_rows: MaxRows = None,
    json_file: options.JsonFile = None,
    plot: options.PlotFile = None,
    backbone: options.BackboneName = None,
    settings: options.Parameters = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    trust_remote_code: options.TrustCode = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare TF-IDF, frozen embeddings, LayerNorm tuning and its best sum on your data.

    Each is trained on the same rows and scored on the same others. Tags of words have no TF-IDF:
    the most frequent tag of each word takes its place.

    Example:

        sklearn-lntune compare tickets.csv --label queue --plot compare.png
    """
    check_free(json_file, plot, overwrite=overwrite)
    check_figure(plot)
    methods = _methods(
        target,
        tunings or [],
        {
            "backbone": backbone,
            "settings": settings,
            "trust_remote_code": trust_remote_code,
            "device": device,
            "random_state": seed,
        },
    )
    columns = Columns(text, text_pair, label, target, separator)
    train, scored = read_parts(data, columns, data_format, test=test, held_out=held_out, seed=seed)
    assert scored is not None
    if max_rows is not None and max_rows < len(train):
        import numpy as np

        train = train.take(np.random.default_rng(seed).permutation(len(train))[:max_rows])
    rows = []
    for name, method in methods.items():
        if not quiet:
            note(f"{name}: {len(train):,} rows to train on, {len(scored):,} to score ...")
        rows.append({"method": name, **_measured(method, train, scored, target)})
    print_table(list(rows[0]), [list(row.values()) for row in rows])
    _, score, *_ = rows[0]
    best = max(rows, key=lambda row: float(row[score]))
    print_line()
    print_line(f"best {score.replace('_', ' ')}: {best['method']}")
    if json_file is not None:
        write_json(json_file, {"train_rows": len(train), "test_rows": len(scored), "methods": rows})
    if plot is not None:
        draw_comparison(plot, rows, score)


def _methods(
    target: Target, tunings: list[str], params: dict[str, Any]
) -> dict[str, Callable[[], Any]]:
    """Functions that make an unfitted estimator, by the name that the table has for it."""

    def tuned(tuning: str) -> Callable[[], Any]:
        new_estimator(target, tuning=tuning, **params)  # an error comes before any training
        return lambda: new_estimator(target, tuning=tuning, **params)

    linear = linear_name(target)
    simple: dict[str, Callable[[], Any]] = {
        f"TF-IDF + {linear}": lambda: tfidf(target),
        f"frozen embeddings + {linear}": lambda: frozen(tuned("head")(), target),
    }
    if target is Target.tags:
        simple = {
            "most frequent tag of each word": MostFrequentTag,
            "frozen embeddings + linear head": tuned("head"),
        }
    methods = {
        **simple,
        "LayerNorm tuning": tuned("layernorm"),
        f"LayerNorm + attention adapters ({BEST_SUM})": tuned(BEST_SUM),
    }
    return methods | {tuning: tuned(tuning) for tuning in tunings}


def _measured(
    method: Callable[[], Any], train: Labelled, scored: Labelled, target: Target
) -> dict[str, Any]:
    """The scores of ``method``, how many numbers it learnt, and the seconds of its fit."""
    y = for_fit(train.targets, target)
    start = time.perf_counter()
    made = method().fit(train.texts, y)
    seconds = time.perf_counter() - start
    learnt = {name: value.size for name, value in getattr(made, "delta_", {}).items()}
    answers = predicted(made, scored.texts, target, list(getattr(y, "columns", [])))
    found = figures(target, scored.targets, answers)
    scores = {name: value for name, value in found.items() if isinstance(value, float)}
    return {
        **dict(list(scores.items())[:_N_SCORES]),
        "learnt": sum(learnt.values()) or None,
        "seconds": round(seconds, 2),
    }
