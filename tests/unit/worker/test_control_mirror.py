"""What a trainer tells its supervisor while Redis is away."""

from __future__ import annotations

from queue import SimpleQueue

from worker.control_mirror import ControlMirror, SupervisorWish

NOBODY = "redis://127.0.0.1:1/0"
"""Nothing listens there: a connection is refused at once."""


def test_the_supervisor_learns_at_once_that_steps_began() -> None:
    """A trainer that stands still a moment later would be given the time of a set-up."""
    beats: SimpleQueue[str] = SimpleQueue()
    with ControlMirror(NOBODY, 1, 1, SupervisorWish(), beats.put) as control:
        assert beats.get(timeout=5.0) == "setup"
        control.steps_began()
        assert beats.get(timeout=5.0) == "steps", "though nothing else was told"
        control.steps_began()
        control.beat()
        assert beats.get(timeout=5.0) == "steps"
    assert beats.empty()
