"""The poolings that there are; a file that names another is refused before torch is needed."""

POOLINGS = ("cls", "mean", "max", "last", "native")
