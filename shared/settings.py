"""Settings of a process, read from its environment.

Every field is `SPECTRAIN_<NAME>`; `REDIS_URL` and `DATABASE_URL` also go by those names, as other tools have them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_data_path
from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.addresses import is_loopback
from shared.errors import ConfigError


class Settings(BaseSettings):
    """What an operator may set. Times are seconds."""

    model_config = SettingsConfigDict(
        env_prefix="SPECTRAIN_", frozen=True, extra="ignore", use_attribute_docstrings=True, populate_by_name=True
    )

    data: Path = user_data_path("spectrain")
    """Folder that everything is kept in: record, artifact store, Redis data, logs."""
    host: str = "127.0.0.1"
    """Address that the api listens on."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 8000
    """Port that the api listens on."""
    allowed_hosts: str = ""
    """Further names that the api is reached by, separated by commas; addresses and own names always work."""
    login: Literal["auto", "always"] = "auto"
    """Whether people log in: where others than the user of this machine can reach the api, or always."""
    submits_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    """Jobs, batches and sweeps that one token may submit in a minute."""
    uploads_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    """Upload requests that one token may send in a minute."""
    slow_client_s: Annotated[float, Field(ge=1.0, le=3600.0)] = 30.0
    """Time for the head of a request to come, and for anything more of its body; then the connection is ended."""
    server: str = "http://127.0.0.1:8000"
    """Address of the api for the command line."""
    token: str = ""
    """Token of this worker, or of this command line, for the api."""
    storage: str = ""
    """Artifact store: a folder's path or file:// URL, s3://BUCKET/PREFIX, or the address of the api, http(s)://…,
    which hands artifacts out to workers with a token; empty for `store` in the data folder."""
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", validation_alias=AliasChoices("REDIS_URL", "SPECTRAIN_REDIS_URL")
    )
    """Redis protocol server, with user and password; rediss:// for TLS."""
    redis_keeper_url: str = ""
    """The same server with a user who makes users for workers that join; empty: they get REDIS_URL itself."""
    redis_host: str = ""
    """Address that the Redis protocol server listens on beside this machine's own; empty for that of the api."""
    join_storage: str = ""
    """Artifact store of workers that join: a folder that they all mount, or s3://…; empty: s3:// where the api's own is
    one, else through the api."""
    torch_index: str = ""
    """Package index that machines that join take torch from; empty for pip's own choice."""
    database_url: str = Field(default="", validation_alias=AliasChoices("DATABASE_URL", "SPECTRAIN_DATABASE_URL"))
    """Database of the record as a SQLAlchemy URL; empty for SQLite in the data folder."""
    lease_s: Annotated[float, Field(ge=1.0, le=600.0)] = 30.0
    """How long a worker that went silent keeps its job."""
    stall_s: Annotated[float, Field(ge=5.0, le=86_400.0)] = 120.0
    """Time without a step after which a trainer counts as stuck."""
    setup_stall_s: Annotated[float, Field(ge=5.0, le=86_400.0)] = 600.0
    """The same before the first step."""
    grace_s: Annotated[float, Field(ge=1.0, le=3_600.0)] = 30.0
    """Time without progress that a trainer has to save when it is told to stop."""
    max_upload_bytes: Annotated[int, Field(ge=1_000_000, le=1 << 40)] = 2 << 30
    """Largest upload request."""
    dataset_quota_bytes: Annotated[int, Field(ge=1_000, le=1 << 50)] | None = None
    """Disk that the sounds of one dataset may take; unset for as much as there is."""
    quota_bytes: Annotated[int, Field(ge=1_000, le=1 << 50)] | None = None
    """Disk that the artifact store may take; beyond it no sound and no model comes in. Unset for any amount."""
    notify_private: bool = False
    """Whether webhooks may be sent to private networks and to this machine."""
    labels: str = ""
    """Labels of this worker, separated by commas."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads that a trainer computes with on the processor; unset for the cores, shared among the workers there."""
    redis_away_s: Annotated[float, Field(ge=5.0, le=604_800.0)] = 600.0
    """A training that could not reach Redis for so long saves and pauses."""
    worker_silent_s: Annotated[float, Field(ge=10.0, le=86_400.0)] = 90.0
    """A worker whose consumer took no ticket, not even its own canary, for so long starts itself anew."""
    spool_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 50)] = 1 << 30
    """Disk that a worker may use for events that Redis does not take."""
    stream_events: Annotated[int, Field(ge=100, le=10_000_000)] = 10_000
    """Events of one job that Redis holds for the api at most; the rest waits on the worker's disk."""
    cache_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 50)] = 20 << 30
    """Disk for copies of what is in an artifact store on another machine; what is in use may exceed it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    log_format: Literal["json", "console"] = "json"
    """Log lines as JSON records, or as text for a terminal."""

    def __init__(self, **values: Any) -> None:
        """Raises ConfigError, which names the variable that cannot work."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = "_".join(str(part) for part in first["loc"])
            variable = name if name.isupper() else f"SPECTRAIN_{name.upper()}"
            raise ConfigError(f"{variable} in the environment cannot work: {first['msg']}.") from error

    @property
    def needs_login(self) -> bool:
        """Whether somebody who shows no token may do nothing: the api listens beyond this machine, or a proxy leads
        others to it, as the names say that it is reached by."""
        return self.login == "always" or not is_loopback(self.host) or bool(self.allowed_hosts.strip(" ,"))

    @property
    def save_limit_s(self) -> float:
        """Time that a trainer has to save, however much progress it makes: over a slow line a checkpoint may travel for
        minutes. Whoever stops its worker waits for longer."""
        return 20 * self.grace_s

    @property
    def storage_url(self) -> str:
        """The artifact store's URL with the default filled in."""
        return self.storage or str(self.data / "store")

    @property
    def store_cache(self) -> Path:
        """Folder for copies of what is in an artifact store on another machine."""
        return self.data / "cache" / "store"

    @property
    def record_url(self) -> str:
        """The record's SQLAlchemy URL with the default filled in."""
        return self.database_url or f"sqlite:///{self.data / 'record.db'}"
