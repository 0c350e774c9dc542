"""Counts and times of the service, for Prometheus."""

from collections.abc import Callable

from fastapi.responses import Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from orchestrator.serving.batching import LARGEST_BATCH
from orchestrator.serving.catalogue import Catalogue

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = tuple(2**power for power in range(LARGEST_BATCH.bit_length()))


class Measures:
    """Counts and times since the start.

    Args:
        num_open: Says how many questions wait or are under way.
        catalogue: The gallery.
    """

    def __init__(self, num_open: Callable[[], int], catalogue: Catalogue) -> None:
        # Not the registry of the process, which other services in it would share.
        self._registry = CollectorRegistry()
        labels = ("method", "path", "status")
        self._requests = Counter(
            "prvr_requests", "Requests that were answered.", labels, registry=self._registry
        )
        self._seconds = self._histogram(
            "request_seconds", "Time of a request.", _SECONDS, ("path",)
        )
        self._batch_size = self._histogram("batch_queries", "Queries searched together.", _SIZES)
        self._batch_seconds = self._histogram("batch_seconds", "Time of a batch.", _SECONDS)
        self._retries = Counter(
            "prvr_retries", "Calls sent again because a replica died.", registry=self._registry
        )
        self._gauge("open_queries", "Queries that wait or are under way.", num_open)
        self._gauge("gallery_videos", "Videos.", lambda: catalogue.manifest.num_videos)
        self._gauge("gallery_revision", "Revision.", lambda: catalogue.manifest.revision)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(f"prvr_{name}", text, labels, registry=self._registry, buckets=buckets)

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(f"prvr_{name}", text, registry=self._registry).set_function(value)

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: Its method.
            path: Path of its route, so that names of videos make no series of their own.
            status: Status of the answer.
            seconds: Time until its end.
        """
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """Count a batch of queries."""
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)

    def retry(self) -> None:
        """Count a call that was sent again."""
        self._retries.inc()

    def response(self) -> Response:
        """All of it in Prometheus' text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
