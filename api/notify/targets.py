"""Who is told, and telling them once, now or by and by.

webhooks        `api.notify.webhook`
anything else   apprise, an extra: e-mail and a hundred services
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.notify.views import NewTargetView, TargetListView, TargetRequest, TargetView
from api.notify.webhook import DeliveryError, check_url, checked_addresses, post
from api.record.database import Database
from api.record.rows import find
from api.record.tables import Notification, NotificationTarget
from shared.errors import ConfigError, NotFoundError

MOST: Final = 100
_WEBHOOKS: Final = ("http", "https")
_NOT_THESE: Final = frozenset(
    {"json", "jsons", "xml", "xmls", "form", "forms", "file", "syslog", "dbus", "kde", "glib", "qt", "gnome", "macosx"}
    | {"windows", "apprise", "apprises", "workflow", "workflows"}
)
"""What apprise would send anywhere, unguarded and unsigned, or show on the screen of the server."""


class Targets:
    """All of them, in the record. `private` lets webhooks go into private networks."""

    def __init__(self, database: Database, *, private: bool) -> None:
        self._database = database
        self._private = private

    def create(self, request: TargetRequest) -> NewTargetView:
        """A new one; raises ConfigError for an address that cannot be used, NotFoundError for a job that is not."""
        self._check(request.url)
        with self._database.session() as session:
            if (session.scalar(select(func.count()).select_from(NotificationTarget)) or 0) >= MOST:
                raise ConfigError(f"There are {MOST} targets already: remove one.")
            if request.job is not None:
                find(session, request.job, field="job")
            row = NotificationTarget(
                url=request.url,
                secret=secrets.token_urlsafe(24),
                occasions=list(dict.fromkeys(request.on)),
                job_id=request.job,
                created_at=time.time(),
            )
            session.add(row)
            session.flush()
            return NewTargetView(**_view(session, row).model_dump(), secret=row.secret)

    def list(self) -> TargetListView:
        """All of them, newest first."""
        with self._database.reading() as session:
            rows = session.scalars(select(NotificationTarget).order_by(NotificationTarget.id.desc()))
            return TargetListView(targets=[_view(session, row) for row in rows])

    def remove(self, target_id: int) -> TargetListView:
        """Tell it nothing more; returns those that are left."""
        with self._database.session() as session:
            session.delete(_find(session, target_id))
        return self.list()

    def try_out(self, target_id: int) -> None:
        """Send it something; raises DeliveryError."""
        with self._database.reading() as session:
            row = _find(session, target_id)
        body = {"event": "test", "job": None, "message": "This is how Spectrain tells you.", "at": time.time()}
        self.deliver(row, body, delivery=f"test-{secrets.token_hex(8)}")

    def deliver(self, target: NotificationTarget, body: Mapping[str, Any], *, delivery: str) -> None:
        """Send `body` to a target; raises DeliveryError."""
        if urlsplit(target.url).scheme in _WEBHOOKS:
            post(target.url, body, secret=target.secret, delivery=delivery, private=self._private)
            return
        title, text = _words(body)
        if not _apprise(target.url).notify(title=title, body=text):
            raise DeliveryError(f"{_where(target.url)} did not take it: see the api's log.")

    def _check(self, url: str) -> None:
        scheme = url.partition(":")[0].lower()
        if scheme in _WEBHOOKS:
            parts = check_url(url)
            try:
                checked_addresses(parts.hostname or "", parts.port or 443, private=self._private)
            except DeliveryError as error:
                raise ConfigError(f"url: {error}", field="url") from error
        elif scheme in _NOT_THESE:
            raise ConfigError(f"url: {scheme}:// is not allowed here: give a webhook as https://…", field="url")
        else:
            try:
                _apprise(url)
            except DeliveryError as error:
                raise ConfigError(f"url: {error}", field="url") from error


def _apprise(url: str) -> Any:
    """Something that notifies; raises DeliveryError."""
    try:
        import apprise  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise DeliveryError(
            f"anything but a webhook needs the package apprise: `{sys.executable} -m pip install apprise`.",
            for_good=True,
        ) from error
    notifier: Any = apprise.Apprise()
    if not notifier.add(url):
        raise DeliveryError("apprise does not know this address: see its documentation.", for_good=True)
    return notifier


def _words(body: Mapping[str, Any]) -> tuple[str, str]:
    """Title and text, for a person."""
    job = body["job"]
    if job is None:
        return "Spectrain", str(body["message"])
    what = {"finished": "is finished", "failed": "has failed", "attention": "needs a look"}[body["event"]]
    return f"Spectrain: {job['name']} {what}", str(body["message"] or f"Job {job['id']} on {job['dataset']} {what}.")


def _where(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname if parts.scheme in (*_WEBHOOKS, "mailto", "mailtos") else None
    return f"{parts.scheme}://{host}" if host else f"{url.partition(':')[0]}://…"


def _view(session: Session, row: NotificationTarget) -> TargetView:
    waiting = select(func.count()).where(Notification.target_id == row.id, Notification.due_at.is_not(None))
    return TargetView(
        id=row.id,
        where=_where(row.url),
        on=row.occasions,
        job=row.job_id,
        created_at=row.created_at,
        waiting=session.scalar(waiting) or 0,
        last_error=row.last_error,
    )


def _find(session: Session, target_id: int) -> NotificationTarget:
    row = session.get(NotificationTarget, target_id)
    if row is None:
        raise NotFoundError(f"There is no target {target_id} of notifications.")
    return row
