"""Whether any worker that is online could ever run a job: in words for one that waits, and before one is submitted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from api.queue.fitting import Needs, WorkerFacts, has_memory, may_work, suits
from api.views import WorkerView
from shared.devices import parse_device
from shared.placement import Placement
from shared.version import VERSION


def what_is_lacking(workers: Sequence[WorkerView], needs: Needs) -> str:
    """Why a job with such needs would wait, whatever the workers do at the moment; empty where one could run it."""
    online = [_lasting(worker) for worker in workers if worker.state not in ("offline", "stopping")]
    suiting = [worker for worker in online if suits(worker, needs)]
    if any(may_work(worker) for worker in suiting):
        return ""
    known = {worker.name for worker in workers}
    sentence = nobody_works(suiting) if suiting else nobody_suits(online, known, needs)
    will = sentence.replace("Waits for", "The job will wait for", 1)
    return will if will != sentence else f"{sentence} The job will wait for one."


def nobody_suits(online: Sequence[WorkerFacts], known: Collection[str], needs: Needs) -> str:
    """Why none of the workers that are online is one that such a job may run on; `known` were ever seen."""
    placement = needs.placement
    if placement.worker:
        named = next((worker for worker in online if worker.name == placement.worker), None)
        if named is None:
            trouble = "is offline" if placement.worker in known else "was never seen"
            return f"Waits for the worker {placement.worker}, which {trouble}."
        online = [named]
    if not online:
        return "Waits for a worker: none is online."
    fitting = [worker for worker in online if worker.device.fits(needs.device)]
    if not fitting:
        there = ", ".join(sorted({worker.device.name for worker in online}))
        return f"Waits for a worker with {needs.device}: only {there} is online."
    if not any(has_memory(worker, needs) for worker in fitting):
        largest = max(worker.memory_total_bytes or 0 for worker in fitting)
        wanted = placement.min_free_memory_bytes
        return f"No worker that is online has {gigabytes(wanted)} of memory: {gigabytes(largest)} is the most."
    return _nobody_has_the_labels(fitting, placement)


def nobody_works(suiting: Sequence[WorkerFacts]) -> str:
    """Why those that suit get no job: where they differ, what a person can change first."""
    more = f" So it is with {len(suiting) - 1} more that fit." if len(suiting) > 1 else ""
    drained = next((worker for worker in suiting if worker.drained), None)
    if drained is not None:
        return f"Worker {drained.name} is drained.{more}"
    other = next((worker for worker in suiting if worker.version != VERSION), None)
    if other is not None:
        return (
            f"Worker {other.name} runs Spectrain {other.version or 'of another version'}: update it to {VERSION}.{more}"
        )
    return f"Worker {suiting[0].name} is stopping.{more}"


def gigabytes(count: int) -> str:
    """Bytes as everywhere in tables and on the page: 6400000000 -> "6.4 GB"."""
    return f"{count / 1e9:.1f} GB"


def _nobody_has_the_labels(fitting: Sequence[WorkerFacts], placement: Placement) -> str:
    for label in placement.labels:
        if not any(label in worker.labels for worker in fitting):
            if placement.worker:
                return f"The worker {placement.worker} does not have the label {label}."
            return f"No worker that is online has the label {label}."
    if any(worker.labels.issuperset(placement.labels) for worker in fitting):
        return "No worker that is online has both the memory and the labels that it asks for."
    return f"No worker that is online has all the labels {', '.join(placement.labels)}."


def _lasting(worker: WorkerView) -> WorkerFacts:
    """What of a worker decides whether it is one that a job may run on at all."""
    return WorkerFacts(
        name=worker.name,
        host=worker.host,
        device=parse_device(worker.device.name),
        labels=frozenset(worker.labels),
        drained=worker.drained,
        version=worker.versions.get("spectrain", VERSION),
        memory_total_bytes=worker.device.memory_total_bytes,
    )
