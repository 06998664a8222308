"""Both representations through their common interface: round trips without a model, and exact gain."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from shared.audio.representation import CHANNELS, ITERATIONS, Quality, RepresentationTransform, make_representation
from shared.config import FeatureConfig, Representation, SpectrogramConfig

REPRESENTATIONS: tuple[Representation, ...] = ("mel", "mel_if")

GAIN_TOLERANCE = 2e-5
"""expm1, one product and log1p in float32, on values up to 12."""

RANDOM_ITERATIONS = 64
"""Of phase recovery from random phases, as it is done elsewhere: what `fast` is held against."""

RANDOM_MARGIN = 1.15
"""By how much `fast` may be further from a synthetic sound than those: they differ as much from seed to seed."""

MORE_BANDS_MARGIN = 1.02
"""By how much a round trip through more bands may be worse; it is better by far."""

LARGEST_DISTANCE_DB: dict[Representation, float] = {"mel": 4.7, "mel_if": 4.0}
"""Round trip of real sounds without a model, with inversion by least squares and 32 Griffin-Lim iterations for
`mel` (4.7 dB), and with frequencies as the seed of a few iterations for `mel_if` (4.0 dB): not to be exceeded."""

QUIETEST = 1e-8
"""-80 dB: power below this share of the loudest cell counts as that much."""


def transform(representation: Representation, **changes: int) -> RepresentationTransform:
    spectrogram = SpectrogramConfig(**changes)
    return make_representation(FeatureConfig(representation=representation, spectrogram=spectrogram))


def log_spectral_distance_db(wanted: torch.Tensor, reached: torch.Tensor) -> float:
    """Root mean square over 1025 bins of the difference in dB, averaged over frames of 2048 samples."""

    def power(waveform: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(2048)
        return torch.stft(waveform[:, 0], 2048, 512, window=window, return_complex=True).abs().square()

    floor = power(wanted).max() * QUIETEST
    difference = 10 * torch.log10(power(wanted).clamp_min(floor) / power(reached).clamp_min(floor))
    return float(difference.square().mean(dim=1).sqrt().mean())


def struck_string() -> torch.Tensor:
    """[1, 1, 36000]: partials of 110 Hz that die away, the higher the sooner, after a burst of noise."""
    time = torch.arange(36_000) / 48_000
    sound = torch.zeros(36_000)
    for n in range(1, 40):
        sound += torch.sin(2 * torch.pi * 110.0 * n * time * (1 + 1e-4 * n * n)) * torch.exp(-(2 + 0.5 * n) * time) / n
    noise = torch.randn(36_000, generator=torch.Generator().manual_seed(3))
    sound += 0.3 * noise * torch.exp(-60 * time) + 0.001 * noise
    return (sound / sound.abs().max())[None, None]


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_channels_and_shape(representation: Representation):
    made = transform(representation)
    features = made.analyse(torch.rand(2, 1, 48_000) - 0.5)
    assert made.channels == CHANNELS[representation] == features.shape[1]
    assert features.shape[2:] == (128, 94)
    assert features.dtype == torch.float32


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("quality", ["fast", "best"])
def test_the_round_trip_keeps_the_sound(representation: Representation, quality: Quality):
    made = transform(representation)
    sound = struck_string()
    rebuilt = made.synthesise(made.analyse(sound), sound.shape[-1], quality=quality)
    assert rebuilt.shape == sound.shape
    assert log_spectral_distance_db(sound, rebuilt) < LARGEST_DISTANCE_DB[representation]


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(torch.zeros(1, 1, 3_000), id="silence"),
        pytest.param(torch.ones(1, 1, 3_000), id="constant"),
        pytest.param(torch.rand(1, 1, 1), id="one sample"),
        pytest.param(torch.rand(1, 1, 300), id="less than a hop"),
        pytest.param(torch.rand(1, 1, 1_024), id="half a window"),
        pytest.param(torch.eye(1, 3_000)[None], id="impulse"),
    ],
)
def test_round_trips_are_finite_and_of_exact_length(representation: Representation, sound: torch.Tensor):
    made = transform(representation)
    features = made.analyse(sound)
    rebuilt = made.synthesise(features, sound.shape[-1])
    assert torch.isfinite(features).all()
    assert torch.isfinite(rebuilt).all()
    assert rebuilt.shape == sound.shape
    if not sound.any():
        assert not rebuilt.any()


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize(
    "changes",
    [{"n_mels": 512}, {"n_mels": 16}, {"hop_length": 2048}, {"hop_length": 700}, {"n_fft": 64, "hop_length": 16}],
)
def test_other_configurations_work(representation: Representation, changes: dict[str, int]):
    made = transform(representation, **changes)
    sound = struck_string()[..., :9_000]
    features = made.analyse(sound)
    config = SpectrogramConfig(**changes)
    assert features.shape == (1, made.channels, config.n_mels, config.frames(9_000))
    rebuilt = made.synthesise(features, 9_000)
    assert rebuilt.shape == sound.shape
    assert torch.isfinite(rebuilt).all()


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("n_mels", [16, 128, 512])
def test_bands_that_contradict_each_other_still_sound(representation: Representation, n_mels: int):
    made = transform(representation, n_mels=n_mels)
    cells = torch.rand(1, made.channels, n_mels, 6, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(made.synthesise(torch.where(cells < 0.5, 500.0, 0.0))).all()


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("db", [-40.0, -6.0, 0.0, 6.0])
def test_gain_is_exactly_the_features_of_the_louder_sound(representation: Representation, db: float):
    made = transform(representation)
    sound = struck_string()
    expected = made.analyse(sound * 10 ** (db / 20))
    torch.testing.assert_close(made.gain(made.analyse(sound), db), expected, atol=GAIN_TOLERANCE, rtol=GAIN_TOLERANCE)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_each_example_takes_its_own_gain(representation: Representation):
    made = transform(representation)
    features = made.analyse(struck_string()[..., :5_000].repeat(3, 1, 1))
    each = made.gain(features, torch.tensor([-6.0, 0.0, 3.0]))
    for row, db in enumerate((-6.0, 0.0, 3.0)):
        torch.testing.assert_close(each[row], made.gain(features[row], db))
    torch.testing.assert_close(each[1], features[1])


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_each_band_takes_its_own_gain(representation: Representation):
    made = transform(representation)
    features = made.analyse(struck_string()[..., :5_000].repeat(2, 1, 1))
    db = torch.zeros(2, 128)
    db[1, 40:60] = -6.0
    changed = made.gain(features, db)
    torch.testing.assert_close(changed[0], features[0])
    torch.testing.assert_close(changed[1, 0, 40:60], made.gain(features, -6.0)[1, 0, 40:60])
    torch.testing.assert_close(changed[1, 0, :40], features[1, 0, :40])


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_the_features_of_a_mix_are_those_of_the_sounds_together(representation: Representation):
    made = transform(representation)
    string = struck_string()
    noise = 0.05 * torch.randn(string.shape, generator=torch.Generator().manual_seed(8))
    together = made.analyse(string + noise)
    mixed = made.mix(made.analyse(string), made.analyse(noise))
    assert together.shape == mixed.shape
    # Phases add to the one or take from the other: cell by cell by chance, on average not at all.
    difference = together[:, 0] - mixed[:, 0]
    alone = together[:, 0] - made.analyse(string)[:, 0]
    assert abs(float(difference.mean())) < 0.1 * float(alone.mean())
    assert float(difference.square().mean()) < 0.1 * float(alone.square().mean())


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_a_mix_with_silence_changes_nothing_and_with_itself_the_level(representation: Representation):
    made = transform(representation)
    features = made.analyse(struck_string())
    torch.testing.assert_close(made.mix(features, torch.zeros_like(features)), features)
    twice = made.gain(features, 10 * math.log10(2.0))
    torch.testing.assert_close(made.mix(features, features), twice, atol=GAIN_TOLERANCE, rtol=GAIN_TOLERANCE)
    quieter = made.mix(features, made.gain(features, -9.0))
    mixed = made.mix(features, features, torch.tensor([[-9.0]]))
    torch.testing.assert_close(mixed, quieter, atol=GAIN_TOLERANCE, rtol=GAIN_TOLERANCE)


def test_the_frequency_of_a_mix_is_that_of_the_louder_sound():
    made = transform("mel_if")
    loud, quiet = torch.zeros(2, 1, 2, 128, 4).unbind()
    loud[:, 0], loud[:, 1], quiet[:, 0], quiet[:, 1] = 4.0, 0.5, 1.0, -0.5
    for mixed in (made.mix(loud, quiet), made.mix(quiet, loud)):
        assert mixed[:, 1].mean() == pytest.approx(0.5, abs=0.01)


def test_frequencies_do_not_change_with_gain():
    made = transform("mel_if")
    features = made.analyse(struck_string())
    assert torch.equal(made.gain(features, -12.0)[:, 1], features[:, 1])


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_a_sound_is_always_the_same_alone_and_in_a_batch(representation: Representation):
    made = transform(representation)
    sounds = struck_string()[..., :5_000].repeat(3, 1, 1) * torch.tensor([0.1, 1.0, 0.5])[:, None, None]
    features = made.analyse(sounds)
    together = made.synthesise(features, 5_000)
    assert torch.equal(features[2:], made.analyse(sounds[2:]))
    assert torch.equal(together[2:], made.synthesise(features[2:], 5_000))
    assert torch.equal(together, transform(representation).synthesise(features, 5_000))


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("n_mels", [256, 512])
def test_more_bands_keep_more_of_the_sound(representation: Representation, n_mels: int):
    sound = struck_string()

    def distance(bands: int) -> float:
        made = transform(representation, n_mels=bands)
        return log_spectral_distance_db(sound, made.synthesise(made.analyse(sound), sound.shape[-1]))

    assert distance(n_mels) < MORE_BANDS_MARGIN * distance(128)


def hits() -> torch.Tensor:
    """[1, 1, 36000]: three bursts of noise and tone that die away at once, in silence."""
    time = torch.arange(36_000) / 48_000
    noise = torch.randn(36_000, generator=torch.Generator().manual_seed(4))
    sound = torch.zeros(36_000)
    for start_s, hz in ((0.05, 180.0), (0.25, 2_500.0), (0.5, 700.0)):
        burst = torch.exp(-40 * (time - start_s)) * (noise + torch.sin(2 * torch.pi * hz * time))
        sound += torch.where(time >= start_s, burst, 0.0)
    return (sound / sound.abs().max())[None, None]


def chord() -> torch.Tensor:
    """[1, 1, 36000]: three steady tones of eleven partials."""
    time = torch.arange(36_000) / 48_000
    sound = torch.zeros(36_000)
    for hz in (220.0, 277.2, 329.6):
        for n in range(1, 12):
            sound += torch.sin(2 * torch.pi * hz * n * time + n) / n
    return (sound / sound.abs().max())[None, None]


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("make", [struck_string, hits, chord])
def test_few_iterations_do_what_many_do_from_random_phases(
    representation: Representation, make: Callable[[], torch.Tensor], monkeypatch: pytest.MonkeyPatch
):
    sound = make()
    made = transform(representation)
    features = made.analyse(sound)

    def magnitude(waveform: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(2048)
        return torch.stft(waveform[:, 0], 2048, 512, window=window, return_complex=True).abs()

    def convergence() -> float:
        rebuilt = magnitude(made.synthesise(features, sound.shape[-1]))
        return float((rebuilt - magnitude(sound)).norm() / magnitude(sound).norm())

    few = convergence()

    def random_phase(magnitude: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return 2 * torch.pi * torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr("shared.audio.spectrogram.first_phase", random_phase)
    few_random = convergence()
    monkeypatch.setitem(ITERATIONS, "fast", RANDOM_ITERATIONS)
    assert few < RANDOM_MARGIN * convergence()
    assert few < few_random
