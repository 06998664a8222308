"""The first phase: what magnitudes say about frequencies and times, and how a sound begins."""

from __future__ import annotations

import math

import pytest
import torch

from shared.audio.fourier import FourierFrames
from shared.audio.phase import first_phase, frequency_offsets, log_magnitude

N_FFT, HOP = 2048, 512

OFFSET_TOLERANCE = 0.1
"""Bins: a Hann window is not quite a Gaussian one."""

CLICK_SAMPLES = 256
"""Around a click, in which most of its sound must be: half a hop. Its frames last for four hops."""

LARGEST_BEGINNING = 2.0
"""A sound's first samples against its loudest ones elsewhere."""


@pytest.fixture(scope="module")
def fourier() -> FourierFrames:
    return FourierFrames(N_FFT, HOP)


def rebuild(fourier: FourierFrames, magnitude: torch.Tensor, num_samples: int) -> torch.Tensor:
    """[num_samples] from `magnitude` [F, T] and its first phase alone."""
    log = log_magnitude(magnitude)
    phase = first_phase(magnitude, log, frequency_offsets(log), n_fft=N_FFT, hop_length=HOP)
    return fourier.synthesise(torch.polar(magnitude, phase)[None], num_samples)[0]


@pytest.mark.parametrize("offset", [-0.5, -0.2, 0.0, 0.3, 0.5])
def test_a_tone_between_two_bins_is_found_there(fourier: FourierFrames, offset: float):
    time = torch.arange(20_000, dtype=torch.float64)
    tone = torch.sin(2 * torch.pi * (100 + offset) / N_FFT * time).float()
    offsets = frequency_offsets(log_magnitude(fourier.analyse(tone[None])[0].abs()))
    assert offsets[100, 5:-5].tolist() == pytest.approx([offset] * (offsets.shape[1] - 10), abs=OFFSET_TOLERANCE)
    # Its neighbours say the same of the same tone.
    assert offsets[101, 5:-5].tolist() == pytest.approx([offset - 1] * (offsets.shape[1] - 10), abs=0.5)


@pytest.mark.parametrize("hz", [440.0, 3_000.0])
def test_a_tone_keeps_its_frequency_over_a_long_time(fourier: FourierFrames, hz: float):
    samples = 10 * 48_000
    tone = torch.sin(2 * torch.pi * hz * torch.arange(samples, dtype=torch.float64) / 48_000).float()
    rebuilt = rebuild(fourier, fourier.analyse(tone[None])[0].abs(), samples)
    spectrum = torch.fft.rfft(rebuilt * torch.hann_window(samples)).abs()
    # Bins of a tenth of a Hz; the tone may be off by a tenth of the transform's own bins.
    assert abs(int(spectrum.argmax()) / 10 - hz) < OFFSET_TOLERANCE * 48_000 / N_FFT


@pytest.mark.parametrize("position", [9_800, 9_900, 10_100])
def test_a_click_stays_one(fourier: FourierFrames, position: int):
    click = torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * 1e-4
    click[position] = 1.0
    rebuilt = rebuild(fourier, fourier.analyse(click[None])[0].abs(), 20_000)
    near = rebuilt[position - CLICK_SAMPLES : position + CLICK_SAMPLES].square().sum()
    assert near > 0.7 * rebuilt.square().sum()


def test_a_sound_cut_out_of_another_does_not_begin_with_a_click(fourier: FourierFrames):
    generator = torch.Generator().manual_seed(0)
    hz, turns = 10_000 * torch.rand(100, 1, generator=generator), torch.rand(100, 1, generator=generator)
    tones = torch.sin(2 * torch.pi * (hz * torch.arange(48_000) / 48_000 + turns)).sum(dim=0)
    magnitude = fourier.analyse(tones[None])[0].abs()[:, 20:60]
    rebuilt = rebuild(fourier, magnitude, 39 * HOP)
    assert rebuilt[:256].abs().max() < LARGEST_BEGINNING * rebuilt[N_FFT:].abs().max()


def test_it_is_always_the_same_and_leaves_random_numbers_alone():
    magnitude = torch.rand(1_025, 9, generator=torch.Generator().manual_seed(0))
    log = log_magnitude(magnitude)

    def phase() -> torch.Tensor:
        return first_phase(magnitude, log, frequency_offsets(log), n_fft=N_FFT, hop_length=HOP)

    first = phase()
    state = torch.get_rng_state()
    assert torch.equal(phase(), first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("level", [0.0, 1e-30, 1e15])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_every_level_and_length_has_a_phase(level: float, frames: int):
    magnitude = torch.full((33, frames), level)
    log = log_magnitude(magnitude)
    phase = first_phase(magnitude, log, frequency_offsets(log), n_fft=64, hop_length=48)
    assert phase.shape == magnitude.shape
    assert torch.isfinite(phase).all()
    assert (phase.abs() <= 2 * math.pi).all()
