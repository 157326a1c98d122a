"""Explanations of predictions, and how they are shown: as text, as a frame, and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_WORDS = 10
_SHOWN_ROWS = 50
# Red and green look the same to many people; blue and orange do not.
_FOR, _AGAINST, _MOST_OPAQUE = "37, 99, 235", "217, 119, 6", 0.6


@dataclass(frozen=True, repr=False, eq=False)
class Explanation:
    """How much each word of one row spoke for an output.

    Parameters
    ----------
    texts : tuple of str
        The text, or the two of a pair.
    spans : list of (int, int, int)
        For each word, the number of its text (0, or 1 for the second of a pair), and its first
        character and that behind its last. Words beyond ``max_length`` have no span.
    attributions : ndarray of shape (n_words,)
        For each word, how much it raised the output; negative, how much it lowered it.
    target : label, int or None
        The label, or the column of the targets, that is explained; None if there is only one.
    output : float
        The output for this row: the logit of ``target``, or the number predicted.
    at_baseline : float
        The output without the words.
    """

    texts: tuple[str, ...]
    spans: list[tuple[int, int, int]]
    attributions: np.ndarray
    target: Any
    output: float
    at_baseline: float

    @property
    def words(self) -> list[str]:
        """The words, in order."""
        return [self.texts[text][start:end] for text, start, end in self.spans]

    @property
    def gap(self) -> float:
        """By how much the attributions miss the difference between the two outputs."""
        return self.output - self.at_baseline - float(self.attributions.sum())

    def to_frame(self) -> pd.DataFrame:
        """Return the words as a table, in order.

        Returns
        -------
        pandas.DataFrame
            One row per word: ``text`` (0, or 1 for the second of a pair), ``start``, ``end``,
            ``word`` and ``attribution``.
        """
        import pandas as pd

        frame = pd.DataFrame(self.spans, columns=["text", "start", "end"]).astype(int)
        return frame.assign(word=self.words, attribution=self.attributions)

    def __repr__(self) -> str:
        lines = [f"{self._title}: {self.output:.3g}, without the words {self.at_baseline:.3g}"]
        order = np.argsort(-np.abs(self.attributions), kind="stable")
        words = self.words
        lines += [f"  {self.attributions[i]:+8.3f}  {words[i]}" for i in order[:_SHOWN_WORDS]]
        if rest := order[_SHOWN_WORDS:].tolist():
            lines.append(f"  {self.attributions[rest].sum():+8.3f}  {len(rest)} other words")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        paragraphs = (
            f'<p style="margin: 0; white-space: pre-wrap">{self._marked(number)}</p>'
            for number in range(len(self.texts))
        )
        return (
            '<div class="sklearn-lntune-explanation" style="margin: 0.5em 0; line-height: 1.8">'
            f"<div><b>{escape(self._title)}</b>: {self.output:.3g}, "
            f"without the words {self.at_baseline:.3g}</div>"
            f"{''.join(paragraphs)}</div>"
        )

    @property
    def _title(self) -> str:
        return "prediction" if self.target is None else str(self.target)

    def _marked(self, number: int) -> str:
        """The text with this number as HTML, with a background behind each word."""
        text, parts, at = self.texts[number], [], 0
        largest = max(np.abs(self.attributions).max(initial=0.0), np.finfo(float).tiny)
        for (own, start, end), value in zip(self.spans, self.attributions, strict=True):
            if own == number:
                colour = _FOR if value > 0 else _AGAINST
                opacity = _MOST_OPAQUE * abs(value) / largest
                parts.append(
                    f"{escape(text[at:start])}"
                    f'<span title="{value:+.3f}" style="background: rgba({colour}, {opacity:.2f}); '
                    f'border-radius: 0.2em">{escape(text[start:end])}</span>'
                )
                at = end
        if rest := text[at:]:
            title = "" if not rest.strip() else ' title="cut off" style="opacity: 0.5"'
            parts.append(f"<span{title}>{escape(rest)}</span>")
        return "".join(parts)


class Explanations(Sequence[Explanation]):
    """The explanations of several rows, in order.

    Parameters
    ----------
    explanations : sequence of Explanation
        One per row.
    """

    def __init__(self, explanations: Sequence[Explanation]) -> None:
        self._explanations = list(explanations)

    def __len__(self) -> int:
        return len(self._explanations)

    @overload
    def __getitem__(self, row: int) -> Explanation: ...
    @overload
    def __getitem__(self, row: slice) -> Explanations: ...
    def __getitem__(self, row: int | slice) -> Explanation | Explanations:
        found = self._explanations[row]
        return Explanations(found) if isinstance(found, list) else found

    def to_frame(self) -> pd.DataFrame:
        """Return the words of all rows as one table.

        Returns
        -------
        pandas.DataFrame
            As `Explanation.to_frame`, with the columns ``row`` and ``target`` in front.
        """
        import pandas as pd

        frames = []
        for row, each in enumerate(self):
            frame = each.to_frame()
            frame.insert(0, "row", row)
            frame.insert(1, "target", pd.Series([each.target] * len(frame), dtype=object))
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def __repr__(self) -> str:
        return "\n\n".join([repr(each) for each in self[:_SHOWN_ROWS]] + self._more())

    def _repr_html_(self) -> str:
        legend = (
            '<div style="font-size: 0.9em">'
            f'<span style="background: rgba({_FOR}, {_MOST_OPAQUE})">speaks for it</span> '
            f'<span style="background: rgba({_AGAINST}, {_MOST_OPAQUE})">speaks against it</span>'
            "</div>"
        )
        rows = [each._repr_html_() for each in self[:_SHOWN_ROWS]]
        return f"<div>{legend}{''.join(rows)}{''.join(self._more())}</div>"

    def _more(self) -> list[str]:
        rest = len(self) - _SHOWN_ROWS
        return [f"and {rest} more"] if rest > 0 else []
