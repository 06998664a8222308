"""Short-time Fourier transform of centred frames and its least-squares inverse.

    waveform [B, S]  --analyse-->  spectrum [B, F, T]  --synthesise-->  waveform [B, S]

F = n_fft // 2 + 1 bins, T = S // hop_length + 1 frames, periodic Hann window, no normalisation: a full-scale
sine has the magnitude n_fft / 4 in its bin. The inverse overlaps and adds windowed frames and divides by the
summed squared windows (Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984).
It takes every hop up to the window's length: samples that no window covers come out as silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK_FRAMES: Final = 4096
"""Frames that `blocks` transforms at a time: 34 MB of spectrum at n_fft 2048."""

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

    def analyse(self, waveform: Tensor) -> Tensor:
        """Complex spectrum [B, F, T] of `waveform` [B, S], float32, S >= 1.

        The edges are mirrored, as is usual; a sound too short to be mirrored is surrounded by silence.
        """
        return self._transform(self._pad(waveform))

    def blocks(self, waveform: Tensor) -> Iterator[Tensor]:
        """The same spectrum in pieces [B, F, at most BLOCK_FRAMES] in order: an hour of sound fits into memory."""
        frames = waveform.shape[-1] // self.hop_length + 1
        padded = self._pad(waveform)
        for start in range(0, frames, BLOCK_FRAMES):
            stop = min(frames, start + BLOCK_FRAMES)
            yield self._transform(padded[:, start * self.hop_length : (stop - 1) * self.hop_length + self.n_fft])

    def _pad(self, waveform: Tensor) -> Tensor:
        """[B, S] to [B, (T - 1) * hop_length + n_fft]: frame t covers n_fft samples from t * hop_length on."""
        half = self.n_fft // 2
        samples = waveform.shape[-1]
        mode = "reflect" if samples > self.n_fft - half else "constant"
        padded = functional.pad(waveform.unsqueeze(1), (half, self.n_fft - half), mode=mode).squeeze(1)
        return padded[:, : (samples // self.hop_length) * self.hop_length + self.n_fft]

    def _transform(self, padded: Tensor) -> Tensor:
        return torch.stft(
            padded, self.n_fft, self.hop_length, window=self.window, center=False, onesided=True, return_complex=True
        )

    def synthesise(self, spectrum: Tensor, num_samples: int) -> Tensor:
        """Waveform [B, num_samples], float32, whose spectrum is nearest to `spectrum` [B, F, T]."""
        frames = spectrum.shape[-1]
        segments = torch.fft.irfft(spectrum, n=self.n_fft, dim=1) * self.window[:, None]
        squared = self.window.square()[None, :, None].expand(1, self.n_fft, frames)
        waveform = self._overlap_add(segments)
        envelope = self._overlap_add(squared)
        covered = envelope > _SMALLEST_ENVELOPE
        waveform = torch.where(covered, waveform / envelope.clamp_min(_SMALLEST_ENVELOPE), 0.0)
        start = self.n_fft // 2
        waveform = waveform[:, start : start + num_samples]
        return functional.pad(waveform, (0, num_samples - waveform.shape[-1]))

    def _overlap_add(self, segments: Tensor) -> Tensor:
        """[B, n_fft, T] to [B, (T - 1) * hop_length + n_fft]."""
        length = (segments.shape[-1] - 1) * self.hop_length + self.n_fft
        folded = functional.fold(segments, (1, length), (1, self.n_fft), stride=(1, self.hop_length))
        return folded[:, 0, 0]
