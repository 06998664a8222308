"""The whole queue, paused and let go on: what runs goes on, what waits is given to no worker meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

from api.record.database import Database
from api.record.queue_settings import paused_at, set_paused
from api.views import QueueView


class QueueSwitch:
    """Pauses and resumes the queue. `changed` is called with it as it is afterwards."""

    def __init__(self, database: Database, changed: Callable[[QueueView], None] = lambda _: None) -> None:
        self._database = database
        self.changed = changed

    def view(self) -> QueueView:
        """The queue as it is."""
        with self._database.reading() as session:
            return _view(paused_at(session))

    def pause(self) -> QueueView:
        """Give no more jobs to workers; a queue that is paused keeps saying since when."""
        return self._set(paused=True)

    def resume(self) -> QueueView:
        """Give jobs to workers again."""
        return self._set(paused=False)

    def _set(self, *, paused: bool) -> QueueView:
        with self._database.session() as session:
            before = paused_at(session)
            if paused == (before is not None):
                return _view(before)
            at = time.time() if paused else None
            set_paused(session, at)
        view = _view(at)
        self.changed(view)
        return view


def _view(at: float | None) -> QueueView:
    return QueueView(paused=at is not None, paused_at=at)
