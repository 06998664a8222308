"""A training step: as a plain loop computes it, and as ours does.

The plain loop is eager float32 with a DataLoader over fixed chunks in memory, AdamW as it comes, and `.item()` of
loss, reconstruction and KL on every step, torch's own convolutions in the model. It has a process to itself, since
ours decides how its process takes memory. Ours cuts, augments and scales its examples, follows the execution plan
that is chosen by timing, and records every step for the page. Architecture, objective, batches of 32 and AdamW are the
same; "by Muon" is ours with the optimizer of the default preset, against the same plain loop.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Final, Self

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from shared.config import OptimizerName, Representation, TrainConfig
from shared.presets import resolve_train_config
from shared.vae.convolution import DoublingConv, HalvingConv
from shared.vae.loss import make_objective
from shared.vae.model import ConvVAE
from tests.benchmarks.corpus import Corpus
from tests.benchmarks.measuring import Figures, Options, Results, faster, interleaved
from tests.benchmarks.training import Training

BATCH: Final = 32
STEPS: Final = {"cpu": 4, "cuda": 50, "mps": 20}
"""Steps of a turn, by the kind of device."""
PATIENCE_S: Final = 30.0
"""The plain loop's process gets so long to end."""
REPRESENTATIONS: Final[tuple[Representation, ...]] = ("mel", "mel_if")
OPTIMIZERS: Final[Mapping[str, OptimizerName]] = {"": "adamw", ", by Muon": "muon"}
"""Of ours, by what is said of it."""


def measure(options: Options) -> Results:
    """Seconds of a step; ratio = baseline / ours."""
    corpus = Corpus(options)
    device = torch.device(options.device)
    return {
        name + said: _measure(corpus, name, optimizer, device)
        for name in REPRESENTATIONS
        for said, optimizer in OPTIMIZERS.items()
    }


def _measure(corpus: Corpus, representation: Representation, optimizer: OptimizerName, device: torch.device) -> Figures:
    threads = torch.get_num_threads()
    changes = {"batch_size": BATCH, "expansion": 1000, "optimizer": optimizer}
    config = resolve_train_config(file_count=len(corpus.train), representation=representation, changes=changes)
    ours = Training(corpus.features(config.features()), config, corpus.train, device)
    if ours.batches.size != BATCH:
        raise SystemExit(f"The corpus is too small for batches of {BATCH}.")
    steps = STEPS[device.type]
    with PlainProcess(config, _fixed_chunks(ours), device, threads) as plain:
        baseline_s, ours_s = interleaved(lambda: plain.run(steps), lambda: ours.run(steps))
    torch.set_num_threads(threads)
    return faster(baseline_s / steps, ours_s / steps, plan=ours.plan.describe().partition(" (a step")[0])


class PlainProcess:
    """A plain loop in a process of its own."""

    def __init__(self, config: TrainConfig, chunks: Tensor, device: torch.device, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(other_end, threads), daemon=True)
        self._process.start()
        other_end.close()
        self._connection.send((config, chunks.numpy(), device))

    def run(self, steps: int) -> None:
        """Do `steps` steps; raises EOFError where the process ended."""
        self._connection.send(steps)
        self._connection.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # where it has ended, `run` has said so
            self._connection.send(None)
        self._process.join(PATIENCE_S)
        self._process.terminate()


def _serve(connection: Connection, threads: int) -> None:
    """Do as many steps as the other end asks for, until it sends None."""
    torch.set_num_threads(threads)
    config, chunks, device = connection.recv()
    loop = PlainLoop(config, torch.from_numpy(chunks), device)
    while (steps := connection.recv()) is not None:
        loop.run(steps)
        connection.send(steps)


class PlainLoop:
    """What one writes first."""

    def __init__(self, config: TrainConfig, chunks: Tensor, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self._device = device
        self._clip = config.grad_clip
        self._model = _with_plain_convolutions(ConvVAE(config.model())).to(device)
        self._objective = make_objective(config)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._loader = DataLoader(TensorDataset(chunks), batch_size=BATCH, shuffle=True, drop_last=True)
        self._batches = self._forever()
        self.history: list[tuple[float, float, float]] = []

    def run(self, steps: int) -> None:
        """Do `steps` steps."""
        for _ in range(steps):
            batch = next(self._batches).to(self._device)
            self._model.train()
            reconstruction, mu, logvar = self._model(batch)
            loss, error, kl = self._objective(reconstruction, batch, mu, logvar, 1.0)
            self._optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
            self._optimizer.step()
            self.history.append((loss.item(), error.item(), kl.item()))

    def _forever(self) -> Iterator[Tensor]:
        while True:
            for (batch,) in self._loader:
                yield batch


def _fixed_chunks(training: Training) -> Tensor:
    """The training's chunks as they are, scaled, [chunks, C, M, T] in the machine's memory; 256 or more."""
    grid = training.grid
    batch = training.data.batch(training.data.fixed(grid), 0, len(grid), torch.contiguous_format).cpu()
    return batch.repeat(-(-256 // len(batch)), 1, 1, 1)


def _with_plain_convolutions(model: ConvVAE) -> ConvVAE:
    """The model with torch's own layers in place of ours, which are the same but for how they compute."""
    for blocks in (model.encoder.blocks, model.decoder.blocks):
        for index, layer in enumerate(blocks):
            if isinstance(layer, HalvingConv):
                blocks[index] = nn.Conv2d(layer.in_channels, layer.out_channels, 3, stride=2, padding=1)
            elif isinstance(layer, DoublingConv):
                blocks[index] = nn.ConvTranspose2d(
                    layer.in_channels, layer.out_channels, 3, stride=2, padding=1, output_padding=1
                )
    return model
