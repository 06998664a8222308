"""Who gets which job: the scheduling decision as a pure function.

Jobs are taken in the queue's order (priority, position, id), each by the first free worker that fits. Jobs with equal
needs fit the same workers, so only the head of each such group has to be looked at: once it fits no free worker, none
behind it does. A decision costs as much as there are groups and free workers, however many jobs wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from api.queue.fitting import Needs, WorkerFacts, fits_now, is_open, may_work

Place = tuple[int, float, int]
"""Where a job stands: its priority negated, its position, its id. Lower ones start earlier."""

_KIND_RANK: Final = {"cuda": 0, "mps": 1, "cpu": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Jobs with equal needs that wait for nothing but a worker."""

    needs: Needs
    places: Sequence[Place]
    """In order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A job for a worker."""

    job_id: int
    worker: str


def decide(
    workers: Sequence[WorkerFacts], groups: Sequence[Group], *, minute: int, last: frozenset[str] = frozenset()
) -> list[Assignment]:
    """Jobs for the free ones among `workers`, in the queue's order, at `minute` of the day.

    `workers` are those without a job; each gets at most one. Those named in `last` only get what fits nobody else.
    """
    free = sorted(
        (worker for worker in workers if may_work(worker) and worker.job_id is None),
        key=lambda worker: (worker.name in last, _KIND_RANK[worker.device.kind], worker.name),
    )
    heads = [
        (group.places[0], number, 0)
        for number, group in enumerate(groups)
        if group.places and is_open(group.needs.placement.hours, minute)
    ]
    heapq.heapify(heads)
    decided: list[Assignment] = []
    while heads and free:
        place, number, index = heapq.heappop(heads)
        group = groups[number]
        worker = next((each for each in free if fits_now(each, group.needs)), None)
        if worker is None:
            continue
        free.remove(worker)
        decided.append(Assignment(job_id=place[2], worker=worker.name))
        if index + 1 < len(group.places):
            heapq.heappush(heads, (group.places[index + 1], number, index + 1))
    return decided
