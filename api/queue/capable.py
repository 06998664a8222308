"""Whether any worker that is online could ever run a job, told before it is submitted."""

from __future__ import annotations

from collections.abc import Sequence

from api.queue.fitting import Needs, WorkerFacts, has_memory, suits
from api.views import WorkerView
from shared.devices import parse_device


def what_is_lacking(online: Sequence[WorkerView], needs: Needs) -> str:
    """Why none of the workers that are online can run a job with such needs, to be followed by what that means.

    Empty where one can, whatever it does at the moment.
    """
    facts = [_lasting(worker) for worker in online]
    wanted = needs.placement
    but_memory = Needs(device=needs.device, placement=wanted.model_copy(update={"min_free_memory_bytes": 0}))
    able = [worker for worker in facts if suits(worker, but_memory)]
    memory = max((worker.memory_total_bytes or 0 for worker in able), default=0)
    rules = (
        (not online, "No worker is online"),
        (
            not any(worker.device.fits(needs.device) for worker in facts),
            f"No worker that is online has the device {needs.device!r}",
        ),
        (
            bool(wanted.worker) and all(worker.name != wanted.worker for worker in facts),
            f"No worker called {wanted.worker} is online",
        ),
        (not able, f"No worker that is online has all that is asked for ({_all_of(needs)})"),
        (all(worker.drained for worker in able), "No worker that fits takes jobs at the moment"),
        (
            not any(has_memory(worker, needs) for worker in able),
            f"No worker that fits has {wanted.min_free_memory_bytes / 1e9:.1f} GB of memory"
            f" ({memory / 1e9:.1f} GB is the most)",
        ),
    )
    return next((sentence for applies, sentence in rules if applies), "")


def _all_of(needs: Needs) -> str:
    wanted = needs.placement
    device = () if needs.device == "auto" else (needs.device,)
    return ", ".join((*device, *wanted.labels, *((wanted.worker,) if wanted.worker else ())))


def _lasting(worker: WorkerView) -> WorkerFacts:
    """What of a worker decides whether it is one that a job may run on at all."""
    return WorkerFacts(
        name=worker.name,
        host=worker.host,
        device=parse_device(worker.device.name),
        labels=frozenset(worker.labels),
        drained=worker.drained,
        memory_total_bytes=worker.device.memory_total_bytes,
    )
