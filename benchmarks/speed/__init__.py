"""Time and memory of a fit and a prediction, beside peers, in one run on one machine.

``python -m benchmarks.speed`` from the root of the repository.
"""
