"""What a worker may do to the artifact store: read everything, write what jobs make, remove what it replaced.

Clips are people's, and so are checkpoints that they pinned: only the api writes them. What is in a folder of a job
(`jobs/7/checkpoints/...`) is immutable; a file of the job itself (`jobs/7/plan.json`) and a feature set's manifest may
be written anew.
"""

from __future__ import annotations

from typing import Final

from shared.errors import ConfigError, ForbiddenError, NotFoundError, StorageError
from shared.storage.base import check_key, hash_in_name

_WRITABLE: Final = ("jobs", "features", "weights")
_IMMUTABLE_DEPTH: Final = 4
"""Parts of the shortest key in a folder of a job."""


def readable(key: str) -> str:
    """`key` itself; raises NotFoundError for one that can name nothing."""
    try:
        return check_key(key)
    except StorageError as error:
        raise NotFoundError("There is nothing at this address.") from error


def writable(key: str, sha256: str) -> str:
    """`key` itself; raises ForbiddenError where workers do not write, ConfigError where the name tells another hash."""
    top, _, rest = readable(key).partition("/")
    if top not in _WRITABLE or not rest or _is_pinned(key):
        raise ForbiddenError(f"A worker writes under {', '.join(_WRITABLE)}, not to {key}.")
    named = hash_in_name(key)
    if named and named != sha256:
        raise ConfigError(f"{key} is named by another hash than that of the bytes: name it by theirs.", field="sha256")
    return key


def removable(prefix: str) -> str:
    """`prefix` itself; raises ForbiddenError for more than one checkpoint or preview."""
    if not is_immutable(readable(prefix)) or _is_pinned(prefix):
        raise ForbiddenError(f"A worker removes single checkpoints and previews of jobs, not {prefix}.")
    return prefix


def is_immutable(key: str) -> bool:
    """Whether what is under `key` may never change."""
    parts = key.split("/")
    return parts[0] == "jobs" and len(parts) >= _IMMUTABLE_DEPTH


def _is_pinned(key: str) -> bool:
    return key.split("/")[2:3] == ["pinned"]
