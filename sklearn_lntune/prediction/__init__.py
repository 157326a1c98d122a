"""From a fitted state and inputs to logits or pooled vectors."""
