"""The data folder: made, locked for one `up` at a time, and where it is written down which processes are at work.

lock            held by `flock` from start to end; contains the pid of the launcher
processes.json  what the launcher started: enough to stop it after a launcher that was killed
redis/          data, configuration and passwords of the Redis protocol server
logs/           one file per process
joined/         of a machine that joined another one's server: its own lock, processes and logs, what it joined
record.db, store/  the api's
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import psutil

from shared.errors import InUseError, StorageError


@dataclass(frozen=True, kw_only=True)
class ProcessEntry:
    """A process that the launcher started."""

    role: str
    """redis, api or worker."""
    name: str
    """What its log is called."""
    pid: int
    """Also the id of its process group."""
    started: float
    """When it was created, by a clock of the system's that nobody sets: with the pid it names one process."""

    @classmethod
    def of(cls, *, role: str, name: str, pid: int) -> ProcessEntry:
        """The entry of a process that was just started."""
        return cls(role=role, name=name, pid=pid, started=_creation(pid))

    def alive(self) -> bool:
        """Whether this very process is still there, and not another one that got its pid."""
        return self.started > 0 and _creation(self.pid) == self.started


def _creation(pid: int) -> float:
    """When process `pid` was created, 0 where it is not there (any more)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return 0.0
        if sys.platform == "linux":
            # psutil adds the time of booting, which moves when the clock is set; field 22 (ticks since then) does not.
            return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return process.create_time()
    except (psutil.Error, OSError):
        return 0.0


class DataFolder:
    """The data folder at `path`, made where there is none. Raises StorageError where it cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The data folder {self.path} cannot be made ({error.strerror}): choose another with --data."
            ) from error

    @property
    def logs(self) -> Path:
        """Folder of the log files."""
        return self.path / "logs"

    @property
    def _processes(self) -> Path:
        return self.path / "processes.json"

    def write_processes(self, entries: list[ProcessEntry]) -> None:
        """Keep which processes are at work, in the order in which they were started."""
        temporary = self._processes.with_suffix(".tmp")
        temporary.write_text(json.dumps([asdict(entry) for entry in entries]))
        temporary.replace(self._processes)

    def read_processes(self) -> list[ProcessEntry]:
        """What `write_processes` kept and is still alive."""
        try:
            entries = [ProcessEntry(**fields) for fields in json.loads(self._processes.read_text())]
        except (OSError, ValueError, TypeError):
            return []
        return [entry for entry in entries if entry.alive()]


def write_private(path: Path, text: str) -> None:
    """Replace the file at `path`, readable by its owner alone from its first moment."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)


class FolderLock:
    """The right to run on a data folder. It is held until every process that inherited its descriptor is gone."""

    def __init__(self, folder: DataFolder) -> None:
        """Take the lock; raises FolderInUseError naming who holds it."""
        self._file = (folder.path / "lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(self._file)
            self._file.close()
            raise FolderInUseError(
                f"Spectrain is already running on {folder.path} (process {holder.pid}): use that one, stop it first, "
                "or give this one another folder with --data and another --port.",
                holder=holder,
            ) from error
        self._file.truncate(0)
        self._file.write(json.dumps(asdict(ProcessEntry.of(role="launcher", name="launcher", pid=os.getpid()))))
        self._file.flush()

    def fileno(self) -> int:
        """Descriptor that carries the lock, for a child that shall hold it too."""
        return self._file.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


def _holder(lock: TextIO) -> ProcessEntry:
    lock.seek(0)
    try:
        return ProcessEntry(**json.loads(lock.read()))
    except (ValueError, TypeError):
        return ProcessEntry(role="launcher", name="launcher", pid=0, started=0.0)


class FolderInUseError(InUseError):
    """Another launcher holds the data folder; `holder` is the one that took it."""

    def __init__(self, message: str, *, holder: ProcessEntry) -> None:
        super().__init__(message)
        self.holder = holder

    @property
    def stopping(self) -> bool:
        """True when that launcher is gone and what it started is still being stopped."""
        return self.holder.pid > 0 and not self.holder.alive()


@dataclass(frozen=True, kw_only=True)
class JoinedServer:
    """What the data folder keeps of the server that was joined."""

    server: str
    token: str
    redis: list[str]
    """host:port of its Redis protocol server, as told."""

    @classmethod
    def read(cls, data: Path) -> JoinedServer | None:
        """What the data folder `data` keeps; None where this machine never joined."""
        try:
            return cls(**json.loads(_kept_path(data).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, data: Path) -> None:
        """Keep it."""
        write_private(_kept_path(data), json.dumps(asdict(self), indent=2))


def _kept_path(data: Path) -> Path:
    return data / "joined" / "server.json"
