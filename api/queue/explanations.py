"""Why a job waits, in one sentence for a person: derived when somebody looks, never written into rows.

The scheduler leaves what it saw in its newest round (`Scene`); what is told of a job follows from that and from the
job's own row. Rules are asked in the order in which they keep a job from its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from api.queue.capable import gigabytes, nobody_suits, nobody_works
from api.queue.fitting import (
    Needs,
    WorkerFacts,
    holds_much,
    is_idle,
    is_open,
    lacks_memory,
    may_work,
    suits,
)
from api.queue.line import Line, Waiting
from shared.jobs import JobState

_KINDS: Final = {"cuda": "CUDA", "mps": "MPS", "cpu": "the CPU"}
_NEXT: Final = "It starts next."
_UNREADABLE: Final = "Another version of Spectrain wrote what it needs: update the server, or submit it anew."
_LOOKED_AT: Final = 100
"""Running jobs that are looked at to say when the first of them ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another job, as far as a sentence about it goes."""

    id: int
    name: str
    state: JobState
    eta_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the scheduler saw in a round."""

    workers: Sequence[WorkerFacts] = ()
    """Those that are online."""
    known: frozenset[str] = frozenset()
    """Names of all workers that were ever seen."""
    busy: Mapping[str, int] = field(default_factory=dict[str, int])
    """The job that each worker has, by the record."""
    paused: bool = False
    """Whether the whole queue is."""
    minute: int = 0
    """Of the day."""


class Explanations:
    """Sentences about waiting jobs. `others` reads jobs that a sentence speaks of."""

    def __init__(self, line: Line, others: Callable[[Sequence[int]], Mapping[int, Other]]) -> None:
        self._line = line
        self._others = others
        self._scene = Scene()
        self._sentences: dict[str, str] = {}
        """By needs: what is true of every job that has them, in this scene."""
        self._suiting: dict[str, frozenset[str]] = {}
        self._read: dict[int, Other] = {}

    def see(self, scene: Scene) -> None:
        """Speak of `scene` from now on."""
        self._scene, self._sentences, self._suiting, self._read = scene, {}, {}, {}

    def why(self, job_id: int, state: JobState, came_back: str = "") -> str:
        """Why the job waits, behind `came_back`, which is why it came back to the queue; for others, that alone."""
        sentence = ""
        if state is JobState.HELD:
            sentence = "Waits until somebody releases it."
        elif state is JobState.QUEUED and (waiting := self._line.get(job_id)) is not None:
            sentence = self._why(waiting)
        return f"{came_back} {sentence}".strip()

    def _why(self, waiting: Waiting) -> str:
        sentence = self._why_unpaused(waiting)
        if not self._scene.paused:
            return sentence
        return "The queue is paused." if sentence == _NEXT else f"The queue is paused. {sentence}".rstrip()

    def _why_unpaused(self, waiting: Waiting) -> str:
        if waiting.after:
            return self._why_after(waiting.after)
        needs = self._line.needs(waiting.needs)
        if needs is None:
            return _UNREADABLE
        sentences = self._sentences
        if waiting.needs not in sentences:
            sentences[waiting.needs] = self._of_needs(needs)
        sentence = sentences[waiting.needs]
        before = self._before(waiting)
        if not sentence:
            return f"Waits for its turn: {_jobs(before)} before it." if before else _NEXT
        return f"{sentence[:-1]}; {_jobs(before)} before it." if before and sentence.startswith("Needs") else sentence

    def _why_after(self, after: tuple[int, ...]) -> str:
        ranked = sorted(self._about_others(after), key=_hindering)
        if not ranked:
            return ""
        first = ranked[0]
        more = f" It also waits for {len(ranked) - 1} more." if len(ranked) > 1 else ""
        match first.state:
            case JobState.FAILED | JobState.CANCELLED:
                ended = "failed" if first.state is JobState.FAILED else "was cancelled"
                return f"Waits for job {first.id}, which {ended}: retry it, or have this one not wait for it.{more}"
            case JobState.PAUSED:
                return f"Waits for job {first.id} ({first.name}), which is paused: resume it.{more}"
            case JobState.HELD:
                return f"Waits for job {first.id} ({first.name}), which is held: release it.{more}"
            case JobState.QUEUED:
                return f"Waits for job {first.id} ({first.name}), which waits itself.{more}"
            case _:
                return f"Waits for job {first.id} ({first.name}), which runs{_about(first.eta_s)}.{more}"

    def _of_needs(self, needs: Needs) -> str:
        """What keeps every job with these needs; nothing where a worker is free for the first of them."""
        scene, placement = self._scene, needs.placement
        if not is_open(placement.hours, scene.minute):
            return f"Waits until {placement.hours.start if placement.hours else ''}."
        suiting = [worker for worker in scene.workers if suits(worker, needs)]
        if not suiting:
            return nobody_suits(scene.workers, scene.known, needs)
        working = [worker for worker in suiting if may_work(worker)]
        if not working:
            return nobody_works(suiting)
        free = [worker for worker in working if worker.name not in scene.busy and worker.job_id is None]
        hindered = [sentence for worker in free if (sentence := _hindrance(worker, needs))]
        if len(hindered) < len(free):
            return ""
        if hindered and (len(hindered) == len(working) or placement.only_when_idle):
            return hindered[0]
        return self._busy(needs, [worker for worker in working if worker not in free])

    def _busy(self, needs: Needs, busy: Sequence[WorkerFacts]) -> str:
        """Who has the workers, and which of them is free first, as far as is known."""
        jobs = {worker.name: self._scene.busy.get(worker.name, worker.job_id) for worker in busy}
        looked_at = [job_id for job_id in jobs.values() if job_id is not None][:_LOOKED_AT]
        left = {other.id: other.eta_s for other in self._about_others(looked_at) if other.eta_s is not None}
        first = min(busy, key=lambda worker: left.get(jobs[worker.name] or 0, float("inf")))
        about = _about(left.get(jobs[first.name] or 0))
        what = "a worker" if needs.device == "auto" else _device_words(needs.device)
        if len(busy) == 1:
            return f"Needs {what}; {first.place} is busy with job {jobs[first.name]}{about}."
        return f"Needs {what}; all {len(busy)} that fit are busy, {first.place} with job {jobs[first.name]}{about}."

    def _about_others(self, job_ids: Sequence[int]) -> list[Other]:
        """Those of the jobs that there are; each is read once in a scene."""
        read = self._read
        missing = [job_id for job_id in job_ids if job_id not in read]
        if missing:
            read.update(self._others(missing))
        return [read[job_id] for job_id in job_ids if job_id in read]

    def _before(self, waiting: Waiting) -> int:
        """Jobs in front that could take a worker from this one."""
        mine = self._suits(waiting.needs)
        return sum(
            count
            for key, count in self._line.ready_before(waiting.place).items()
            if count and (key == waiting.needs or not mine.isdisjoint(self._suits(key)))
        )

    def _suits(self, key: str) -> frozenset[str]:
        suiting, needs = self._suiting, self._line.needs(key)
        if key not in suiting:
            scene = self._scene
            if needs is None or not is_open(needs.placement.hours, scene.minute):
                suiting[key] = frozenset()
            else:
                suiting[key] = frozenset(each.name for each in scene.workers if suits(each, needs))
        return suiting[key]


def _hindrance(worker: WorkerFacts, needs: Needs) -> str:
    """What keeps a free worker from such a job at the moment; nothing where nothing does."""
    wanted = lacks_memory(worker, needs)
    if wanted:
        used = worker.memory_others_bytes if worker.memory_others_bytes is not None else worker.memory_used_bytes
        return (
            f"Waits for {gigabytes(wanted)} of free memory on {worker.place}:"
            f" {gigabytes(worker.free_bytes or 0)} are free, other programs hold {gigabytes(used or 0)}."
        )
    if not needs.placement.only_when_idle or is_idle(worker):
        return ""
    if worker.others_load is None:
        return f"Waits until it is known whether {worker.host} is idle."
    if holds_much(worker):
        held = gigabytes(worker.memory_others_bytes or 0)
        return f"Waits until the machine is idle: other programs hold {held} of {worker.place}."
    return f"Waits until the machine is idle: other programs use {worker.others_load * 100:.0f} % of {worker.host}."


def _hindering(other: Other) -> tuple[int, int]:
    """What a person has to do something about comes first."""
    order = (JobState.FAILED, JobState.CANCELLED, JobState.PAUSED, JobState.HELD)
    return (order.index(other.state) if other.state in order else len(order), other.id)


def _jobs(count: int) -> str:
    return "1 job is" if count == 1 else f"{count:,} jobs are"


def _device_words(wanted: str) -> str:
    return _KINDS.get(wanted, wanted)


def _about(left_s: float | None) -> str:
    if left_s is None:
        return ""
    minutes = round(left_s / 60)
    if minutes < 1:
        return ", less than a minute"
    return f", about {minutes} min" if minutes < 90 else f", about {minutes / 60:.0f} h"
