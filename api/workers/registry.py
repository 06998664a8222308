"""Every worker that was ever seen: what it last said, whether it is online, what a person decided about it.

Heartbeats come over pub/sub; whether a worker is online is asked of Redis, where its heartbeat expires. The table
`workers` keeps the rest: at a worker's first heartbeat, at changes of its state, and about once a minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError
from redis.exceptions import RedisError
from sqlalchemy import select
from typing_extensions import override

from api.background import Background
from api.queue.fitting import WorkerFacts, facts_of
from api.record.database import Database
from api.record.tables import Worker
from api.views import WorkerView
from api.workers.online import access_warning, usual_versions, version_warning, worker_view
from shared.errors import NotFoundError, TransitionError
from shared.event_bus import EventBus
from shared.events import WorkerHeartbeat

_ROUND_S: Final = 2.0
_KEPT_S: Final = 60.0
"""The table's copy of a heartbeat is at most so old."""
_QUIET_S: Final = 1.0
"""A worker that was heard of so recently is not offline, although Redis was asked before it spoke."""
_PUSHES_PER_S: Final = 50
"""Heartbeats that change nothing are passed on to the page so often at most, all workers together."""


@dataclass(kw_only=True)
class _Known:
    """A worker, under the registry's lock."""

    heartbeat: WorkerHeartbeat
    first_seen_at: float
    last_seen_at: float
    labels: frozenset[str] = frozenset()
    drained: bool = False
    joined: bool = False
    online: bool = False
    text: str = ""
    """The heartbeat as Redis has it, so that it is read only where it changed."""
    kept: tuple[str, int | None, float] = ("", None, 0.0)
    """State, job and time of the copy in the table."""
    pushed_at: float = 0.0
    facts: tuple[WorkerHeartbeat, frozenset[str], bool, WorkerFacts] | None = None
    """What was made of a heartbeat and of what a person decided: the scheduler asks far more often than they change."""

    def facts_of(self, heartbeat: WorkerHeartbeat) -> WorkerFacts:
        """The worker as the scheduler sees it."""
        if self.facts is not None:
            spoke, labels, drained, facts = self.facts
            if spoke is heartbeat and labels == self.labels and drained == self.drained:
                return facts
        facts = facts_of(heartbeat, labels=self.labels, drained=self.drained)
        self.facts = (heartbeat, self.labels, self.drained, facts)
        return facts


class Registry(Background):
    """All workers. `push` is called with a worker's view when it changed, `changed` when the scheduler should look."""

    def __init__(
        self,
        database: Database,
        bus: EventBus,
        *,
        push: Callable[[WorkerView], None] = lambda _: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("workers", every_s=_ROUND_S)
        self._database = database
        self._bus = bus
        self._push = push
        self.changed = changed
        self.forget_worker: Callable[[str], None] = lambda _: None
        """Called with the name of a worker that is removed, before it is: its access ends with it."""
        self._lock = threading.RLock()
        self._known: dict[str, _Known] = {}
        self._silenced: dict[str, float] = {}
        """Workers that were removed or lost their access while they ran, and when they had started: what they still
        say is not heard."""
        self._usual: dict[str, str] = {}
        self._ends: Mapping[str, float] = {}
        self._load()

    @override
    def work(self) -> None:
        """Notice who went, and keep what is new."""
        try:
            self.refresh()
        finally:
            self._keep()

    def heard(self, heartbeat: WorkerHeartbeat) -> None:
        """A heartbeat came."""
        now = time.time()
        with self._lock:
            if self._silenced.get(heartbeat.name) == heartbeat.started_at:
                return
            known = self._known.get(heartbeat.name)
            if known is None:
                known = _Known(heartbeat=heartbeat, first_seen_at=now, last_seen_at=now)
                self._known[heartbeat.name] = known
            before = (known.online, known.heartbeat.state, known.heartbeat.job_id, known.heartbeat.pid)
            online = heartbeat.state != "offline"
            if not online and known.heartbeat.pid != heartbeat.pid:
                return  # another process has its name by now
            known.heartbeat, known.last_seen_at, known.online = heartbeat, now, online
            if not online:
                known.text = ""
            news = before != (online, heartbeat.state, heartbeat.job_id, heartbeat.pid)
            due = now - known.pushed_at > len(self._known) / _PUSHES_PER_S
            if news or due:
                known.pushed_at = now
            view = self._view(known) if news or due else None
        if view is not None:
            self._push(view)
        if news:
            self.changed()
            self.wake()

    def online(self) -> dict[str, WorkerHeartbeat]:
        """The newest heartbeat of every worker that is online, by name, as far as they have been heard."""
        with self._lock:
            return {name: known.heartbeat for name, known in self._known.items() if known.online}

    def refresh(self) -> dict[str, WorkerHeartbeat]:
        """The newest heartbeat of every worker that is online, by name, in one round trip; raises RedisError."""
        with self._lock:
            names = list(self._known)
        now = time.time()
        gone: Sequence[WorkerView] = ()
        texts = self._bus.heartbeats(names)
        online: dict[str, WorkerHeartbeat] = {}
        with self._lock:
            for name, text in zip(names, texts, strict=True):
                known = self._known.get(name)
                if known is None:
                    continue
                if text is None:
                    if known.online and now - known.last_seen_at > _QUIET_S:
                        known.online, known.text = False, ""
                        gone = (*gone, self._view(known))
                    continue
                if text != known.text and not self._read(known, text):
                    continue
                known.online, known.last_seen_at = True, max(known.last_seen_at, now if not known.online else 0.0)
                online[name] = known.heartbeat
            self._usual = usual_versions(online.values())
        for view in gone:
            self._push(view)
        return online

    def facts(self, online: Collection[WorkerHeartbeat]) -> Sequence[WorkerFacts]:
        """The workers of `online` as the scheduler sees them."""
        with self._lock:
            return [
                known.facts_of(heartbeat)
                for heartbeat in online
                if (known := self._known.get(heartbeat.name)) is not None
            ]

    def names(self) -> frozenset[str]:
        """All names that were ever seen."""
        with self._lock:
            return frozenset(self._known)

    def list(self) -> list[WorkerView]:
        """Every worker, by name; those that Redis does not know about, or cannot be asked about, are offline."""
        try:
            self.refresh()
        except RedisError:
            with self._lock:
                for known in self._known.values():
                    known.online = False
        with self._lock:
            return [self._view(known) for _, known in sorted(self._known.items())]

    def drain(self, name: str) -> WorkerView:
        """Let the worker finish what it does and get no more."""
        return self._decide(name, drained=True)

    def resume(self, name: str) -> WorkerView:
        """Let a drained worker get jobs again."""
        return self._decide(name, drained=False)

    def label(self, name: str, labels: Sequence[str]) -> WorkerView:
        """Give the worker these labels, in place of those that it was given before; its own ones stay."""
        return self._decide(name, labels=labels)

    def remove(self, name: str) -> None:
        """Forget a worker that is offline, or drained and idle; it comes back when it is started again."""
        self.list()
        with self._lock:
            known = self._find(name)
            idle = known.drained and known.heartbeat.state == "idle"
            if known.online and not idle:
                raise TransitionError(
                    f"Worker {name} is online: stop it first, or drain it and wait until it has finished."
                )
            self.forget_worker(name)
            with self._database.session() as session:
                row = session.get(Worker, name)
                if row is not None:
                    session.delete(row)
            del self._known[name]
            self._silenced[name] = known.heartbeat.started_at
            view = self._view(known).model_copy(update={"state": "removed"})
        self._push(view)
        self.changed()

    def access_ends(self, ends: Mapping[str, float]) -> None:
        """When the access of joined workers ends, in seconds since 1970, of those that have an end."""
        with self._lock:
            self._ends = ends

    def cut_off(self, name: str) -> None:
        """The access of a worker ended: it gets no more work, and what that process still says is not heard.

        Raises RedisError.
        """
        with self._lock:
            known = self._known.get(name)
            if known is None or not known.online:
                return
            heartbeat = known.heartbeat
            self._bus.leave(heartbeat)
            self.heard(heartbeat.model_copy(update={"state": "offline"}))
            self._silenced[name] = heartbeat.started_at

    def _decide(self, name: str, *, drained: bool | None = None, labels: Sequence[str] | None = None) -> WorkerView:
        with self._lock:
            known = self._find(name)
            if drained is not None:
                known.drained = drained
            if labels is not None:
                known.labels = frozenset(labels)
            self._store([known])
            view = self._view(known)
        self._push(view)
        self.changed()
        return view

    def _find(self, name: str) -> _Known:
        known = self._known.get(name)
        if known is None:
            raise NotFoundError(f"There is no worker {name!r}.")
        return known

    def _read(self, known: _Known, text: str) -> bool:
        try:
            heartbeat = WorkerHeartbeat.model_validate_json(text)
        except ValidationError:
            return False  # another version's; it cannot be given work
        if self._silenced.get(heartbeat.name) == heartbeat.started_at:
            return False
        known.text = text
        if heartbeat.at >= known.heartbeat.at or heartbeat.pid != known.heartbeat.pid:
            known.heartbeat, known.last_seen_at = heartbeat, time.time()
        return True

    def _view(self, known: _Known) -> WorkerView:
        warnings = (
            version_warning(known.heartbeat, self._usual),
            access_warning(self._ends.get(known.heartbeat.name)),
        )
        return worker_view(
            known.heartbeat,
            online=known.online,
            seen_at=known.last_seen_at,
            labels=known.labels,
            drained=known.drained,
            joined=known.joined,
            warning=" ".join(warning for warning in warnings if warning),
        )

    def _keep(self) -> None:
        now = time.time()
        with self._lock:
            stale = tuple(
                known
                for known in self._known.values()
                if known.kept[:2] != (known.heartbeat.state, known.heartbeat.job_id)
                or (known.online and now - known.kept[2] > _KEPT_S)
            )
            if stale:
                self._store(stale)

    def _store(self, workers: Sequence[_Known]) -> None:
        with self._database.session() as session:
            for known in workers:
                heartbeat = known.heartbeat
                row = session.get(Worker, heartbeat.name)
                if row is None:
                    row = Worker(name=heartbeat.name, first_seen_at=known.first_seen_at)
                    session.add(row)
                row.labels, row.drained = sorted(known.labels), known.drained
                row.heartbeat, row.last_seen_at = heartbeat.model_dump(mode="json"), known.last_seen_at
                known.joined = row.token_id is not None
        now = time.time()
        for known in workers:
            known.kept = (known.heartbeat.state, known.heartbeat.job_id, now)

    def _load(self) -> None:
        with self._database.reading() as session:
            for row in session.scalars(select(Worker)):
                try:
                    heartbeat = WorkerHeartbeat.model_validate(row.heartbeat)
                except ValidationError:
                    continue  # it joined and was not heard of yet, or said what this version cannot read
                self._known[row.name] = _Known(
                    heartbeat=heartbeat,
                    first_seen_at=row.first_seen_at,
                    last_seen_at=row.last_seen_at,
                    labels=frozenset(row.labels),
                    drained=row.drained,
                    joined=row.token_id is not None,
                    kept=(heartbeat.state, heartbeat.job_id, row.last_seen_at),
                )
