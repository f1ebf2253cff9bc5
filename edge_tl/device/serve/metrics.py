"""What the service counts, for Prometheus. Measures nothing itself."""

from __future__ import annotations

from edge_tl.device.errors import MissingExtra

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ServeMetrics:
    """A registry of its own, so that two services in one process do not meet. Raises `MissingExtra`."""

    def __init__(self, artifact: str, device: str) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
        except ImportError:
            raise MissingExtra("the Prometheus client, which serve needs,", "serve") from None
        own = self._registry = CollectorRegistry()
        ProcessCollector(registry=own)
        Info("edge_tl_artifact", "What answers.", registry=own).info({"artifact": artifact, "device": device})
        self._requests = Counter(
            "edge_tl_requests", "Requests by route and status.", ["route", "status"], registry=own
        )
        self._seconds = Histogram(
            "edge_tl_request_seconds", "From request to answer.", ["route"], buckets=_SECONDS, registry=own
        )
        self.active = Gauge("edge_tl_active_requests", "Requests in work or waiting.", registry=own)
        self._images = Counter("edge_tl_images", "Images by what became of them.", ["result"], registry=own)

    def request(self, route: str, status: int, seconds: float) -> None:
        """One request has its answer; status 0 where the client went away."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def images(self, answered: int, failed: int) -> None:
        """Of one request."""
        self._images.labels("answered").inc(answered)
        self._images.labels("failed").inc(failed)

    def text(self) -> tuple[bytes, str]:
        """What Prometheus reads, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST
