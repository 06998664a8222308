"""First weights that are a principal component analysis."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shared.config import ModelConfig, Representation
from shared.vae.model import ConvVAE
from shared.vae.principal import begin_with_components, fit_components

MELS, FRAMES, LATENT = 40, 37, 6


def make_model(representation: Representation = "mel", *, latent_dim: int = LATENT) -> ConvVAE:
    torch.manual_seed(0)
    return ConvVAE(ModelConfig(representation=representation, n_mels=MELS, frames=FRAMES, latent_dim=latent_dim)).eval()


def make_examples(count: int = 100, *, channels: int = 1, rank: int = LATENT, noise: float = 0.05) -> Tensor:
    """Sums of `rank` patterns with a level of their own, and a little noise; [count, channels, MELS, FRAMES]."""
    generator = torch.Generator().manual_seed(1)
    cells = channels * MELS * FRAMES
    strength = torch.randn(count, rank, generator=generator) * torch.arange(rank, 0, -1)
    patterns = torch.randn(rank, cells, generator=generator) / 4
    flat = 1.0 + strength @ patterns + noise * torch.randn(count, cells, generator=generator)
    return flat.unflatten(1, (channels, MELS, FRAMES))


def test_the_model_starts_as_the_projection_onto_the_components():
    examples, unseen = make_examples(200).split([150, 50])
    model = make_model()

    components = begin_with_components(model, examples)

    with torch.no_grad():
        reconstruction, mu, logvar = model(unseen)
    centred = unseen.flatten(1) - components.mean
    coefficients = centred @ components.directions.T
    projected = components.mean + coefficients @ components.directions
    # What lies farther out than anything seen meets the ReLU, which no more than nudges it.
    assert (reconstruction.flatten(1) - projected).square().mean() < 1e-3
    assert (reconstruction - unseen).square().mean() < 1.5 * components.error + 1e-3
    assert torch.allclose(mu, coefficients / components.deviations, atol=0.15)
    # The posterior of probabilistic components: the less a component tells, the less sure it is.
    expected = torch.log(components.error / components.deviations.square()).clamp(-7.7, 0)
    assert torch.allclose(logvar[0], expected, atol=0.3)


def test_a_random_start_is_far_from_it():
    """Otherwise the test above would hold without any components."""
    examples = make_examples()
    model = make_model()
    with torch.no_grad():
        before = (model(examples)[0] - examples).square().mean()

    components = begin_with_components(model, examples)

    assert 0 < 100 * components.error < before


def test_what_components_leave_out_is_exact_where_it_is_little():
    """Of a hundredth of what there is, in as many cells as a training's: sums in float32 would lose a quarter of it."""
    generator = torch.Generator().manual_seed(2)
    strength, patterns = torch.randn(2048, 4, generator=generator), torch.randn(4, 12_032, generator=generator)
    examples = strength @ patterns + 0.2 * torch.randn(2048, 12_032, generator=generator)

    components = fit_components(examples.view(2048, 1, 128, 94), 4)

    directions = components.directions.double()
    centred = (examples - components.mean).double()
    left_out = (centred - (centred @ directions.T) @ directions).square().mean()
    assert components.error == pytest.approx(float(left_out), rel=1e-3)


def test_magnitude_and_frequency_start_near_their_projections():
    """Softplus bends what is quiet, so that the projection is not met exactly."""
    examples = make_examples(channels=2)
    examples[:, 0] = (examples[:, 0] + 1.0).abs()
    examples[:, 1] = torch.tanh(examples[:, 1] / 4)
    model = make_model("mel_if")

    components = begin_with_components(model, examples)

    with torch.no_grad():
        error = (model(examples)[0] - examples).square().mean()
    of_the_mean = (examples - examples.mean(dim=0)).square().mean()
    assert error < 2 * components.error
    assert error < 0.6 * of_the_mean


def test_an_innermost_map_that_is_too_narrow_keeps_what_the_components_need():
    """`mel_if` has 2 x 32 x 32 cells in a patch and 1024 channels for them."""
    examples = make_examples(channels=2)
    examples[:, 0] = examples[:, 0].abs() + 3.0  # far from where Softplus bends
    examples[:, 1] = 0.05 * examples[:, 1]
    model = make_model("mel_if")

    components = begin_with_components(model, examples)

    centred = examples.flatten(1) - components.mean
    with torch.no_grad():
        mu, _ = model.encode(examples)
    assert torch.allclose(mu, centred @ components.directions.T / components.deviations, atol=0.02)


def test_what_does_not_pass_cells_can_be_learned():
    """Leftover channels begin at random and outside of the result, and training reaches all of them."""
    model = make_model()
    examples = make_examples()
    begin_with_components(model, examples)
    model.train()

    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        reconstruction, _, _ = model(examples[:32])
        (reconstruction - examples[:32]).square().mean().backward()
        optimizer.step()

    for name, parameter in model.named_parameters():
        if "weight" in name and parameter.ndim > 1 and "logvar" not in name:
            assert parameter.grad is not None, name
            quiet = (parameter.grad.flatten(1).abs().amax(dim=1) == 0).sum()
            assert quiet == 0, f"{quiet} rows of {name} get no gradient"


def test_latents_without_a_component_say_nothing_and_can_be_learned():
    model = make_model(latent_dim=16)
    examples = make_examples(rank=3, noise=0.0)

    components = begin_with_components(model, examples)

    assert len(components.deviations) == 3
    with torch.no_grad():
        reconstruction, mu, logvar = model(examples)
    assert (reconstruction - examples).square().mean() < 1e-4
    assert torch.equal(mu[:, 3:], torch.zeros(len(examples), 13))
    assert torch.equal(logvar[:, 3:], torch.zeros(len(examples), 13))
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        (model(examples[:32])[0] - examples[32:64]).square().mean().backward()
        optimizer.step()
    assert (model.encoder.to_mu.weight.grad[3:].abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize("count", [1, 5])
def test_examples_that_are_all_alike_leave_the_model_as_it_was(count: int):
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    components = begin_with_components(model, torch.ones(count, 1, MELS, FRAMES))

    assert len(components.deviations) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_same_examples_give_the_same_weights_and_no_other_random_number():
    examples = make_examples()
    first, second = make_model(), make_model()
    begin_with_components(first, examples)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)

    begin_with_components(second, examples)

    assert torch.equal(torch.rand(1), expected)
    assert all(
        torch.equal(one, other)
        for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_components_of_a_known_corpus():
    examples = make_examples(rank=3, noise=0.0)

    components = fit_components(examples, 10)

    assert len(components.deviations) == 3
    assert components.error == pytest.approx(0.0, abs=1e-5)
    assert torch.allclose(components.directions @ components.directions.T, torch.eye(3), atol=1e-4)
