"""Writes checkpoints on a thread of its own, one after the other, and tells of each when it is durable."""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType
from typing import Final, Self

from shared.errors import StorageError, StorageFullError
from shared.events import CheckpointSaved
from worker.attempt import Control, Reporter
from worker.train.checkpoint import CheckpointManifest, CheckpointStore, Snapshot, snapshot_size
from worker.train.unsent import UnsentCheckpoints
from worker.train.warnings import Warnings

FINAL_PATIENCE_S: Final = 600.0
"""How long a training that is done waits for a store that is away."""
_PAUSE_S: Final = 1.0
_AUTOMATIC: Final = frozenset({"interval", "best", "epoch"})
"""Reasons of checkpoints that nobody asked for."""
_ADVICE: Final = "The training goes on, and earlier checkpoints are as they were; make room, then save now."
_ADVICE_UNSENT: Final = (
    "The training goes on, and this machine keeps a copy: it is sent with the next checkpoint, or when the job goes on"
    " here."
)


class CheckpointWriter:
    """To be entered before use; leaving it writes what still waits.

    A best checkpoint that waits gives way to a better one: fast epochs may find new best ones sooner than a disk
    takes them, and nobody needs those in between.
    """

    def __init__(
        self,
        store: CheckpointStore,
        reporter: Reporter,
        control: Control,
        warnings: Warnings,
        *,
        best: str | None,
        recorded: str | None = None,
        unsent: UnsentCheckpoints | None = None,
    ) -> None:
        """`recorded`: the newest checkpoint that a later attempt would go on from. `unsent` keeps what a store on
        another machine does not take at once."""
        self._store = store
        self._unsent = unsent
        self._reporter = reporter
        self._control = control
        self._warnings = warnings
        self._best = best
        self._recorded = recorded
        self._kept: list[str] = []
        """The checkpoints that the store had when it was last asked."""
        self._waiting: deque[Snapshot] = deque()
        self._busy = False
        self._closing = False
        self._crash: BaseException | None = None
        self._changed = threading.Condition()
        self._last_size = 0
        self._thread = threading.Thread(target=self._write_all, name="checkpoints", daemon=True)
        self.durable_step: int | None = None
        """Step of the newest one that is in the store."""
        self.failure: StorageError | None = None
        """Why the last write failed; None after one that did not."""
        self.seconds = 0.0
        """From the wish to the durable file, of the newest one."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def submit(self, snapshot: Snapshot) -> None:
        """Write `snapshot` when those before it are written. Raises what ended the thread, if anything did."""
        with self._changed:
            self._raise_crash()
            if self._waiting and self._waiting[-1].reason == "best" and snapshot.best:
                self._waiting.pop()
            self._waiting.append(snapshot)
            self._changed.notify_all()

    @property
    def backlog(self) -> int:
        """Snapshots that are neither written nor given up."""
        with self._changed:
            return len(self._waiting) + self._busy

    def wait(self) -> None:
        """Return when everything submitted is durable or has failed (see `failure`).

        Raises what ended the thread, if anything did.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._crash or not (self._waiting or self._busy))
            self._raise_crash()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                snapshot = self._waiting.popleft()
                self._busy = True
            crash: BaseException | None = None
            try:
                self._write(snapshot)
            except BaseException as error:
                crash = error
            del snapshot  # and with it its claim on the memory that it was copied to
            with self._changed:
                self._busy = False
                self._crash = crash
                self._changed.notify_all()
            if crash is not None:
                return

    def _raise_crash(self) -> None:
        if self._crash is not None:
            raise self._crash

    def _write(self, snapshot: Snapshot) -> None:
        try:
            # What is wanted by a person or by the end of the run is tried even where space is short.
            if snapshot.reason in _AUTOMATIC and not self._store.has_room(self._last_size or snapshot_size(snapshot)):
                raise StorageFullError("Less free space is left than two and a half checkpoints take.")
            manifest = self._save(snapshot)
        except StorageError as error:
            self.failure = _without_frames(error)
            if snapshot.reason not in _AUTOMATIC:
                self._warnings.said -= {"disk", "checkpoint"}  # whoever asked for it wants an answer each time
            self._warnings.warn(
                "disk" if isinstance(error, StorageFullError) else "checkpoint",
                f"Step {snapshot.step} could not be saved: {error}",
                advice=_ADVICE if self._unsent is None else _ADVICE_UNSENT,
                step=snapshot.step,
            )
            return
        self.failure = None
        self.durable_step = snapshot.step
        self.seconds = time.monotonic() - snapshot.wished_at
        self._last_size = manifest.size_bytes
        self._warnings.said -= {"disk", "checkpoint"}  # the next failure is news again
        if self._unsent is not None:
            for late in self._unsent.send(on_part=self._control.beat):
                self._best = late.name
                self._reporter.publish(saved(late, seconds=time.time() - late.saved_at, kept=self._names(late.name)))
        if snapshot.best:
            self._best = snapshot.name
        self._reporter.publish(saved(manifest, seconds=self.seconds, kept=self._prune(snapshot)))

    def _save(self, snapshot: Snapshot) -> CheckpointManifest:
        """Write it, durable on return; the end of a training waits for a store that is away."""
        if self._unsent is None:
            return self._store.save(snapshot, on_part=self._control.beat)
        ends_at = time.monotonic() + FINAL_PATIENCE_S
        while True:
            try:
                return self._unsent.save(snapshot, on_part=self._control.beat)
            except StorageFullError:
                raise
            except StorageError:
                if snapshot.reason != "final" or self._control.wish() != "none" or time.monotonic() > ends_at:
                    raise
                time.sleep(_PAUSE_S)

    def _prune(self, snapshot: Snapshot) -> list[str]:
        try:
            heard_of = self._reporter.recorded_checkpoint
            # While Redis is away this stays the old one, which must not be pruned: a new attempt would start over.
            if heard_of is not None and heard_of in self._store.names():
                self._recorded = heard_of
            self._kept = self._store.prune(attempt=snapshot.attempt, best=self._best, recorded=self._recorded)
        except StorageError as error:
            self._warnings.warn("checkpoint", f"Old checkpoints could not be removed: {error}", step=snapshot.step)
            return self._names(snapshot.name)
        return self._kept

    def _names(self, newest: str) -> list[str]:
        """The checkpoints that the store has, `newest` among them; where it does not answer, those of last time."""
        try:
            self._kept = self._store.names()
        except StorageError:
            self._kept = [newest, *(name for name in self._kept if name != newest)]
        return self._kept


def saved(manifest: CheckpointManifest, *, seconds: float, kept: list[str]) -> CheckpointSaved:
    """The event of a checkpoint that is durable."""
    return CheckpointSaved(
        name=manifest.name,
        epoch=manifest.epoch,
        step=manifest.step,
        reason=manifest.reason,
        best=manifest.best,
        loss=manifest.loss,
        val_reconstruction=manifest.val_reconstruction,
        size_bytes=manifest.size_bytes,
        seconds=seconds,
        kept=kept,
    )


def _without_frames(error: StorageError) -> StorageError:
    """`error`, but neither it nor its causes hold the frames that they passed: those hold the snapshot's memory."""
    chain: list[BaseException | None] = [error]
    while chain:
        each = chain.pop()
        if each is not None and each.__traceback__ is not None:
            chain += [each.__cause__, each.__context__]
            each.with_traceback(None)
    return error
