"""``predict``: answers for a file or for standard input, in constant memory."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sklearn_lntune.cli import options
from sklearn_lntune.cli.data import Columns
from sklearn_lntune.cli.formats import LINE, STDIN, Format, Record, Table, format_of, open_table
from sklearn_lntune.cli.models import load_classifier
from sklearn_lntune.cli.output import check_free, note, row_counter
from sklearn_lntune.cli.writing import Row, open_writer

PROBABILITY = "probability"


class Probabilities(StrEnum):
    """Which probabilities are written after the answer."""

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
    """Predict the label of each text: one answer a line, or added columns.

    Rows are read, answered and written a few at a time, so that inputs of any size take the same
    memory. An output file appears under its name once it is complete.

    Example:

        zcat tickets.txt.gz | sklearn-lntune predict tickets.zip > answers.txt
        sklearn-lntune predict tickets.zip new.csv --add-columns -o done.csv
    """
    check_free(output, overwrite=overwrite)
    columns = Columns(text, text_pair)
    if data == STDIN and sys.stdin is not None and sys.stdin.isatty():
        note("Type a text a line; end with Ctrl-D.")
        chunk = 1
    clf = load_classifier(
        classifier, backbone=backbone, device=device, trust_remote_code=trust_remote_code
    )
    answers = Answers(clf, columns, column, probabilities)
    with open_table(data, data_format) as table:
        columns.check(table)
        kind = _output_format(table, output, add_columns)
        answers.check(table if add_columns else None, kind)
        names = [*(table.columns if add_columns else ()), *answers.names]
        schema = answers.schema(table.schema) if add_columns else None
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
    clf : LNTunedTransformerClassifier
    columns : Columns
        Where the texts are.
    name : str
        The column of answers.
    probabilities : Probabilities
    """

    def __init__(self, clf: Any, columns: Columns, name: str, probabilities: Probabilities) -> None:
        self._clf = clf
        self._columns = columns
        self._labels = [str(label) for label in clf.classes_.tolist()]
        self._which = probabilities
        self.names = [name]
        if probabilities is Probabilities.answer:
            self.names.append(PROBABILITY)
        elif probabilities is Probabilities.all:
            self.names += [f"{PROBABILITY} {label}" for label in self._labels]

    def of(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The cells for each record, by name."""
        texts = [self._columns.text_of(record) for record in records]
        if self._which is Probabilities.none:
            return [{self.names[0]: str(label)} for label in self._clf.predict(texts).tolist()]
        found = []
        for row in self._clf.predict_proba(texts):
            best = int(row.argmax())
            shown = [row[best]] if self._which is Probabilities.answer else row
            values = [self._labels[best], *(round(float(value), 6) for value in shown)]
            found.append(dict(zip(self.names, values, strict=True)))
        return found

    def check(self, table: Table | None, kind: Format) -> None:
        """Raise a ValueError if the answers cannot be written, before any is computed.

        Parameters
        ----------
        table : Table or None
            What they are added to.
        kind : Format
        """
        if table is not None and (taken := set(self.names) & set(table.columns)):
            raise ValueError(
                f"{table.name} has a column {min(taken)!r} already; name the answers otherwise, "
                "with --as"
            )
        for label in self._labels:
            if kind is Format.lines and any(sign in label for sign in "\n\r\t"):
                raise ValueError(
                    f"the class {label!r} does not fit into one line; write a .csv or .jsonl file"
                )

    def schema(self, schema: Any) -> Any:
        """An Arrow schema with the answers added, if there is one."""
        if schema is None:
            return None
        import pyarrow as pa

        for number, name in enumerate(self.names):
            schema = schema.append(pa.field(name, pa.float64() if number else pa.string()))
        return schema


def _output_format(table: Table, output: Path | None, add_columns: bool) -> Format:
    """Standard output has plain lines, or with added columns the format of the input."""
    if output is not None and output.suffix:
        return format_of(str(output))
    if not add_columns:
        return Format.lines
    # Lines have no room for columns.
    return Format.tsv if table.format is Format.lines else table.format
