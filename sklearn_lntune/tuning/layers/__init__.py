"""The torch side of the tuning methods: the modules that they put into a network."""
