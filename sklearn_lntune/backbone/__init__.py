"""The frozen model: find it, know it again, load it once, lend out shells of it."""
