"""The torch side of the tuning methods: the modules that they add to a network."""
