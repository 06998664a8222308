"""A first phase for phase recovery, from magnitudes and, where they are known, frequencies.

    magnitude [F, T]  --log_magnitude-->  log  --frequency_offsets-->  offsets [F, T]
    log, offsets      --first_phase-->    phase [F, T]

For a Gaussian window the phase's slopes are the slopes of the log magnitude along the other axis, and the Hann window
is nearly Gaussian (Z. Prusa, P. Balazs and P. Sondergaard, "A noniterative method for reconstruction of phase from
STFT magnitude", IEEE/ACM TASLP 2017). With v = 0.0408 the window's variance, in squared windows,

    frequency of the sound in bin k  =  k + d log / dk / (4 pi**2 v)         in bins,
    its centre of energy in frame t  =  the frame's middle + v * d log / dt  in windows.

There the slopes are integrated along a path of their own for each cell. Here every bin turns on along time at its
frequency, and where its magnitude leaps up it takes its phase anew from the bins below it, so that the bins of an
onset start together.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

_VARIANCE: Final = 0.25645 / (2 * math.pi)
"""Of the Gaussian nearest to a Hann window, in squared windows."""

_LARGEST_OFFSET: Final = 1.0
"""Bins by which a frequency is taken to differ from its bin's own: beyond lies the next peak."""

_ONSET: Final = 2.0
"""An onset is where a magnitude is more than this many times that of the frame before."""

_QUIETEST: Final = 1e-5
"""-100 dB: magnitudes below this share of the loudest one have no slope."""

_GROUP: Final = 8
"""Bins that start with one sign: two main lobes of the window."""


def log_magnitude(magnitude: Tensor) -> Tensor:
    """Natural logarithm of `magnitude` [F, T] >= 0, limited below."""
    floor = (magnitude.amax() * _QUIETEST).clamp_min(torch.finfo(torch.float32).tiny)
    return magnitude.clamp_min(floor).log_()


def frequency_offsets(log: Tensor) -> Tensor:
    """By how many bins [F, T] the sound in each bin lies above the bin's own frequency, from log magnitudes."""
    offsets = torch.zeros_like(log)
    offsets[1:-1] = (log[2:] - log[:-2]).mul_(0.5 / (4 * math.pi**2 * _VARIANCE))
    return offsets.clamp_(-_LARGEST_OFFSET, _LARGEST_OFFSET)


def first_phase(magnitude: Tensor, log: Tensor, offsets: Tensor, *, n_fft: int, hop_length: int) -> Tensor:
    """Phase [F, T] in radians, whole turns left out, of `magnitude` [F, T] at the frequencies bin + `offsets`."""
    bins = torch.arange(magnitude.shape[0])[:, None]
    frames = torch.arange(magnitude.shape[1])
    # All in turns, and summed in float64: a long sound turns thousands of times.
    along_time = (offsets * (hop_length / n_fft)).cumsum(dim=1, dtype=torch.float64)
    own = torch.remainder(bins * hop_length, n_fft).double() / n_fft
    along_time.addcmul_(own, frames.double())
    onset = torch.zeros_like(magnitude, dtype=torch.bool)
    onset[:, 1:] = magnitude[:, 1:] > _ONSET * magnitude[:, :-1]
    latest = torch.where(onset, frames, 0).cummax(dim=1).values
    start = _across_frequency(log, n_fft, hop_length) - along_time
    turns = along_time.add_(start.gather(1, latest)).frac_()
    return turns.float().mul_(2 * torch.pi)


def _across_frequency(log: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Phase [F, T] in turns of bins that start together, each frame for itself."""
    later = torch.zeros_like(log)
    # Frame 0 is mirrored: its centre of energy is its middle. So is that of the last one, for want of a next.
    later[:, 1:-1] = (log[:, 2:] - log[:, :-2]).mul_(0.5 * _VARIANCE * n_fft / hop_length)
    later.clamp_(-0.5, 0.5)
    # A frame's samples count from its start, so energy in its middle turns each bin by half a window.
    steps = (later[1:] + later[:-1]).mul_(-0.5).sub_((n_fft // 2) / n_fft)
    phase = torch.cat([torch.zeros_like(log[:1]), steps.cumsum(dim=0)])
    phase[:, 0] += _signs(len(log))
    return phase


def _signs(bins: int) -> Tensor:
    """[F] of 0 and half a turn, always the same, one for each group of bins.

    A mirrored frame has a real spectrum, whose signs nobody knows. All alike they would begin every sound with a
    click, also one that was cut out of the middle of another.
    """
    generator = torch.Generator().manual_seed(0)
    groups = torch.randint(2, (-(-bins // _GROUP),), generator=generator)
    return groups.repeat_interleave(_GROUP)[:bins] * 0.5
