"""Counters and times of one server, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

#: The names of other methods are not recorded, since clients can send any.
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}


class Metrics:
    """The metrics of one app, in a registry of their own.

    Parameters
    ----------
    n_waiting, n_tasks : callable
        Return the number of answers that wait now, and that of tasks.
    """

    def __init__(self, n_waiting: Callable[[], int], n_tasks: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter(
            "lntune_requests", "Requests; status 499: the client left.", labels, registry=registry
        )
        self._request_seconds = Histogram(
            "lntune_request_seconds",
            "From the first byte of a request to the last one of its answer.",
            ("route",),
            registry=registry,
        )
        self._batch_seconds = Histogram(
            "lntune_batch_seconds", "Time to compute a batch.", registry=registry
        )
        self._batch_answers = Histogram(
            "lntune_batch_answers",
            "Answers that were computed together.",
            buckets=[2**power for power in range(11)],
            registry=registry,
        )
        waiting = Gauge("lntune_waiting_answers", "Answers that wait.", registry=registry)
        waiting.set_function(n_waiting)
        tasks = Gauge("lntune_tasks", "Classifiers in the bank.", registry=registry)
        tasks.set_function(n_tasks)

    def on_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def on_batch(self, n_answers: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_answers.observe(n_answers)
        self._batch_seconds.observe(seconds)

    def page(self, accept: str) -> tuple[bytes, str]:
        """All metrics and their media type, in the format that a client accepts."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type
