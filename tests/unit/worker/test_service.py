"""What the worker's process says."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
from celery.apps import worker as program
from celery.worker import state

from worker.service import _quieten_celery


@pytest.mark.parametrize("is_quiet", [False, True])
def test_celery_says_nothing_past_the_logs_when_it_is_told_to_stop(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *, is_quiet: bool
) -> None:
    monkeypatch.setattr(program, "safe_say", program.safe_say)
    monkeypatch.setattr(state, "should_stop", None)
    before = signal.getsignal(signal.SIGTERM)
    if is_quiet:
        _quieten_celery()
    try:
        program.install_worker_term_handler(SimpleNamespace(hostname="w1"))
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert state.should_stop == 0
    assert "".join(capfd.readouterr()).split() == ([] if is_quiet else ["worker:", "Warm", "shutdown", "(MainProcess)"])
