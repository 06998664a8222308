"""An attempt without anybody around it: nobody listens, nobody wishes anything."""

from __future__ import annotations

from typing_extensions import override

from shared.events import EventBody
from worker.attempt import Control, Reporter, Wish


class Nobody(Reporter, Control):
    """Hears every event and keeps none; never wishes to stop."""

    @override
    def publish(self, body: EventBody) -> None:
        pass

    @override
    def wish(self) -> Wish:
        return "none"

    @override
    def take_save(self) -> bool:
        return False

    @override
    def take_preview(self) -> bool:
        return False

    @override
    def beat(self) -> None:
        pass
