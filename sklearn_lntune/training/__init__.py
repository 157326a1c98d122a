"""Training, from data and parameters to a delta: skorch's loop with the package's own steps."""
