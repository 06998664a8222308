"""Parameter counts, shapes and output ranges of both models."""

from __future__ import annotations

import pytest
import torch

from shared.config import HALVINGS, ModelConfig, Representation
from shared.planning import STAGES, model_size
from shared.presets import resolve_train_config
from shared.vae.model import ConvDecoder, ConvEncoder, ConvVAE

REPRESENTATIONS: tuple[Representation, ...] = ("mel", "mel_if")

AUTOCAST_TOLERANCE = 0.15
"""bfloat16 keeps 8 bits; over eight layers the outputs of a fresh model, of size 1, move by a few hundredths."""


def small(representation: Representation = "mel", **changes: object) -> ConvVAE:
    values = {"representation": representation, "n_mels": 32, "frames": 20, "latent_dim": 4, **changes}
    return ConvVAE(ModelConfig.model_validate(values))


def features_for(model: ConvVAE, batch: int = 2) -> torch.Tensor:
    channels = STAGES[model.config.representation][0]
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, channels, model.config.n_mels, model.config.frames, generator=generator)


@pytest.mark.parametrize(
    ("representation", "latent_dim", "parameters", "padded"),
    [("mel", 64, 3_148_545, (128, 96)), ("mel_if", 128, 17_276_034, (128, 96))],
)
def test_the_documented_sizes(
    representation: Representation, latent_dim: int, parameters: int, padded: tuple[int, int]
):
    config = resolve_train_config(file_count=100, representation=representation).model()
    assert (config.n_mels, config.frames, config.latent_dim) == (128, 94, latent_dim)
    model = ConvVAE(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model.padded_shape == padded
    assert isinstance(model.encoder, ConvEncoder)
    assert isinstance(model.decoder, ConvDecoder)
    reconstruction, mu, logvar = model(features_for(model))
    assert reconstruction.shape == (2, STAGES[representation][0], 128, 94)
    assert mu.shape == logvar.shape == (2, latent_dim)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_the_stages_halve_and_double(representation: Representation):
    model = small(representation)
    assert (
        STAGES[representation] == {"mel": (1, 32, 64, 128, 256), "mel_if": (2, 64, 128, 256, 512, 1024)}[representation]
    )
    down = [module for module in model.encoder.modules() if isinstance(module, torch.nn.Conv2d)]
    up = [module for module in model.decoder.modules() if isinstance(module, torch.nn.ConvTranspose2d)]
    assert len(down) == len(up) == len(STAGES[representation]) - 1
    for module in (*down, *up):
        assert (module.kernel_size, module.stride, module.padding) == ((3, 3), (2, 2), (1, 1))
    assert all(module.output_padding == (1, 1) for module in up)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize(("n_mels", "frames"), [(16, 1), (17, 2), (40, 31), (64, 32), (100, 33), (128, 15)])
def test_every_configured_shape_comes_back(representation: Representation, n_mels: int, frames: int):
    model = small(representation, n_mels=n_mels, frames=frames)
    features = features_for(model)
    reconstruction, _, _ = model(features)
    assert reconstruction.shape == features.shape
    assert model.sample(3).shape == (3, *features.shape[1:])
    multiple = {"mel": 16, "mel_if": 32}[representation]
    assert model.padded_shape[0] % multiple == 0
    assert model.padded_shape[1] % multiple == 0


def test_content_stands_in_the_middle_of_the_padding():
    model = small(n_mels=30, frames=17).eval()
    seen: list[torch.Tensor] = []
    model.encoder.blocks[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    model.encode(torch.ones(1, 1, 30, 17))
    rows, columns = seen[0][0, 0].any(dim=1).nonzero().flatten(), seen[0][0, 0].any(dim=0).nonzero().flatten()
    assert seen[0].shape[2:] == (32, 32)
    assert (int(rows[0]), int(rows[-1])) == (1, 30)
    assert (int(columns[0]), int(columns[-1])) == (7, 23)
    z = torch.zeros(1, 4)
    whole = model.decode(z, (32, 32))
    torch.testing.assert_close(model.decode(z), whole[..., 1:31, 7:24])


def test_decode_takes_a_target_shape():
    model = small(n_mels=32, frames=20)
    z = torch.zeros(2, 4)
    assert model.decode(z, (32, 31)).shape == (2, 1, 32, 31)
    assert model.decode(z, torch.Size((2, 1, 16, 3))).shape == (2, 1, 16, 3)
    with pytest.raises(ValueError, match="at most"):
        model.decode(z, (32, 33))


def test_encode_refuses_another_shape():
    with pytest.raises(ValueError, match="takes"):
        small().encode(torch.zeros(1, 1, 32, 21))


def test_weights_load_without_a_forward():
    torch.manual_seed(1)
    trained = small()
    trained(features_for(trained))
    loaded = ConvVAE(trained.config)
    loaded.load_state_dict(trained.state_dict())
    features = features_for(trained)
    torch.testing.assert_close(loaded.eval()(features), trained.eval()(features))


@pytest.mark.parametrize(("output", "low", "high"), [("sigmoid", 0.0, 1.0), ("softplus", 0.0, torch.inf)])
def test_the_output_activation_keeps_its_range(output: str, low: float, high: float):
    decoded = small(output=output).decode(torch.randn(4, 4) * 50)
    assert (decoded >= low).all()
    assert (decoded <= high).all()


def test_a_linear_output_takes_any_sign():
    torch.manual_seed(0)
    assert (small(output="linear").decode(torch.randn(4, 4) * 50) < 0).any()


def test_magnitudes_are_never_negative_and_frequencies_within_one():
    decoded = small("mel_if").decode(torch.randn(4, 4) * 50)
    assert (decoded[:, 0] >= 0).all()
    assert (decoded[:, 1].abs() <= 1).all()


@pytest.mark.parametrize("bound", [1.0, 8.0])
def test_logvar_stays_within_its_bound(bound: float):
    model = small(logvar_bound=bound)
    _, logvar = model.encode(features_for(model) * 1e6)
    assert logvar.abs().max() <= bound
    _, free = small(logvar_bound=None).encode(features_for(model) * 1e6)
    assert torch.isfinite(free).all()


def test_a_soft_bound_leaves_small_values_alone():
    torch.manual_seed(0)
    model, features = small(logvar_bound=8.0).eval(), features_for(small())
    _, bounded = model.encode(features)
    _, raw = model.encoder(torch.nn.functional.pad(features, (6, 6, 0, 0)))
    torch.testing.assert_close(bounded, 8.0 * torch.tanh(raw / 8.0))


def test_the_latent_is_drawn_in_training_and_is_the_mean_in_evaluation():
    model = small()
    features = features_for(model)
    model.eval()
    torch.testing.assert_close(model(features)[0], model(features)[0])
    mu, _ = model.encode(features)
    torch.testing.assert_close(model(features)[0], model.decode(mu))
    model.train()
    assert not torch.equal(model(features)[0], model(features)[0])


def test_draws_have_the_posteriors_mean_and_spread():
    model = small()
    mu, logvar = torch.full((20_000, 1), 3.0), torch.full((20_000, 1), -2.0)
    drawn = model.reparameterize(mu, logvar, torch.Generator().manual_seed(0))
    assert drawn.mean().item() == pytest.approx(3.0, abs=0.01)
    assert drawn.std().item() == pytest.approx(torch.exp(torch.tensor(-1.0)).item(), rel=0.02)


def test_the_same_seed_gives_the_same_draws():
    model = small().eval()
    first, second = (model.sample(2, "cpu", torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    outputs: list[torch.Tensor] = []
    for _ in range(2):
        torch.manual_seed(3)
        fresh = small()
        outputs.append(fresh(features_for(fresh))[0])
    assert torch.equal(*outputs)


def test_dropout_zeroes_whole_feature_maps():
    model = small(dropout=0.5)
    assert [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout2d)] == [0.5] * 4


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_bfloat16_with_channels_last_gives_float32_outputs_that_agree(representation: Representation):
    torch.manual_seed(0)
    model = small(representation).eval().to(memory_format=torch.channels_last)
    features = features_for(model).contiguous(memory_format=torch.channels_last)
    plain = model(features)
    with torch.autocast("cpu", torch.bfloat16):
        quick = model(features)
    for exact, rounded in zip(plain, quick, strict=True):
        assert rounded.dtype == torch.float32
        torch.testing.assert_close(rounded, exact, atol=AUTOCAST_TOLERANCE, rtol=0)


def test_the_configuration_knows_how_often_the_encoder_halves():
    assert {name: len(stages) - 1 for name, stages in STAGES.items()} == HALVINGS


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize(("n_mels", "frames", "latent_dim"), [(128, 94, 64), (32, 20, 4), (80, 301, 16)])
def test_the_size_that_is_told_beforehand_is_the_models(
    representation: Representation, n_mels: int, frames: int, latent_dim: int
):
    config = ModelConfig(representation=representation, n_mels=n_mels, frames=frames, latent_dim=latent_dim)
    model = ConvVAE(config)
    size = model_size(config)
    assert size.parameters == sum(parameter.numel() for parameter in model.parameters())
    maps = list[torch.Tensor]()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    model(features_for(model, batch=2))
    inner = model.encoder.to_mu.in_features
    assert size.activations == sum(each[0].numel() for each in maps) + inner
