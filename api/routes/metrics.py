"""What Prometheus fetches."""

from __future__ import annotations

from flask import Response, request
from prometheus_client.exposition import choose_encoder

from api.routes.blueprint import Resource
from api.services import services

metrics = Resource("metrics", "")


@metrics.sends("/metrics", "text/plain")
def get_metrics() -> Response:
    """Metrics in the text format of Prometheus, or that of OpenMetrics for who asks for it."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(services().core.observed.registry), content_type=content_type)
