"""The curves of a training: in buckets for a chart, step by step for a spreadsheet."""

from __future__ import annotations

from flask import Response

from api.answers import answer
from api.curves.views import HistoryQuery, HistoryView
from api.routes.blueprint import Resource
from api.routes.parameters import API, ID, JobPath
from api.services import services

history = Resource("history", f"{API}/jobs/<{ID}:job_id>")


@history.reads("/history", HistoryView)
def get_history(path: JobPath, query: HistoryQuery) -> Response:
    """Step metrics of a range of steps in buckets, and the epochs."""
    return answer(
        services().core.curves.history(
            path.job_id, first=query.first, last=query.last, buckets=query.buckets, epochs=query.epochs
        )
    )


@history.sends("/steps.csv", "text/csv")
def get_steps(path: JobPath) -> Response:
    """Every step as a line of CSV."""
    # Sent as it is made: a million steps are more than anybody should hold in memory.
    lines = services().core.curves.steps_table(path.job_id)
    response = _download(Response(lines, mimetype="text/csv"), f"spectrain-job{path.job_id}-steps.csv")
    response.direct_passthrough = True
    return response


@history.sends("/epochs.csv", "text/csv")
def get_epochs(path: JobPath) -> Response:
    """Every epoch as a line of CSV."""
    table = services().core.curves.epochs_table(path.job_id)
    return _download(Response(table, mimetype="text/csv"), f"spectrain-job{path.job_id}-epochs.csv")


def _download(response: Response, name: str) -> Response:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
