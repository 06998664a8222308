"""Short-time Fourier transform of centred frames and its least-squares inverse.

    waveform [B, S]  --analyse-->  spectrum [B, F, T]  --synthesise-->  waveform [B, S]

F = n_fft // 2 + 1 bins, T = S // hop_length + 1 frames, periodic Hann window, no normalisation: a full-scale
sine has the magnitude n_fft / 4 in its bin. The inverse overlaps and adds windowed frames and divides by the
summed squared windows (Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984).
It takes every hop up to the window's length: samples that no window covers come out as silence.

In memory a spectrum lies frame by frame, [B, T, F] seen from its other side: so every transform reads and writes
neighbouring values, and what is computed from it value by value stays that way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

# MKL's vector functions set themselves up at their first call in a process. Where two threads make it at once, one of
# them computes its share with half of the digits: with torch 2.13.0 every third process began with a window that was
# off by 7.6e-5, and so were its features. So one thread calls first, before anything here is computed by several.
torch.ones(1).cos_()

BLOCK_FRAMES: Final = 64
"""Frames that `blocks` transforms at a time: 0.5 MB of spectrum at n_fft 2048, which a core's cache holds."""

_SMALLEST_ENVELOPE: Final = 1e-8
"""Below this sum of squared windows a sample is taken as uncovered."""


class FourierFrames(nn.Module):
    """The transform for one pair of `n_fft` and `hop_length`, in samples."""

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self._latest_weights: tuple[int, Tensor] | None = None
        """Of the latest number of frames: phase recovery asks for the same ones again and again."""

    def analyse(self, waveform: Tensor) -> Tensor:
        """Complex spectrum [B, F, T] of `waveform` [B, S], float32, S >= 1.

        The edges are mirrored, as is usual; a sound too short to be mirrored is surrounded by silence.
        """
        return self.transform(self._pad(waveform))

    def blocks(self, waveform: Tensor) -> Iterator[Tensor]:
        """The same spectrum in pieces [B, F, at most BLOCK_FRAMES] in order: an hour of sound fits into memory."""
        frames = waveform.shape[-1] // self.hop_length + 1
        padded = self._pad(waveform)
        for start in range(0, frames, BLOCK_FRAMES):
            stop = min(frames, start + BLOCK_FRAMES)
            yield self.transform(padded[:, start * self.hop_length : (stop - 1) * self.hop_length + self.n_fft])

    def _pad(self, waveform: Tensor) -> Tensor:
        """[B, S] to [B, (T - 1) * hop_length + n_fft]: frame t covers n_fft samples from t * hop_length on."""
        before, after = self.n_fft // 2, self.n_fft - self.n_fft // 2
        samples = waveform.shape[-1]
        if samples > after:
            # Mirrored by hand: torch's own padding takes three times as long.
            mirrored = waveform[:, 1 : before + 1].flip(1), waveform, waveform[:, -after - 1 : -1].flip(1)
            padded = torch.cat(mirrored, dim=1)
        else:
            padded = functional.pad(waveform, (before, after))
        return padded[:, : (samples // self.hop_length) * self.hop_length + self.n_fft]

    def transform(self, padded: Tensor) -> Tensor:
        """Complex spectrum [B, F, T] of samples [B, P] as they are, T = (P - n_fft) // hop_length + 1, P >= n_fft."""
        frames = padded.unfold(-1, self.n_fft, self.hop_length) * self.window
        return torch.fft.rfft(frames).mT

    def synthesise(self, spectrum: Tensor, num_samples: int) -> Tensor:
        """Waveform [B, num_samples], float32, whose spectrum is nearest to `spectrum` [B, F, T]."""
        segments = torch.fft.irfft(spectrum.mT, n=self.n_fft).mul_(self.window)
        waveform = self._overlap_add(segments) * self._weights(spectrum.shape[-1])
        start = self.n_fft // 2
        waveform = waveform[:, start : start + num_samples]
        return functional.pad(waveform, (0, num_samples - waveform.shape[-1]))

    def _weights(self, frames: int) -> Tensor:
        """[(T - 1) * hop_length + n_fft]: one by the summed squared windows, 0 where no window covers a sample."""
        latest = self._latest_weights
        if latest is None or latest[0] != frames or latest[1].device != self.window.device:
            envelope = self._overlap_add(self.window.square().expand(1, frames, self.n_fft))[0]
            weights = torch.where(envelope > _SMALLEST_ENVELOPE, 1 / envelope.clamp_min(_SMALLEST_ENVELOPE), 0.0)
            self._latest_weights = latest = frames, weights
        return latest[1]

    def _overlap_add(self, segments: Tensor) -> Tensor:
        """[B, T, n_fft] to [B, (T - 1) * hop_length + n_fft]: piece i of every frame, a hop long, is added at once."""
        batch, frames, n_fft = segments.shape
        pieces = -(-n_fft // self.hop_length)
        if pieces * self.hop_length > n_fft:
            segments = functional.pad(segments, (0, pieces * self.hop_length - n_fft))
        segments = segments.reshape(batch, frames, pieces, self.hop_length)
        added = segments.new_zeros(batch, frames + pieces - 1, self.hop_length)
        for piece in range(pieces):
            added[:, piece : piece + frames] += segments[:, :, piece]
        return added.flatten(1)[:, : (frames - 1) * self.hop_length + n_fft]
