"""Latents that decode closer to a sound than the encoder's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from shared.config import Objective, Representation
from shared.presets import resolve_train_config
from shared.vae.loss import ObjectiveFunction, make_objective
from shared.vae.model import ConvVAE
from shared.vae.refinement import RATE, refine_latents

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


def refined_by(model: ConvVAE, objective: ObjectiveFunction, sounds: Tensor, latents: Tensor, *, steps: int) -> Tensor:
    """Where nobody stops it."""
    refined = refine_latents(model, objective, sounds, latents, steps=steps)
    assert refined is not None
    return refined


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
        refined = refined_by(model, minimised, sounds, mu, steps=20)

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

    refined = refined_by(model, objective, sounds, latents, steps=10)

    assert torch.equal(refined[0], latents[0])
    alone = [refined_by(model, objective, sounds[n : n + 1], latents[n : n + 1], steps=10)[0] for n in range(4)]
    torch.testing.assert_close(refined, torch.stack(alone), rtol=1e-4, atol=1e-4)


def test_no_steps_give_the_latents_back():
    model, objective, sounds = make("mel")
    latents = torch.randn(4, 8)
    assert refine_latents(model, objective, sounds, latents, steps=0) is latents


def test_where_the_descent_finds_no_numbers_the_given_latent_stays():
    model, objective, sounds = make("mel")
    sounds[1, 0, 0, 0] = float("nan")
    latents = torch.randn(4, 8)

    refined = refined_by(model, objective, sounds, latents, steps=5)

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
        refined = refined_by(model, objective, sounds, latents, steps=20)
    assert (distances(model, objective, sounds, refined) < distances(model, objective, sounds, latents) - 0.1).all()


def test_the_prior_does_not_pull_and_the_steps_shrink_to_nothing(monkeypatch: pytest.MonkeyPatch):
    model, objective, sounds = make("mel")
    weights: list[float | Tensor] = []
    rates: list[float] = []

    def noting(*values: Any) -> tuple[Tensor, Tensor, Tensor]:
        weights.append(values[4])
        return objective(*values)

    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self))[1]
    )
    refined_by(model, noting, sounds, torch.randn(4, 8), steps=4)

    assert set(weights) == {0.0}
    assert rates == pytest.approx([RATE, 0.75 * RATE, 0.5 * RATE, 0.25 * RATE])


def test_it_is_given_up_when_told_so():
    model, objective, sounds = make("mel")
    answers = [True, True, False]
    given = refine_latents(model, objective, sounds, torch.randn(4, 8), steps=9, go_on=lambda: answers.pop(0))
    assert given is None
    assert not answers
