"""The frequency channel: what it says about pure tones, and the way back."""

from __future__ import annotations

import math

import pytest
import torch

from shared.audio.instantaneous_frequency import MelInstantaneousFrequency
from shared.config import SpectrogramConfig

BIN_HZ = 48_000 / 2048

DEVIATION_TOLERANCE = 0.01
"""A steady tone against its own frequency, as a share of the largest deviation (0.5 Hz)."""

BROAD_TOLERANCE = 0.03
"""A tone amid a broad band (1.4 Hz): its window spreads evenly to both sides, but the band's slope weighs them."""

CHIRP_TOLERANCE = 0.02
"""A chirp against its frequency midway between two frames (1 Hz): within a window it moves by several Hz."""

PARTIALS_TOLERANCE = 0.02
"""Two partials against their windows' exact lobes: what little they share of their side lobes is left out."""

PITCH_TOLERANCE_HZ = {234.0: 2.0, 1_000.0: 1.5 * BIN_HZ}
"""Strongest frequency of a tone after the round trip. Low bands hold one or two bins and name the tone exactly;
above about 500 Hz a band holds several and names the middle of its energy."""


@pytest.fixture(scope="module")
def transform() -> MelInstantaneousFrequency:
    return MelInstantaneousFrequency()


def tone(hz: float, samples: int = 24_000, amplitude: float = 1.0) -> torch.Tensor:
    time = torch.arange(samples, dtype=torch.float64) / 48_000
    return (amplitude * torch.sin(2 * torch.pi * hz * time)).float()[None, None]


@pytest.fixture(scope="module")
def narrow_transform() -> MelInstantaneousFrequency:
    """512 bands, of which many hold one bin alone."""
    return MelInstantaneousFrequency(SpectrogramConfig(n_mels=512))


def narrow_bands(transform: MelInstantaneousFrequency) -> list[tuple[int, int]]:
    """(band, bin) of the bands that hold one bin alone, where the value must be that bin's."""
    bank = transform.filterbank
    return [(band, int(bank[band].argmax())) for band in range(len(bank)) if int((bank[band] > 0).sum()) == 1]


def test_shape_and_ranges(transform: MelInstantaneousFrequency, harmonic_sound: torch.Tensor):
    features = transform.waveform_to_mel_if(harmonic_sound.repeat(2, 1, 1))
    assert features.shape == (2, 2, 128, 94)
    assert (features[:, 0] >= 0).all()
    assert (features[:, 1].abs() <= 1).all()
    assert not features[:, 1, :, 0].any()


@pytest.mark.parametrize("offset", [-1.5, -1.0, -0.5, -0.1, 0.0, 0.25, 0.5, 1.0, 1.5])
def test_a_pure_tone_deviates_by_its_distance_from_the_bin(narrow_transform: MelInstantaneousFrequency, offset: float):
    # Two bins are the largest deviation at a hop of a quarter window: 46.875 Hz.
    bands = [(band, own_bin) for band, own_bin in narrow_bands(narrow_transform) if own_bin >= 10][::8]
    assert len(bands) >= 3
    for band, own_bin in bands:
        features = narrow_transform.waveform_to_mel_if(tone((own_bin + offset) * BIN_HZ))
        value = features[0, 1, band, 5:-5]
        assert value.tolist() == pytest.approx([offset / 2] * len(value), abs=DEVIATION_TOLERANCE)


@pytest.mark.parametrize("hz", [6_000.0, 10_003.0])
def test_a_tone_amid_a_broad_band_does_not_deviate(transform: MelInstantaneousFrequency, hz: float):
    features = transform.waveform_to_mel_if(tone(hz))
    band = int(features[0, 0, :, 20].argmax())
    assert features[0, 1, band, 5:-5].abs().max().item() < BROAD_TOLERANCE


def test_a_chirp_is_followed(narrow_transform: MelInstantaneousFrequency):
    band, own_bin = next(each for each in narrow_bands(narrow_transform) if each[1] >= 20)
    # 60 Hz in a second, from 30 Hz below the bin to 30 Hz above it: past what one bin alone could tell.
    time = torch.arange(48_000, dtype=torch.float64) / 48_000
    hz = own_bin * BIN_HZ - 30.0 + 60.0 * time
    chirp = torch.sin(2 * torch.pi * torch.cumsum(hz / 48_000, dim=0)).float()[None, None]
    value = narrow_transform.waveform_to_mel_if(chirp)[0, 1, band]
    frames = torch.arange(4, 90)
    midway = (frames - 0.5) * 512 / 48_000
    expected = (60.0 * midway - 30.0) / (48_000 / 1_024)
    assert value[frames].tolist() == pytest.approx(expected.tolist(), abs=CHIRP_TOLERANCE)


def lobe(bins: torch.Tensor) -> torch.Tensor:
    """Magnitude of a Hann window's spectrum `bins` away from its middle, 1 there."""
    return torch.sinc(bins) / (1 - bins.square())


@pytest.mark.parametrize("weak", [0.5, 0.1, 0.0])
def test_two_partials_in_a_band_speak_by_their_energy(transform: MelInstantaneousFrequency, weak: float):
    # A band of a dozen bins, with one partial on each slope, both between two bins. The quiet bins turn by anything:
    # a mean that counts each bin alike lies elsewhere.
    weights = transform.filterbank[100].double()
    covered = weights.nonzero()[:, 0]
    assert len(covered) >= 12
    bins = torch.arange(len(weights))
    at = (float(covered[2]) + 0.3, float(covered[-4]) + 0.3)
    features = transform.waveform_to_mel_if(
        tone(at[0] * BIN_HZ, 24_000, 0.5) + tone(at[1] * BIN_HZ, 24_000, 0.5 * weak)
    )
    turns = torch.zeros((), dtype=torch.complex128)
    for place, amplitude in zip(at, (1.0, weak), strict=True):
        away = place - bins.double()
        energy = weights * (amplitude * lobe(away)).square()
        turns = turns + (energy * torch.polar(torch.ones_like(away), torch.pi / 2 * away)).sum()
    expected = float(turns.angle()) / math.pi
    value = features[0, 1, 100, 5:-5]
    assert value.tolist() == pytest.approx([expected] * len(value), abs=PARTIALS_TOLERANCE)


def test_level_does_not_change_the_frequency(transform: MelInstantaneousFrequency, harmonic_sound: torch.Tensor):
    loud = transform.waveform_to_mel_if(harmonic_sound)
    quiet = transform.waveform_to_mel_if(harmonic_sound / 4)
    # Equal but for cells that rounding moves across the threshold; a quarter is exact in binary.
    torch.testing.assert_close(loud[:, 1], quiet[:, 1], atol=1e-4, rtol=0)


def test_below_the_threshold_the_frequency_is_silent(harmonic_sound: torch.Tensor):
    transform = MelInstantaneousFrequency(mask_threshold=0.1)
    features = transform.waveform_to_mel_if(harmonic_sound)
    magnitude = torch.expm1(features[0, 0])
    quiet = magnitude < 0.0999 * magnitude.max()
    assert quiet.any()
    assert not features[0, 1][quiet].any()
    assert features[0, 1][~quiet].any()


def test_long_sounds_are_continuous_across_pieces(monkeypatch: pytest.MonkeyPatch, harmonic_sound: torch.Tensor):
    transform = MelInstantaneousFrequency()
    whole = transform.waveform_to_mel_if(harmonic_sound)
    monkeypatch.setattr("shared.audio.fourier.BLOCK_FRAMES", 7)
    torch.testing.assert_close(transform.waveform_to_mel_if(harmonic_sound), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hz", [234.0, 1_000.0])
def test_a_tone_comes_back_at_its_pitch(transform: MelInstantaneousFrequency, hz: float):
    waveform = transform.mel_if_to_waveform(transform.waveform_to_mel_if(tone(hz, 48_000)), 48_000)
    spectrum = torch.fft.rfft(waveform[0, 0] * torch.hann_window(48_000)).abs()
    assert abs(int(spectrum.argmax()) - hz) <= PITCH_TOLERANCE_HZ[hz]


@pytest.mark.parametrize("shift", [-0.1, 0.1])
def test_the_frequency_channel_moves_the_pitch(transform: MelInstantaneousFrequency, shift: float):
    features = transform.waveform_to_mel_if(tone(234.0, 48_000))
    features[:, 1] += shift
    waveform = transform.mel_if_to_waveform(features, 48_000, iterations=0)
    spectrum = torch.fft.rfft(waveform[0, 0] * torch.hann_window(48_000)).abs()
    assert int(spectrum.argmax()) == pytest.approx(234.0 + shift * 48_000 / 1_024, abs=PITCH_TOLERANCE_HZ[234.0])


@pytest.mark.parametrize("num_samples", [None, 0, 1, 2_048, 2_560, 9_999])
def test_num_samples_is_exact(transform: MelInstantaneousFrequency, num_samples: int | None):
    waveform = transform.mel_if_to_waveform(torch.rand(2, 2, 128, 5), num_samples, iterations=1)
    assert waveform.shape == (2, 1, 2_048 if num_samples is None else num_samples)


@pytest.mark.parametrize("value", [-5.0, 500.0, math.nan, math.inf, -math.inf])
def test_whatever_a_model_gives_stays_finite(transform: MelInstantaneousFrequency, value: float):
    waveform = transform.mel_if_to_waveform(torch.full((1, 2, 128, 6), value), iterations=2)
    assert torch.isfinite(waveform).all()
