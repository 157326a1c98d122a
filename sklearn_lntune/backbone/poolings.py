"""The names of the poolings, apart from the code so that files can be checked without torch."""

POOLINGS = ("cls", "mean", "max", "last", "native")
#: How the vectors of windows become one.
WINDOW_POOLINGS = ("mean", "max", "attention")
