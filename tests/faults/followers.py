"""A browser's page as far as events go: history by HTTP, then live ones, without a gap and without a double.

The algorithm is that of `api/web/src/store/event_follower.ts`, with its constants.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, Self

import httpx
import socketio

_MAX_ASIDE = 2000
_TRAIL_S = 0.25
_MAX_TRAILS = 40
_PAGE = 1000
_RETRY_S = 3.0


class Page:
    """Follows the events of one job. To be entered; leaving it closes the connection."""

    def __init__(self, url: str, job_id: int) -> None:
        self.applied: list[dict[str, Any]] = []
        """Events as they were shown, in order."""
        self.connections = 0
        """How often the live connection was made."""
        self._url = url
        self._job_id = job_id
        self._expected = 0
        self._aside: dict[int, dict[str, Any]] = {}
        self._running = False
        self._again = False
        self._closed = threading.Event()
        self._changed = threading.Condition(threading.RLock())
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=10.0)
        self._socket = socketio.Client(reconnection_delay=0.3, reconnection_delay_max=5)
        self._socket.on("connect", self._on_connect)
        self._socket.on("disconnect", self._on_disconnect)
        self._socket.on("event", self._receive)
        self._socket.on("newest", lambda told: self._expect(int(told["number"])))

    def __enter__(self) -> Self:
        self._socket.connect(self._url, transports=["websocket"], wait_timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._socket.shutdown()
        self._http.close()

    def __repr__(self) -> str:
        return f"Page(last={self.last}, expected={self._expected}, aside={sorted(self._aside)})"

    @property
    def last(self) -> int:
        """Number of the newest event that is shown."""
        return int(self.applied[-1]["number"]) if self.applied else 0

    def wait(self, number: int, timeout_s: float) -> bool:
        """Whether the page shows event `number` within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.last >= number, timeout_s)

    def drop(self) -> None:
        """Cut the live connection, as a lost network would."""
        connection = self._socket.eio.ws.sock
        connection.shutdown(socket.SHUT_RDWR)

    def _on_connect(self) -> None:
        self.connections += 1
        # Watch first, then read the history: what happens in between is in both, and applied once.
        self._socket.emit("watch", {"job": self._job_id}, callback=lambda told: self._expect(int(told["last"])))

    def _on_disconnect(self, *_: object) -> None:
        # The client forgets a connection that broke, and would leave its socket open.
        if self._socket.eio.ws is not None:
            self._socket.eio.ws.shutdown()

    def _receive(self, event: dict[str, Any]) -> None:
        with self._changed:
            if event["number"] <= self.last:
                return
            if not self._running and event["number"] == self.last + 1:
                self._accept([event])
                return
            if len(self._aside) < _MAX_ASIDE:
                self._aside[event["number"]] = event
            if not self._running:
                self._catch_up()

    def _expect(self, number: int) -> None:
        with self._changed:
            self._expected = max(self._expected, number)
        self._catch_up()

    def _catch_up(self) -> None:
        with self._changed:
            self._again = True
            if self._running or self._closed.is_set():
                return
            self._running = True
        threading.Thread(target=self._fetch, name="page", daemon=True).start()

    def _fetch(self) -> None:
        while True:
            try:
                self._fetch_all()
            except httpx.HTTPError:
                if self._closed.wait(_RETRY_S):
                    return
                continue
            with self._changed:
                if not (self._again or self._aside):
                    self._running = False
                    return

    def _fetch_all(self) -> None:
        with self._changed:
            self._again = False
        trails = 0
        while not self._closed.is_set():
            answer = self._http.get(f"/jobs/{self._job_id}/events?after={self.last}&limit={_PAGE}")
            page = answer.raise_for_status().json()
            with self._changed:
                self._accept([event for event in page["events"] if event["number"] > self.last])
                if page["events"] and self.last < page["last"]:
                    continue
                if not self._aside and self.last >= self._expected:
                    return
                trails += 1
                if trails > _MAX_TRAILS:
                    self._expected = 0
                    self._accept(sorted(self._aside.values(), key=lambda event: int(event["number"])))
                    return
            time.sleep(_TRAIL_S)

    def _accept(self, events: list[dict[str, Any]]) -> None:
        self.applied += events
        while (following := self._aside.pop(self.last + 1, None)) is not None:
            self.applied.append(following)
        for number in [number for number in self._aside if number <= self.last]:
            del self._aside[number]
        self._changed.notify_all()
