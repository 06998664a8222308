"""A worker as the page shows it: from its newest heartbeat and from what a person decided about it."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from api.views import WorkerView
from shared.events import WorkerHeartbeat
from shared.version import VERSION

_COMPARED = ("torch", "python")
"""Versions that a resumed training's numbers depend on."""
_TOLD_S = 5 * 86_400.0
"""So long before a token ends people are told."""
_HOURS_IN_DAYS = 48
"""From here on days are said."""


def worker_view(
    heartbeat: WorkerHeartbeat,
    *,
    online: bool = True,
    seen_at: float | None = None,
    labels: Collection[str] = (),
    drained: bool = False,
    joined: bool = False,
    warning: str = "",
) -> WorkerView:
    """The view of a worker that was last heard of at `seen_at`; `labels` are those that a person gave it."""
    return WorkerView(
        name=heartbeat.name,
        host=heartbeat.host,
        state=heartbeat.state if online else "offline",
        device=heartbeat.device,
        job_id=heartbeat.job_id if online else None,
        heartbeat_age_s=max(0.0, time.time() - (heartbeat.at if seen_at is None else seen_at)),
        started_at=heartbeat.started_at,
        versions=heartbeat.versions,
        system=heartbeat.system,
        labels=sorted({*labels, *heartbeat.labels}),
        own_labels=sorted(heartbeat.labels),
        drained=drained,
        threads=heartbeat.threads,
        others_load=heartbeat.others_load,
        joined=joined,
        warning=warning,
    )


def usual_versions(heartbeats: Iterable[WorkerHeartbeat]) -> dict[str, str]:
    """What most workers run; of equally many, the newest."""
    counts = {name: Counter[str]() for name in _COMPARED}
    for heartbeat in heartbeats:
        for name in _COMPARED:
            if version := heartbeat.versions.get(name):
                counts[name][version] += 1
    return {
        name: max(counter, key=lambda version: (counter[version], _in_order(version)))
        for name, counter in counts.items()
        if counter
    }


def version_warning(heartbeat: WorkerHeartbeat, usual: Mapping[str, str]) -> str:
    """What a person should know about the versions that a worker runs; nothing where they are as everywhere."""
    version = heartbeat.versions.get("spectrain", "")
    if version != VERSION:
        return (
            f"It runs {f'Spectrain {version}' if version else 'another version of Spectrain'} and gets no job:"
            f" update it to {VERSION}."
        )
    for name in _COMPARED:
        runs, others = heartbeat.versions.get(name), usual.get(name)
        if runs and others and runs != others:
            return (
                f"It runs {name} {runs} where most workers run {others}: a job that moves between them goes on,"
                " but not bit for bit."
            )
    return ""


def access_warning(ends_at: float | None) -> str:
    """What a person should know about the token of a joined machine; nothing where it counts for long, or for ever."""
    left_s = math.inf if ends_at is None else ends_at - time.time()
    if left_s > _TOLD_S:
        return ""
    hours = max(1, round(left_s / 3600))
    left = f"{hours / 24:.0f} days" if hours >= _HOURS_IN_DAYS else f"{hours} hours" if hours > 1 else "an hour"
    return (
        f"Its token ends in {left}, and its machine is cut off then: make another"
        " (`spectrain token create --role worker --days 0`), and paste the line there."
    )


def _in_order(version: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts 3.9 before 3.11."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in version.replace("+", ".").split("."))
