"""Every error that Spectrain raises on purpose.

    SpectrainError
    |-- ConfigError          a value that cannot work           (HTTP 422)
    |-- AudioError           a sound that cannot be used        (HTTP 422)
    |-- AccessError          a token is missing or worthless    (HTTP 401)
    |   `-- ForbiddenError   it does not go so far              (HTTP 403)
    |-- TooManyError         come again later                   (HTTP 429)
    |-- NotFoundError        no such job, dataset, clip         (HTTP 404)
    |-- TransitionError      not possible in the job's state    (HTTP 409)
    |-- InUseError           somebody else holds it             (HTTP 409)
    |-- CheckpointError      a checkpoint that cannot be used
    |   `-- CorruptCheckpointError
    |-- StorageError         the artifact store failed
    |   |-- StorageAwayError  nobody answers there for now
    |   |-- StorageFullError                                    (HTTP 507)
    |   |-- NameTakenError   the name has other content         (HTTP 409)
    |   `-- DamagedError     the bytes are not what they were
    |-- TrainingError        a training that cannot go on
    |-- LeaseLostError       a newer attempt owns the job
    `-- ServiceError         Redis, the api or a binary is missing or away (HTTP 503)

Each message is one sentence that says what to do; the data behind it are attributes.
"""

from __future__ import annotations

from typing import ClassVar


class SpectrainError(Exception):
    """Base of all errors that are meant to be read by a person."""

    http_status: ClassVar[int] = 500


class ConfigError(SpectrainError):
    """A setting that cannot work; `field` is its dotted name in the request."""

    http_status = 422

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class AudioError(SpectrainError):
    """A sound that cannot be used; `file_name` is the name that the person gave it."""

    http_status = 422

    def __init__(self, message: str, *, file_name: str = "") -> None:
        super().__init__(message)
        self.file_name = file_name


class AccessError(SpectrainError):
    """Who asks has not shown that he may."""

    http_status = 401


class ForbiddenError(AccessError):
    """Who asks is known, and may not."""

    http_status = 403


class TooManyError(SpectrainError):
    """Asked too often; `retry_after_s` seconds later it may work."""

    http_status = 429

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotFoundError(SpectrainError):
    """Nothing exists under that id or name; `field` is the dotted name in the request that said it, if one did."""

    http_status = 404

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class TransitionError(SpectrainError):
    """The job's state does not allow what was asked for; `field` is what in the request it does not allow."""

    http_status = 409

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InUseError(SpectrainError):
    """Something else holds the thing: a second server on a data folder, a second worker on a device."""

    http_status = 409


class CheckpointError(SpectrainError):
    """A checkpoint that cannot be used for what was asked."""

    http_status = 409


class CorruptCheckpointError(CheckpointError):
    """A checkpoint whose bytes differ from its manifest; `name` is the checkpoint's name."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


class StorageError(SpectrainError):
    """The artifact store could not read or write a key."""


class StorageAwayError(StorageError):
    """The artifact store does not answer; nothing is wrong with what was asked of it."""


class StorageFullError(StorageError):
    """No space is left for what should be written."""

    http_status = 507


class NameTakenError(StorageError):
    """What was made under a name never changes, and something else was to be put there."""

    http_status = 409


class DamagedError(StorageError):
    """Bytes of the artifact store do not have the hash that they were stored with."""


class TrainingError(SpectrainError):
    """A training that cannot go on, in plain words: too few files, numbers that stay not-a-number."""


class LeaseLostError(SpectrainError):
    """This attempt is no longer the job's newest: whatever it still does is refused."""


class ServiceError(SpectrainError):
    """A service or program that Spectrain needs is missing or does not answer."""

    http_status = 503
