"""From data and a network to a delta: skorch's loop, our rules."""
