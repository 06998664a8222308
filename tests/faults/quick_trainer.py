"""The trainer process with an engine that needs no torch: it starts in a fraction of a second and learns nothing.

Everything around the engine is the real one: lifeline, mirror of the control flags, reporter, the way that it ends.
What a training does follows from its seed: `DIES` ends the process as the system does when memory runs out, `STAYS`
steps until it is told to stop, anything else does a few steps.
"""

from __future__ import annotations

import os
import sys
import time
from types import ModuleType
from typing import Any

from shared.events import StepMetrics
from shared.jobs import AttemptSpec, TrainSpec
from worker.attempt import AttemptResult, Control, Reporter

DIES = 137
STAYS = 1_000
_STEP_S = 0.01
_STEPS = 3


def run(attempt: AttemptSpec, *, reporter: Reporter, control: Control, **_: Any) -> AttemptResult:
    """Do what the seed says."""
    seed = attempt.spec.train.seed if isinstance(attempt.spec, TrainSpec) else 0
    if seed == DIES:
        os._exit(137)
    step = 0
    while control.wish() == "none" and (seed == STAYS or step < _STEPS):
        time.sleep(_STEP_S)
        step += 1
        reporter.publish(
            StepMetrics(
                step=[step],
                epoch=[1],
                loss=[0.0],
                reconstruction=[0.0],
                kl=[0.0],
                kl_weight=[0.0],
                learning_rate=[0.0],
                grad_norm=[0.0],
                step_time_s=[_STEP_S],
                total_steps=_STEPS,
            )
        )
        control.beat()
    outcomes = {"cancel": "cancelled", "pause": "paused", "shutdown": "handed_back", "hand_back": "handed_back"}
    return AttemptResult(outcome=outcomes.get(control.wish(), "completed"), step=step)


def main() -> None:
    """Put the quick engine in the place of the real one, then be the trainer process."""
    torch = {"__version__": "0", "get_num_threads": lambda: 1, "set_num_threads": lambda _threads: None}
    modules: dict[str, dict[str, Any]] = {"torch": torch, "worker.preprocess": {"run_preprocess": run}}
    modules["worker.train"] = {"run_training": run, "warm_up": lambda _device: None}
    for name, contents in modules.items():
        module = ModuleType(name)
        vars(module).update(contents)
        sys.modules[name] = module
    from worker import trainer

    trainer.main()


if __name__ == "__main__":
    main()
