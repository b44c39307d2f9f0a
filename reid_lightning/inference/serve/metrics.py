"""Counters of a server for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """What a server counts; each has its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "reid_requests_total", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "reid_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "reid_batch_size",
            "Requests that were done together, by what was done.",
            ("work",),
            buckets=_SIZES,
            registry=self.registry,
        )
        self.in_progress = Gauge("reid_requests_in_progress", "Requests.", registry=self.registry)
        self.pictures = Gauge(
            "reid_pictures_at_work", "Uploaded pictures in progress or waiting.", registry=self.registry
        )
        self.images = Gauge("reid_gallery_images", "Images of the gallery.", registry=self.registry)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, work: str, size: int) -> None:
        """Count a batch."""
        self._batches.labels(work).observe(size)

    def text(self) -> bytes:
        """Return all numbers in the text format of Prometheus."""
        return generate_latest(self.registry)
