"""Each objective against its formula written out by hand."""

from __future__ import annotations

import inspect
import math

import pytest
import torch

from shared.config import BETA_KL_WEIGHT, Objective, Representation, TrainConfig
from shared.vae.loss import (
    SMALLEST_ERROR,
    coarser_errors,
    compute_kl_divergence,
    frequency_error,
    get_kl_weight,
    kl_per_dimension,
    make_objective,
    vae_loss,
)

RELATIVE = 1e-5
"""float32 sums against Python's floats."""

OBJECTIVES: tuple[Objective, ...] = ("sigma", "elbo", "beta", "documented")


def draw(channels: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(recon, target, mu, logvar) of 3 examples, 4 bands, 5 frames, 2 latent dimensions."""
    generator = torch.Generator().manual_seed(0)
    recon, target = torch.rand(2, 3, channels, 4, 5, generator=generator)
    mu, logvar = torch.randn(2, 3, 2, generator=generator)
    return recon, target, mu, logvar


def mean_square(recon: torch.Tensor, target: torch.Tensor) -> float:
    pairs = zip(recon.flatten().tolist(), target.flatten().tolist(), strict=True)
    squares = [(a - b) ** 2 for a, b in pairs]
    return sum(squares) / len(squares)


def kl_rows(mu: torch.Tensor, logvar: torch.Tensor) -> list[list[float]]:
    """KL in nats of each example and dimension."""
    return [
        [-0.5 * (1 + v - m * m - math.exp(v)) for m, v in zip(ms, vs, strict=True)]
        for ms, vs in zip(mu.tolist(), logvar.tolist(), strict=True)
    ]


def kl_free_on_each(mu: torch.Tensor, logvar: torch.Tensor, free_bits: float) -> float:
    rows = [sum(max(value, free_bits) for value in row) for row in kl_rows(mu, logvar)]
    return sum(rows) / len(rows)


def kl_free_on_the_mean(mu: torch.Tensor, logvar: torch.Tensor, free_bits: float) -> float:
    columns = zip(*kl_rows(mu, logvar), strict=True)
    return sum(max(sum(column) / len(column), free_bits) for column in columns)


def objective(name: Objective, representation: Representation = "mel", **changes: float):
    # The weight that a step uses is an argument of its own; this one only has to be allowed.
    weight = {"kl_weight": BETA_KL_WEIGHT} if name == "beta" else {}
    return make_objective(TrainConfig(objective=name, representation=representation, **weight, **changes))


@pytest.mark.parametrize("kl_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("free_bits", [0.0, 0.1, 0.5, 3.0])
def test_vae_loss_is_the_documented_formula(kl_weight: float, free_bits: float):
    recon, target, mu, logvar = draw()
    total, error, kl = vae_loss(recon, target, mu, logvar, kl_weight, free_bits)
    expected_kl = kl_free_on_each(mu, logvar, free_bits)
    assert error.item() == pytest.approx(mean_square(recon, target), rel=RELATIVE)
    assert kl.item() == pytest.approx(expected_kl, rel=RELATIVE)
    assert total.item() == pytest.approx(mean_square(recon, target) + kl_weight * expected_kl, rel=RELATIVE)


def test_vae_loss_has_the_documented_defaults():
    defaults = {name: each.default for name, each in inspect.signature(vae_loss).parameters.items()}
    assert list(defaults) == ["recon", "target", "mu", "logvar", "kl_weight", "free_bits"]
    assert (defaults["kl_weight"], defaults["free_bits"]) == (1.0, 0.5)
    assert inspect.signature(get_kl_weight).parameters["warmup_fraction"].default == 0.3


def test_a_posterior_at_the_prior_costs_the_free_bits_alone():
    _, _, kl = vae_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), torch.zeros(2, 64), torch.zeros(2, 64))
    assert kl.item() == 32.0
    assert compute_kl_divergence(torch.zeros(2, 64), torch.zeros(2, 64)).item() == 0.0


def test_raw_kl_is_summed_over_dimensions_and_averaged_over_the_batch():
    _, _, mu, logvar = draw()
    rows = kl_rows(mu, logvar)
    assert compute_kl_divergence(mu, logvar).item() == pytest.approx(sum(map(sum, rows)) / 3, rel=RELATIVE)
    torch.testing.assert_close(kl_per_dimension(mu, logvar), torch.tensor(rows))


def test_raw_kl_of_a_known_posterior():
    # N(1, e) against N(0, 1): 0.5 (1 + e - 1 - 1).
    kl = compute_kl_divergence(torch.ones(1, 1), torch.ones(1, 1))
    assert kl.item() == pytest.approx(0.5 * (math.e - 1), rel=RELATIVE)


@pytest.mark.parametrize(
    ("epoch", "total", "fraction", "weight"),
    [
        (0, 100, 0.3, 0.0),
        (15, 100, 0.3, 0.5),
        (29, 100, 0.3, 29 / 30),
        (30, 100, 0.3, 1.0),
        (99, 100, 0.3, 1.0),
        (1, 5, 0.5, 0.5),
        (0, 3, 0.3, 1.0),
        (0, 1, 0.9, 1.0),
        (0, 100, 0.0, 1.0),
        (50, 100, 1.0, 0.5),
    ],
)
def test_the_kl_weight_rises_linearly_to_one(epoch: int, total: int, fraction: float, weight: float):
    assert get_kl_weight(epoch, total, fraction) == pytest.approx(weight)


@pytest.mark.parametrize("kl_weight", [0.0, 0.5, 1.0])
def test_sigma_is_the_calibrated_bound_per_cell(kl_weight: float):
    recon, target, mu, logvar = draw()
    total, error, kl = objective("sigma", free_bits=0.2)(recon, target, mu, logvar, kl_weight)
    mse, expected_kl = mean_square(recon, target), kl_free_on_the_mean(mu, logvar, 0.2)
    assert error.item() == pytest.approx(mse, rel=RELATIVE)
    assert kl.item() == pytest.approx(expected_kl, rel=RELATIVE)
    cells = 4 * 5
    expected = 0.5 * math.log(mse + SMALLEST_ERROR) + kl_weight * expected_kl / cells
    assert total.item() == pytest.approx(expected, rel=RELATIVE)


def test_elbo_is_the_bound_with_unit_variance():
    recon, target, mu, logvar = draw()
    total, _, _ = objective("elbo", free_bits=0.2)(recon, target, mu, logvar, 0.5)
    expected = 0.5 * mean_square(recon, target) + 0.5 * kl_free_on_the_mean(mu, logvar, 0.2) / 20
    assert total.item() == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.parametrize("name", ["documented", "beta"])
def test_documented_and_beta_are_vae_loss(name: Objective):
    values = draw()
    assert objective(name, free_bits=0.1)(*values, 0.01) == vae_loss(*values, 0.01, 0.1)


def test_frequency_errors_weigh_as_much_as_their_magnitudes():
    recon, target, _, _ = draw(channels=2)
    weights = target[:, 0].flatten().tolist()
    squares = ((recon[:, 1] - target[:, 1]) ** 2).flatten().tolist()
    expected = sum(w * s for w, s in zip(weights, squares, strict=True)) / sum(weights)
    assert frequency_error(recon, target).item() == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_mel_if_counts_both_channels(weight: float):
    recon, target, mu, logvar = draw(channels=2)
    magnitude = mean_square(recon[:, 0], target[:, 0])
    frequency = frequency_error(recon, target).item()
    kl = kl_free_on_the_mean(mu, logvar, 0.5) / 40

    def total(name: Objective) -> float:
        return objective(name, "mel_if", frequency_weight=weight, free_bits=0.5)(recon, target, mu, logvar, 1.0)[
            0
        ].item()

    logs = math.log(magnitude + SMALLEST_ERROR) + weight * math.log(frequency + SMALLEST_ERROR)
    assert total("sigma") == pytest.approx(0.25 * logs + kl, rel=RELATIVE)
    assert total("elbo") == pytest.approx(0.25 * (magnitude + weight * frequency) + kl, rel=RELATIVE)
    plain = vae_loss(recon, target, mu, logvar, 1.0, 0.5)[0].item()
    assert total("documented") == pytest.approx(plain + weight * frequency, rel=RELATIVE)


def pooled(cells: torch.Tensor, size: int) -> torch.Tensor:
    """Channel 0 of [B, C, M, T] as means of size x size cells, M and T being whole multiples."""
    batch, _, mels, frames = cells.shape
    return cells[:, 0].reshape(batch, mels // size, size, frames // size, size).mean(dim=(2, 4))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("representation", ["mel", "mel_if"])
def test_coarser_resolutions_of_the_magnitudes_count_as_much_as_asked(name: Objective, representation: Representation):
    channels = 1 if representation == "mel" else 2
    recon, target = torch.rand(2, 3, channels, 16, 24, generator=torch.Generator().manual_seed(0))
    _, _, mu, logvar = draw()
    errors = [mean_square(pooled(recon, size), pooled(target, size)) for size in (2, 4, 8)]
    if name == "sigma":
        terms = [0.5 * math.log(error + SMALLEST_ERROR) for error in errors]
    else:
        terms = [0.5 * error if name == "elbo" else error for error in errors]
    # Magnitudes are half of the calibrated objectives' cells where there are two channels.
    share = 0.5 if representation == "mel_if" and name in ("sigma", "elbo") else 1.0

    without = objective(name, representation)(recon, target, mu, logvar, 1.0)
    weighted = objective(name, representation, spectral_weight=0.7)(recon, target, mu, logvar, 1.0)

    added = weighted[0].item() - without[0].item()
    assert added == pytest.approx(0.7 * share * sum(terms) / 3, rel=100 * RELATIVE)
    assert weighted[1:] == without[1:]


def test_a_coarse_cell_at_an_uneven_edge_is_the_mean_of_what_it_covers():
    recon = torch.zeros(1, 1, 3, 1)
    recon[0, 0, 2] = 2.0
    assert [error.item() for error in coarser_errors(recon, torch.zeros(1, 1, 3, 1))] == [2.0, 1.0, 1.0]


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("representation", ["mel", "mel_if"])
@pytest.mark.parametrize("spectral_weight", [0.0, 1.0])
def test_losses_are_float32_and_differentiable_also_on_silence(
    name: Objective, representation: Representation, spectral_weight: float
):
    channels = 1 if representation == "mel" else 2
    recon = torch.zeros(2, channels, 4, 5, dtype=torch.bfloat16, requires_grad=True)
    mu = torch.zeros(2, 3, dtype=torch.bfloat16, requires_grad=True)
    chosen = objective(name, representation, spectral_weight=spectral_weight)
    results = chosen(recon, torch.zeros(2, channels, 4, 5), mu, torch.zeros(2, 3), 1.0)
    assert all(result.dtype == torch.float32 and result.ndim == 0 for result in results)
    results[0].backward()
    assert recon.grad is not None
    assert mu.grad is not None
    assert torch.isfinite(recon.grad).all()
    assert torch.isfinite(mu.grad).all()


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("representation", ["mel", "mel_if"])
def test_no_value_is_read_back_from_the_device(name: Objective, representation: Representation):
    # The meta device holds no values: reading one back raises.
    channels = 1 if representation == "mel" else 2
    cells = torch.zeros(2, channels, 4, 5, device="meta")
    latent = torch.zeros(2, 3, device="meta")
    results = objective(name, representation, spectral_weight=1.0)(cells, cells, latent, latent, 1.0)
    assert all(result.is_meta for result in results)
