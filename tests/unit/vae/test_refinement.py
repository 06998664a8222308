"""Latents that decode closer to a sound than the encoder's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shared.config import Objective, Representation
from shared.presets import resolve_train_config
from shared.vae.loss import ObjectiveFunction, make_objective
from shared.vae.model import ConvVAE
from shared.vae.refinement import refine_latents

CASES = [("mel", "sigma"), ("mel", "documented"), ("mel", "elbo"), ("mel_if", "sigma"), ("mel_if", "beta")]


def make(representation: Representation, objective: Objective = "sigma") -> tuple[ConvVAE, ObjectiveFunction, Tensor]:
    """A model with random weights, what it minimises, and four sounds that it knows nothing of."""
    config = resolve_train_config(
        file_count=20,
        representation=representation,
        preset="balanced",
        changes={"spectrogram": {"n_mels": 32}, "chunk_s": 0.25, "latent_dim": 8, "objective": objective},
    )
    torch.manual_seed(3)
    model = ConvVAE(config.model()).eval()
    return model, make_objective(config), torch.rand(4, *((2,) if representation == "mel_if" else (1,)), *model.shape)


def distances(model: ConvVAE, objective: ObjectiveFunction, sounds: Tensor, latents: Tensor) -> Tensor:
    with torch.no_grad():
        decoded = model.decode(latents)
    pairs = zip(decoded, sounds, latents[:, None], strict=True)
    return torch.stack([objective(ours[None], sound[None], z, z, 0.0)[0] for ours, sound, z in pairs])


@pytest.mark.parametrize(("representation", "objective"), CASES)
def test_refined_latents_decode_closer_and_nothing_else_changes(representation: Representation, objective: Objective):
    model, minimised, sounds = make(representation, objective)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [torch.full_like(weight, 2.0) for weight in model.parameters()]
    for weight, gradient in zip(model.parameters(), gradients, strict=True):
        weight.grad = gradient.clone()
    generator = torch.get_rng_state()

    with torch.no_grad():
        mu, _ = model.encode(sounds)
        refined = refine_latents(model, minimised, sounds, mu, steps=20)

    assert (distances(model, minimised, sounds, refined) < distances(model, minimised, sounds, mu)).all()
    assert refined.dtype == torch.float32
    assert not refined.requires_grad
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(weight.grad, was) for weight, was in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_latent_that_is_as_good_as_can_be_stays_and_none_depends_on_its_company():
    model, objective, sounds = make("mel")
    latents = torch.randn(4, 8)
    with torch.no_grad():
        sounds[0] = model.decode(latents[:1])[0]

    refined = refine_latents(model, objective, sounds, latents, steps=10)

    assert torch.equal(refined[0], latents[0])
    alone = [refine_latents(model, objective, sounds[n : n + 1], latents[n : n + 1], steps=10)[0] for n in range(4)]
    torch.testing.assert_close(refined, torch.stack(alone), rtol=1e-4, atol=1e-4)


def test_no_steps_give_the_latents_back():
    model, objective, sounds = make("mel")
    latents = torch.randn(4, 8)
    assert refine_latents(model, objective, sounds, latents, steps=0) is latents


def test_where_the_descent_finds_no_numbers_the_given_latent_stays():
    model, objective, sounds = make("mel")
    sounds[1, 0, 0, 0] = float("nan")
    latents = torch.randn(4, 8)

    refined = refine_latents(model, objective, sounds, latents, steps=5)

    assert torch.equal(refined[1], latents[1])
    assert torch.isfinite(refined).all()
    assert not torch.equal(refined[2], latents[2])


def test_bfloat16_refines_as_well():
    model, objective, _ = make("mel")
    latents = torch.randn(4, 8)
    with torch.no_grad():
        model.decoder.from_latent.weight.mul_(20)  # latents change more than rounding does
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        sounds = model.decode(2 * torch.randn(4, 8))
        refined = refine_latents(model, objective, sounds, latents, steps=20)
    assert (distances(model, objective, sounds, refined) < distances(model, objective, sounds, latents) - 0.1).all()
