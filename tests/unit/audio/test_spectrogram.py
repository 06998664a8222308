"""Shapes, values and inversion of the mel spectrogram."""

from __future__ import annotations

import math

import pytest
import torch

from shared.audio.fourier import BLOCK_FRAMES, FourierFrames
from shared.audio.griffin_lim import griffin_lim
from shared.audio.mel import BandSums, MelInverse, SparseProduct, mel_filterbank
from shared.audio.spectrogram import AudioSpectrogram
from shared.audio.torchaudio_compat import import_torchaudio
from shared.config import SpectrogramConfig

RELATIVE = 1e-4
"""float32 sums of a thousand bins in another order."""

TONE_LOG_TOLERANCE = 0.02
"""The window spreads a tone over the bins of a band or two, within 2 % of its power."""

INVERSE_DB = 0.5
"""Mel values after 30 multiplicative updates against the wanted ones, root mean square in dB."""

PRODUCT_TOLERANCE = 1e-5
"""Sums of a hundred float32 products in another order."""

RECONSTRUCTION = 1e-5
"""Waveform after an exact spectrum: float32 rounding of overlapping frames."""


@pytest.fixture(scope="module")
def transform() -> AudioSpectrogram:
    return AudioSpectrogram()


def test_the_numbers_of_the_default_configuration(transform: AudioSpectrogram):
    config = transform.config
    assert (config.sample_rate, config.n_fft, config.hop_length, config.n_mels) == (48_000, 2048, 512, 128)
    assert (config.f_min, config.f_max_hz) == (0.0, 24_000.0)
    assert tuple(transform.filterbank.shape) == (128, 1025)


def test_one_second_is_128_by_94(transform: AudioSpectrogram):
    assert transform.waveform_to_mel(torch.zeros(3, 1, 48_000)).shape == (3, 1, 128, 94)
    assert transform.get_mel_shape(48_000) == (128, 94)


@pytest.mark.parametrize("samples", [1, 511, 512, 1_024, 1_025, 2_047, 2_048, 47_616, 47_615, 50_001])
def test_frames_are_samples_over_hop_plus_one(transform: AudioSpectrogram, samples: int):
    mel = transform.waveform_to_mel(torch.randn(1, 1, samples, generator=torch.Generator().manual_seed(0)))
    assert mel.shape[-1] == samples // 512 + 1
    assert transform.get_mel_shape(samples) == tuple(mel.shape[-2:])
    assert torch.isfinite(mel).all()
    assert (mel >= 0).all()


def test_94_frames_alone_give_47616_samples(transform: AudioSpectrogram):
    mel = torch.ones(2, 1, 128, 94)
    assert transform.mel_to_waveform(mel, iterations=1).shape == (2, 1, 47_616)


@pytest.mark.parametrize("num_samples", [0, 1, 47_615, 47_616, 48_000, 48_127, 48_128, 60_000])
def test_num_samples_is_exact(transform: AudioSpectrogram, num_samples: int):
    waveform = transform.mel_to_waveform(torch.ones(1, 1, 128, 94), num_samples, iterations=1)
    assert waveform.shape == (1, 1, num_samples)
    assert torch.isfinite(waveform).all()


def test_it_is_torchaudios_mel_spectrogram(transform: AudioSpectrogram, harmonic_sound: torch.Tensor):
    reference = import_torchaudio().transforms.MelSpectrogram(
        sample_rate=48_000, n_fft=2048, hop_length=512, n_mels=128, power=2.0
    )
    expected = torch.log1p(reference(harmonic_sound))
    torch.testing.assert_close(transform.waveform_to_mel(harmonic_sound), expected, rtol=RELATIVE, atol=RELATIVE)


def test_a_full_scale_sine_has_the_power_of_its_window(transform: AudioSpectrogram):
    time = torch.arange(48_000) / 48_000
    mel = transform.waveform_to_mel(torch.sin(2 * torch.pi * 6_000.0 * time)[None, None])
    # Hann sums to n_fft / 2, half of it goes to each side of the spectrum, and its energy spreads over 1.5 bins.
    band_power = torch.expm1(mel[0, 0, :, 47]).sum().item()
    covered = float(transform.filterbank.sum(dim=0)[256])
    assert math.log(band_power) == pytest.approx(math.log(1.5 * (2048 / 4) ** 2 * covered), abs=TONE_LOG_TOLERANCE)


def test_long_sounds_are_analysed_in_equal_pieces():
    fourier = FourierFrames(64, 16)
    waveform = torch.randn(2, (BLOCK_FRAMES + 30) * 16, generator=torch.Generator().manual_seed(0))
    pieces = list(fourier.blocks(waveform))
    assert [piece.shape[-1] for piece in pieces] == [BLOCK_FRAMES, 31]
    torch.testing.assert_close(torch.cat(pieces, dim=-1), fourier.analyse(waveform))


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (512, 300), (65, 16), (64, 63)])
def test_an_exact_spectrum_gives_the_waveform_back(n_fft: int, hop: int):
    fourier = FourierFrames(n_fft, hop)
    waveform = torch.randn(2, 5_000, generator=torch.Generator().manual_seed(0))
    rebuilt = fourier.synthesise(fourier.analyse(waveform), 5_000)
    # A hop beyond half of the window leaves the last samples to a frame that does not exist.
    whole = min(5_000, (5_000 // hop) * hop)
    torch.testing.assert_close(rebuilt[:, :whole], waveform[:, :whole], atol=RECONSTRUCTION * n_fft, rtol=0)


@pytest.mark.parametrize("batch", [(), (1,), (3,)])
def test_sparse_products_are_dense_ones(batch: tuple[int, ...]):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.rand(30, 50, generator=generator) * (torch.rand(30, 50, generator=generator) < 0.1)
    matrix[0], matrix[7], matrix[-1] = 0, 0, 0
    values = torch.randn(*batch, 9, 50, generator=generator).mT
    torch.testing.assert_close(SparseProduct(matrix)(values), matrix @ values, atol=PRODUCT_TOLERANCE, rtol=0)
    assert not SparseProduct(torch.zeros(30, 50))(values).any()


@pytest.mark.parametrize("n_mels", [16, 100, 512])
@pytest.mark.parametrize("batch", [(), (1,), (3,)])
def test_sums_of_bands_are_dense_products(n_mels: int, batch: tuple[int, ...]):
    bank = mel_filterbank(SpectrogramConfig(n_mels=n_mels))
    bank[:20] = 0  # a whole group that reaches nothing
    frames = torch.rand(*batch, 9, bank.shape[1], generator=torch.Generator().manual_seed(0))
    sums = BandSums(bank, group=16)(frames)
    torch.testing.assert_close(sums, frames @ bank.T, atol=PRODUCT_TOLERANCE, rtol=RELATIVE)
    assert not sums[..., :20].any()


@pytest.mark.parametrize("samples", [1, 32, 33, 34, 1_000])
def test_the_edges_are_mirrored_where_the_sound_is_long_enough(samples: int):
    fourier = FourierFrames(65, 16)
    waveform = torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    mode = "reflect" if samples > 33 else "constant"
    padded = torch.nn.functional.pad(waveform[:, None], (32, 33), mode=mode)[:, 0]
    expected = fourier.transform(padded[:, : samples // 16 * 16 + 65])
    torch.testing.assert_close(fourier.analyse(waveform), expected, rtol=0, atol=0)


@pytest.mark.parametrize("n_mels", [16, 128, 256, 512])
def test_the_inverse_reaches_the_mel_values_also_without_full_rank(n_mels: int, harmonic_sound: torch.Tensor):
    config = SpectrogramConfig(n_mels=n_mels)
    transform = AudioSpectrogram(config)
    mel = torch.expm1(transform.waveform_to_mel(harmonic_sound)[:, 0])
    linear = transform.inverse(mel, updates=30)
    assert linear.shape == (1, 1025, 94)
    assert torch.isfinite(linear).all()
    assert (linear >= 0).all()
    difference = torch.log10((transform.filterbank @ linear + 1e-2) / (mel + 1e-2)) * 10
    assert difference.square().mean().sqrt().item() < INVERSE_DB


@pytest.mark.parametrize(("updates", "db"), [(1, 8.0), (2, 4.5), (8, 0.5)])
def test_what_is_silent_stays_silent_in_the_inverse(transform: AudioSpectrogram, updates: int, db: float):
    mel = torch.zeros(1, 128, 6)
    mel[:, 40, 2:] = 5.0
    mel[:, 100, 2:] = 1e-14
    linear = transform.inverse(mel, updates=updates)
    assert (linear[:, :, :2] == 0).all()
    assert (linear[:, transform.filterbank[40] == 0] == 0).all()
    reached = transform.filterbank[40] @ linear[0, :, 2:]
    assert (10 * torch.log10(reached / 5.0)).abs().max() < db


def test_an_inverse_without_an_update_is_refused(transform: AudioSpectrogram):
    with pytest.raises(ValueError, match="one update"):
        transform.inverse(torch.ones(1, 128, 2), updates=0)


def test_few_updates_come_nearer_to_the_spectrum_than_least_squares(
    transform: AudioSpectrogram, harmonic_sound: torch.Tensor
):
    power = transform.spectrum(harmonic_sound).abs().square()
    mel = transform.filterbank @ power
    usual = import_torchaudio().transforms.InverseMelScale(n_stft=1025, n_mels=128, sample_rate=48_000)

    def distance(linear: torch.Tensor) -> float:
        return float((linear.sqrt() - power.sqrt()).norm() / power.sqrt().norm())

    assert distance(transform.inverse(mel)) < distance(usual(mel))


def test_512_bands_leave_some_empty():
    bank = mel_filterbank(SpectrogramConfig(n_mels=512))
    assert (bank.sum(dim=1) == 0).any()
    assert torch.isfinite(MelInverse(bank)(torch.ones(1, 512, 3))).all()


def test_bands_outside_the_configured_range_are_silent():
    transform = AudioSpectrogram(SpectrogramConfig(f_min=500.0, f_max=4_000.0))
    linear = transform.inverse(torch.ones(1, 128, 4))
    hz = torch.arange(1025) * 48_000 / 2048
    assert not linear[:, (hz < 500) | (hz > 4_000)].any()
    assert linear[:, (hz > 600) & (hz < 3_900)].all()


def test_griffin_lim_brings_the_spectrogram_closer(harmonic_sound: torch.Tensor):
    fourier = FourierFrames(1024, 256)
    waveform = harmonic_sound[0, :, :20_000]
    magnitude = fourier.analyse(waveform).abs()
    phase = 2 * torch.pi * torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(0))

    def inconsistency(iterations: int) -> float:
        rebuilt = griffin_lim(fourier, magnitude, phase, 20_000, iterations=iterations)
        return float((fourier.analyse(rebuilt).abs() - magnitude).norm() / magnitude.norm())

    assert inconsistency(32) < 0.5 * inconsistency(4) < 0.5 * inconsistency(0)


def test_the_same_features_sound_the_same(transform: AudioSpectrogram, harmonic_sound: torch.Tensor):
    mel = transform.waveform_to_mel(harmonic_sound[..., :10_000])
    torch.rand(7)
    assert torch.equal(transform.mel_to_waveform(mel, iterations=2), transform.mel_to_waveform(mel, iterations=2))


@pytest.mark.parametrize("value", [-5.0, 500.0, math.nan, math.inf, -math.inf])
def test_whatever_a_model_gives_stays_finite(transform: AudioSpectrogram, value: float):
    waveform = transform.mel_to_waveform(torch.full((1, 1, 128, 6), value), iterations=2)
    assert torch.isfinite(waveform).all()


@pytest.mark.parametrize("shape", [(1, 48_000), (1, 2, 48_000), (1, 1, 0)])
def test_other_shapes_are_refused(transform: AudioSpectrogram, shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"\[batch, 1, samples\]"):
        transform.waveform_to_mel(torch.zeros(shape))


def test_a_checkpoint_holds_nothing_of_it(transform: AudioSpectrogram):
    assert not transform.state_dict()
