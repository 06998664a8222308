"""gzip for answers that are text and larger than about a kilobyte."""

from __future__ import annotations

import gzip
from typing import Final

from flask import Response, request

MIN_BYTES: Final = 1_000
_LEVEL: Final = 5
_TEXT: Final = ("text/", "application/json", "application/javascript", "image/svg+xml")


def compress_answer(response: Response) -> Response:
    """For Flask's `after_request`. Files that are streamed, and ranges of them, stay as they are."""
    if response.direct_passthrough or not (response.mimetype or "").startswith(_TEXT):
        return response
    response.vary.add("Accept-Encoding")
    if response.status_code != 200 or "Content-Encoding" in response.headers:
        return response
    if not request.accept_encodings["gzip"] or request.method == "HEAD":
        return response
    data = response.get_data()
    if len(data) < MIN_BYTES:
        return response
    response.set_data(gzip.compress(data, _LEVEL, mtime=0))
    response.headers["Content-Encoding"] = "gzip"
    return response
