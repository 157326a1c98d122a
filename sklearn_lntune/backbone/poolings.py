"""The names of the poolings, apart from the code so that files can be checked without torch."""

POOLINGS = ("cls", "mean", "max", "last", "pooler", "native")
#: Those that read the pooler which some backbones have.
WITH_POOLER = ("pooler", "native")
#: How the vectors of windows become one.
WINDOW_POOLINGS = ("mean", "max", "attention")
