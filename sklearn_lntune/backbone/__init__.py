"""The frozen model: find, check, identify and load it, and make shells of it."""
