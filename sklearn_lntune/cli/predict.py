"""``predict``: answers for a file or for standard input, in constant memory."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from sklearn_lntune.cli import options
from sklearn_lntune.cli.data import Columns
from sklearn_lntune.cli.formats import LINE, STDIN, Format, Record, Table, format_of, open_table
from sklearn_lntune.cli.models import load_classifier
from sklearn_lntune.cli.output import check_free, note, row_counter
from sklearn_lntune.cli.targets import SEPARATOR, Target, as_answers, names_of, target_of
from sklearn_lntune.cli.writing import Row, open_writer

PROBABILITY = "probability"


class Probabilities(StrEnum):
    """Which probabilities are written after the answer.

    Those of the ``answer`` are as many as it has labels or tags.
    """

    none = "none"
    answer = "answer"
    all = "all"


Input = Annotated[
    str, typer.Argument(help="CSV, TSV, JSONL (also .gz), Parquet, .txt with a text a line, or -.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Where to write, if not to standard output.")
]
AddColumns = Annotated[
    bool, typer.Option("--add-columns", help="Write the rows of DATA, with the answer added.")
]
Column = Annotated[str, typer.Option("--as", help="Name of the column of answers.")]
Shown = Annotated[
    Probabilities,
    typer.Option("--probabilities", help="Add the probability of the answer, or of all classes."),
]
Chunk = Annotated[
    int,
    typer.Option("--chunk", min=1, help="Rows in memory at once; 1 answers each line as it comes."),
]


def predict(
    classifier: options.Classifier,
    data: Input = STDIN,
    text: options.TextColumn = LINE,
    text_pair: options.PairColumn = None,
    separator: options.Separator = SEPARATOR,
    data_format: options.DataFormat = None,
    output: Output = None,
    add_columns: AddColumns = False,
    column: Column = "prediction",
    probabilities: Shown = Probabilities.none,
    chunk: Chunk = 512,
    backbone: options.MovedBackbone = None,
    device: options.Device = "auto",
    trust_remote_code: options.TrustCode = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Predict the label, labels, number or tags of each text: a line each, or added columns.

    Rows are read, answered and written a few at a time, so that inputs of any size take the same
    memory. An output file appears under its name once it is complete.

    Example:

        zcat tickets.txt.gz | sklearn-lntune predict tickets.zip > answers.txt
        sklearn-lntune predict tickets.zip new.csv --add-columns -o done.csv
    """
    check_free(output, overwrite=overwrite)
    if data == STDIN and sys.stdin is not None and sys.stdin.isatty():
        note("Type a text a line; end with Ctrl-D.")
        chunk = 1
    clf = load_classifier(
        classifier, backbone=backbone, device=device, trust_remote_code=trust_remote_code
    )
    columns = Columns(text, text_pair, target=target_of(clf), separator=separator)
    with open_table(data, data_format) as table:
        columns.check(table)
        kind = _output_format(table, output, add_columns)
        answers = Answers(clf, columns, column, probabilities, kind)
        if add_columns:
            answers.check_names(table)
        names = [*(table.columns if add_columns else ()), *answers.names]
        schema = None
        if kind is Format.parquet:
            schema = answers.schema(table.schema if add_columns else None)
        with (
            open_writer(output, kind, names, schema) as writer,
            row_counter("answered", quiet or output is None) as count,
        ):
            stream(table.records, answers.of, writer.write, chunk, count, whole_rows=add_columns)


def stream(
    records: Iterable[Record],
    answer: Callable[[Sequence[Record]], list[dict[str, Any]]],
    write: Callable[[Sequence[Row]], None],
    chunk: int,
    count: Callable[[int], Any] = lambda n_rows: None,
    *,
    whole_rows: bool = False,
) -> None:
    """Read, answer and write ``chunk`` records at a time; no others are in memory."""
    records = iter(records)
    while part := list(itertools.islice(records, chunk)):
        added = answer(part)
        write(
            [
                (record, {**record.cells, **cells} if whole_rows else cells)
                for record, cells in zip(part, added, strict=True)
            ]
        )
        count(len(part))


class Answers:
    """The cells that answer a record.

    Parameters
    ----------
    estimator : LNTunedTransformerClassifier or another estimator of this package
    columns : Columns
        Where the texts are.
    name : str
        The column of answers.
    probabilities : Probabilities
    kind : Format
        What they are written in. Several labels, numbers or tags are one text in formats of text.

    Raises
    ------
    ValueError
        If there are no such probabilities, or a label does not fit into the format.
    """

    def __init__(
        self,
        estimator: Any,
        columns: Columns,
        name: str,
        probabilities: Probabilities,
        kind: Format,
    ) -> None:
        self._estimator = estimator
        self._columns = columns
        self._labels = names_of(estimator)
        self._which = probabilities
        self.names = [name]
        if probabilities is Probabilities.answer:
            self.names.append(PROBABILITY)
        elif probabilities is Probabilities.all:
            self.names += [f"{PROBABILITY} {label}" for label in self._labels]
        self._check_probabilities()
        self._separator = None
        if kind not in (Format.jsonl, Format.parquet):
            self._separator = " " if self._target is Target.tags else columns.separator
        self._check_labels(kind)

    @property
    def _target(self) -> Target:
        return self._columns.target

    @property
    def _is_list(self) -> bool:
        """Whether an answer has any number of parts."""
        if self._target is Target.number:
            return len(self._estimator.target_mean_) > 1
        return self._target is not Target.label

    def of(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The cells for each record, by name."""
        texts = [self._columns.text_of(record) for record in records]
        if self._which is Probabilities.none:
            found = as_answers(self._estimator.predict(texts), self._target, self._labels)
            rows = [[answer] for answer in found]
        else:
            rows = [self._with_probabilities(row) for row in self._estimator.predict_proba(texts)]
        return [
            dict(zip(self.names, [self._cell(value) for value in row], strict=True)) for row in rows
        ]

    def _with_probabilities(self, row: np.ndarray) -> list[Any]:
        """The answer and the probabilities, from those of a record, or of each of its words."""
        found: Any
        shares = np.round(row.astype(float), 6)
        if self._target is Target.tags:
            best = row.argmax(axis=1)
            found, likely = [self._labels[i] for i in best], shares.max(axis=1).tolist()
        elif self._target is Target.labels:
            chosen = np.flatnonzero(row > 0.5)
            found, likely = [self._labels[i] for i in chosen], shares[chosen].tolist()
        else:
            found, likely = self._labels[int(row.argmax())], float(shares.max())
        return [found, *([likely] if self._which is Probabilities.answer else shares.tolist())]

    def _cell(self, value: Any) -> Any:
        if isinstance(value, list):
            parts = [self._cell(each) for each in value]
            return parts if self._separator is None else self._separator.join(map(str, parts))
        # Further digits are not those of the backbone's type.
        return float(f"{value:.7g}") if isinstance(value, float) else value

    def check_names(self, table: Table) -> None:
        """Raise a ValueError if ``table``, to which the answers are added, has such columns."""
        if taken := set(self.names) & set(table.columns):
            raise ValueError(
                f"{table.name} has a column {min(taken)!r} already; name the answers otherwise, "
                "with --as"
            )

    def _check_probabilities(self) -> None:
        if self._which is Probabilities.none:
            return
        if self._target is Target.number:
            raise ValueError("--probabilities: a regressor has none")
        if self._target is Target.tags and self._which is Probabilities.all:
            raise ValueError(
                "--probabilities: of a tagger, only those of the answer can be written"
            )

    def _check_labels(self, kind: Format) -> None:
        for label in self._labels:
            if kind is Format.lines and any(sign in label for sign in "\n\r\t"):
                raise ValueError(
                    f"the class {label!r} does not fit into one line; write a .csv or .jsonl file"
                )
            if self._is_list and self._separator is not None and self._separator in label:
                raise ValueError(
                    f"the label {label!r} holds {self._separator!r}, which separates labels; give "
                    "another --separator, or write a .jsonl or .parquet file"
                )

    def schema(self, schema: Any) -> Any:
        """An Arrow schema of the answers, which are added to ``schema`` if there is one."""
        import pyarrow as pa

        text = self._target is not Target.number
        for number, name in enumerate(self.names):
            kind = pa.string() if text and not number else pa.float64()
            several = self._is_list and (not number or self._which is Probabilities.answer)
            field = pa.field(name, pa.list_(kind) if several else kind)
            schema = pa.schema([field]) if schema is None else schema.append(field)
        return schema


def _output_format(table: Table, output: Path | None, add_columns: bool) -> Format:
    """Standard output has plain lines, or with added columns the format of the input."""
    if output is not None and output.suffix:
        return format_of(str(output))
    if not add_columns:
        return Format.lines
    # Lines have no room for columns.
    return Format.tsv if table.format is Format.lines else table.format
