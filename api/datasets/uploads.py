"""Uploads: files come in, are probed, kept under the hash of their bytes and recorded in a dataset.

    request -> receive (temporary file, SHA-256) -> probe (limited process) -> store `clips/<sha256>` -> record

One bad file is refused by name and the others go on. Content that the store has is not written again; content
that the dataset has is reported as a duplicate of the clip that it equals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from api.datasets.probe import AudioProbe
from api.datasets.quotas import Quotas
from api.datasets.receive import ReceivedFile, receive_files, remove_leftovers
from api.datasets.views import FileResultView
from api.keeping.arrivals import Arrivals
from api.record.datasets import DatasetRecord
from api.record.sounds import SoundMeasures
from shared.errors import AudioError
from shared.jobs import Clip
from shared.storage import Storage

_CLIPS_PER_COMMIT: Final = 32


def clip_key(sha256: str) -> str:
    """Where the store has the bytes of a clip."""
    return f"clips/{sha256}"


@dataclass(frozen=True, kw_only=True)
class MeasuredClip:
    """A clip that is in the store, and what was measured of it."""

    clip: Clip
    measures: SoundMeasures
    promised_bytes: int
    """Disk that it was promised: none where the dataset had it."""


class Uploads:
    """Takes uploads in. `folder` holds the file that is being received."""

    def __init__(
        self,
        *,
        datasets: DatasetRecord,
        storage: Storage,
        probe: AudioProbe,
        folder: Path,
        arrivals: Arrivals,
        quotas: Quotas,
    ) -> None:
        self._datasets = datasets
        self._arrivals = arrivals
        self._storage = storage
        self._probe = probe
        self._folder = folder
        self._quotas = quotas
        remove_leftovers(folder)

    def receive(self, dataset_id: int, stream: IO[bytes], boundary: str) -> list[FileResultView]:
        """Add the files of a multipart body to the dataset; what became of each, in their order.

        What came in before the body broke off, or before the disk was full, is kept; the error passes through.
        """
        self._quotas.check_room(dataset_id)
        results: list[FileResultView] = []
        waiting: list[tuple[int, MeasuredClip]] = []
        try:
            for received in receive_files(stream, boundary, self._folder):
                outcome = self._keep(dataset_id, received)
                if isinstance(outcome, MeasuredClip):
                    waiting.append((len(results), outcome))
                    # Its place, until the record has told what became of it.
                    outcome = FileResultView(name=received.name, result="added", sha256=received.sha256)
                results.append(outcome)
                if len(waiting) >= _CLIPS_PER_COMMIT:
                    self._record(dataset_id, waiting, results)
        finally:
            self._record(dataset_id, waiting, results)
        return results

    def close(self) -> None:
        """End the probe's process."""
        self._probe.close()

    def _keep(self, dataset_id: int, received: ReceivedFile) -> MeasuredClip | FileResultView:
        try:
            sound = self._probe.probe(received.path, received.name)
        except AudioError as error:
            return FileResultView(name=received.name, result="refused", reason=str(error), sha256=received.sha256)
        # What the dataset has already takes nothing more.
        promised = 0 if self._datasets.has_clip(dataset_id, received.sha256) else received.size_bytes
        refusal = self._quotas.refusal(dataset_id, promised)
        if refusal:
            return FileResultView(name=received.name, result="refused", reason=refusal, sha256=received.sha256)
        key = clip_key(received.sha256)
        self._arrivals.begin(key)
        try:
            if not self._storage.exists(key):
                self._storage.write_file(key, received.path)
        except BaseException:
            self._arrivals.end(key)
            self._quotas.added(dataset_id, promised)
            raise
        clip = Clip(
            sha256=received.sha256,
            name=received.name,
            num_samples=sound.num_samples,
            sample_rate=sound.sample_rate,
            channels=sound.channels,
            format=sound.format,
            size_bytes=received.size_bytes,
        )
        return MeasuredClip(clip=clip, measures=sound.measures, promised_bytes=promised)

    def _record(self, dataset_id: int, waiting: list[tuple[int, MeasuredClip]], results: list[FileResultView]) -> None:
        batch = waiting[:]
        waiting.clear()  # also where this fails: `receive` comes here once more at its end
        if not batch:
            return
        try:
            added = self._datasets.add_clips(
                dataset_id,
                [one.clip for _, one in batch],
                measures=[(one.clip.sha256, one.measures) for _, one in batch],
            )
        finally:
            for _, one in batch:
                self._arrivals.end(clip_key(one.clip.sha256))
                self._quotas.added(dataset_id, one.promised_bytes)
        for (place, one), outcome in zip(batch, added, strict=True):
            results[place] = FileResultView(
                name=outcome.name if outcome.added else one.clip.name,
                result="added" if outcome.added else "duplicate",
                reason="" if outcome.added else f"It has the same content as {outcome.name}.",
                sha256=one.clip.sha256,
            )
