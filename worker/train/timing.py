"""Timing of a plan's candidates by real steps on throwaway models.

    candidates --a tiny batch each--> those that are not hopeless --rounds of real steps--> the fastest

The candidates take turns, and each one's fastest turn counts: whatever else the machine does meanwhile, it only adds
to the others. A candidate that is clearly slower is not tried any longer, since bfloat16 on a processor without units
for it can take ten times as long, and a person waits for all of this.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import psutil
import torch
from torch import Tensor

from shared.config import TrainConfig
from worker.train.learner import Learner
from worker.train.plan import CandidateRun, ExecutionPlan, candidates, fastest, with_fewer_threads

BatchMaker = Callable[[torch.memory_format], Tensor]

MOST_ROUNDS: Final = 5
"""Timed turns of each candidate, after one that is not."""
ENOUGH_S: Final = 1.0
"""Once the candidates have taken this long each, they are not timed any further."""
STEPS_OF_A_TURN: Final = {"cpu": 1, "cuda": 10, "mps": 4}
"""By the kind of device: a GPU is only waited for at the end of a turn, as in a training."""
PROBE_EXAMPLES: Final = 2
"""Size of the batch by which hopeless candidates are found on the CPU, by one thread: none has to wait for another."""
PROBES: Final = 3
"""Such steps, after one that is not timed."""
HOPELESS: Final = 4.0
"""A candidate whose tiny step, or first turn, takes this many times as long as the fastest one's is left out."""
SLOWER: Final = 1.5
"""A candidate whose fastest step takes this many times as long as another's is not timed any further."""


class Trial:
    """A throwaway training under one plan."""

    def __init__(self, config: TrainConfig, device: torch.device, plan: ExecutionPlan, make_batch: BatchMaker) -> None:
        self.plan = plan
        self.seconds: list[float] = []
        """Of a step, turn by turn, without the first turn, in which kernels are chosen and memory is fetched."""
        self.losses: list[float] = []
        self.first_s = 0.0
        """Of a step of the first turn."""
        self._config = config
        self._steps = STEPS_OF_A_TURN[device.type]
        self._turns = 0
        self._batch = make_batch(plan.memory_format)
        torch.manual_seed(config.seed)
        # Averages take memory, but no time worth comparing. Without statistics of its batch a model that nobody gave
        # first weights would hardly depend on its input, and losses could not tell a wrong candidate.
        config = config.model_copy(update={"average_steps": 0, "keep_statistics": False})
        self._learner = Learner(config, plan, device, batch_size=len(self._batch))

    @property
    def failure(self) -> str:
        """Why the plan cannot be followed; empty where it can."""
        return self._learner.recording_failure

    def probe(self) -> float:
        """Seconds of a step with a tiny batch; has to come before the turns of all candidates or of none."""
        tiny = self._batch[:PROBE_EXAMPLES]
        return min([self._run(tiny, threads=1)[0] for _ in range(1 + PROBES)][1:])

    def turn(self) -> None:
        """Timed steps; their noise is that of every candidate's turn of the same number."""
        torch.manual_seed(self._config.seed + 1 + self._turns)
        seconds, losses = self._run(self._batch, threads=self.plan.threads, steps=self._steps)
        if self._turns:
            self.seconds.append(seconds)
        else:
            self.first_s = seconds
        self.losses += losses
        self._turns += 1

    def result(self) -> CandidateRun:
        """What the turns gave."""
        return CandidateRun(seconds=min(self.seconds), losses=tuple(self.losses))

    def _run(self, batch: Tensor, *, threads: int, steps: int = 1) -> tuple[float, list[float]]:
        """Seconds of a step, and the losses of `steps` of them."""
        torch.set_num_threads(threads)
        began_at = time.perf_counter()
        rate = self._config.learning_rate
        rows = [self._learner.step(batch, learning_rate=rate, kl_weight=0.0) for _ in range(steps)]
        losses = torch.stack(rows)[:, 0].tolist()  # waits for the device
        return (time.perf_counter() - began_at) / steps, losses


def time_candidates(
    config: TrainConfig,
    device: torch.device,
    make_batch: BatchMaker,
    *,
    before_each: Callable[[str], bool],
    log: Callable[[str], None] = lambda _: None,
) -> ExecutionPlan | None:
    """Try every candidate with a batch of the training's own shape and data; None when told to stop.

    `before_each` gets a candidate's name when its turn comes first, and says whether to go on; `log` gets a sentence
    for each one that cannot be used.
    """
    plans = candidates(device)
    if len(plans) == 1:
        return next(iter(plans.values()))
    threads = torch.get_num_threads()
    load = OthersLoad()
    contest = _Contest(lambda plan: Trial(config, device, plan, make_batch), before_each, log)
    try:
        if not contest.enter(plans, probe=device.type == "cpu"):
            return None
        contest.run(contest.trials)
        best = contest.best()
        if device.type == "cpu":
            # Where the cores are busy, or much slower together, half of the threads can be faster.
            fewer = with_fewer_threads({best: contest.trials[best].plan})
            if not contest.enter(fewer, probe=True):
                return None
            contest.run({name: trial for name, trial in contest.trials.items() if name == best or name in fewer})
            best = contest.best()
    finally:
        torch.set_num_threads(threads)
    step_ms = {name: run.seconds * 1e3 for name, run in contest.runs().items()}
    return contest.trials[best].plan.model_copy(update={"step_ms": step_ms, "load": load.share()})


class _Contest:
    """Candidates that take turns; the first one is what the others must agree with, and is never left out."""

    def __init__(
        self,
        make_trial: Callable[[ExecutionPlan], Trial],
        before_each: Callable[[str], bool],
        log: Callable[[str], None],
    ) -> None:
        self.trials: dict[str, Trial] = {}
        self._make_trial = make_trial
        self._before_each = before_each
        self._log = log

    def enter(self, plans: dict[str, ExecutionPlan], *, probe: bool) -> bool:
        """Take in `plans`, but for those that fail or are hopeless; False when told to stop."""
        fastest_probe, fastest_first = math.inf, math.inf
        for name, plan in plans.items():
            if not self._before_each(name):
                return False
            try:
                trial = self._make_trial(plan)
                probed = trial.probe() if probe else 0.0
                hopeless = probed > HOPELESS * fastest_probe
                if not hopeless:
                    trial.turn()
                    hopeless = probe and trial.first_s > HOPELESS * fastest_first
                    fastest_probe, fastest_first = min(fastest_probe, probed), min(fastest_first, trial.first_s)
                reason = f"it is more than {HOPELESS:g} times as slow." if hopeless else trial.failure
            except RuntimeError as error:  # such as too little memory on the device
                if not self.trials:
                    raise
                self._log(f"Left out {name}: {_first_line(error)}")
                continue
            if reason:
                self._log(f"Left out {name}: {reason}")
            else:
                self.trials[name] = trial
        return True

    def run(self, trials: dict[str, Trial]) -> None:
        """Time `trials` in turns, until it is enough or only one is left."""
        running = list(trials.values())
        began_at = time.perf_counter()
        for _ in range(MOST_ROUNDS):
            for trial in running:
                trial.turn()
            if time.perf_counter() - began_at > ENOUGH_S * len(trials):
                break
            limit = SLOWER * min(min(trial.seconds) for trial in running)
            running = [trial for trial in running if min(trial.seconds) <= limit]

    def runs(self) -> dict[str, CandidateRun]:
        """What was measured so far."""
        return {name: trial.result() for name, trial in self.trials.items()}

    def best(self) -> str:
        """Name of the candidate to follow."""
        return fastest(self.runs())


class OthersLoad:
    """The share of the machine's processor time that other programs take from now on."""

    def __init__(self) -> None:
        psutil.cpu_percent()  # measures from here on
        self._began_at = time.perf_counter()
        self._own_s = time.process_time()

    def share(self) -> float:
        """0 … 1."""
        seconds = max(time.perf_counter() - self._began_at, 1e-3) * (psutil.cpu_count() or 1)
        return min(1.0, max(0.0, psutil.cpu_percent() / 100 - (time.process_time() - self._own_s) / seconds))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
