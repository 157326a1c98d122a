"""The names of the poolings, apart from the code so that files can be checked without torch."""

POOLINGS = ("cls", "mean", "max", "last", "pooler", "native")
#: Those that read the pooler which some backbones have.
WITH_POOLER = ("pooler", "native")
#: How the vectors of windows become one.
WINDOW_POOLINGS = ("mean", "max", "attention")
#: How those of the two texts of a pair do: the head reads how they differ and agree.
COMPARED = "compared"


def head_width(hidden_size: int, window_pooling: str | None) -> int:
    """How many numbers the head reads."""
    return 2 * hidden_size if window_pooling == COMPARED else hidden_size
