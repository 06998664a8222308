"""First weights that make the model a principal component analysis of its corpus.

A convolutional autoencoder with random weights spends most of a short training on learning what a linear
projection finds in seconds. This model can *be* that projection: its 3 x 3 convolutions of stride 2 can move the
cells of a 2 x 2 square into channels (space to depth), and the transposed ones move them back, so that every cell of
the features passes through to the innermost map unchanged; the linear layers in the middle then hold the principal
components (K. Pearson, 1901). BatchNorm gives each passed channel its own scale back, and an offset keeps it above
the ReLU's kink. All channels that are left over keep their random weights, and reach the passed ones only through
weights that start at zero: training goes on from the best linear model and adds what is not linear. The innermost
map keeps room for that too: it passes no whole patch but its projection onto the directions that the components need,
which are few, since spectrograms are smooth.

    features --space to depth--> cells of each patch --components / deviations--> mu, with variance 1
    reconstruction <--depth to space-- cells <--components x deviations + mean--------------'

The posterior's variance starts at its optimum for a linear model, error / (variance of the component) (M. Tipping
and C. Bishop, "Probabilistic principal component analysis", 1999). An output activation is met by fitting the decoder
to its inverse. Latents beyond the examples' dimensions start as the prior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from shared.planning import LOOKED_AT
from shared.vae.model import ConvVAE

PASSING_SHARE: Final = 0.5
"""Share of the innermost channels that pass cells; the others are free for what is not linear."""
_MARGIN: Final = 0.5
"""What passed values keep above the ReLU's kink beyond the least one seen, in units of the scaled features."""
_SMALLEST_SHARE: Final = 1e-3
"""A component whose deviation is below this share of the first one's says nothing."""
_AT_A_TIME: Final = 256
"""Examples of which something is computed at a time where it goes over all of them."""
_SHARPEST_LOGVAR: Final = 0.95
"""Share of the bound of logvar that a posterior starts at most."""
_OVERSAMPLING: Final = 16
_ITERATIONS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Components:
    """The linear model of some examples, K components of cells = C * M * T."""

    mean: Tensor
    """[cells]"""
    directions: Tensor
    """[K, cells], orthonormal, the most telling one first"""
    deviations: Tensor
    """[K], standard deviation of the examples along each"""
    error: float
    """Mean squared error of the examples' projections, per cell."""


def fit_components(examples: Tensor, count: int, *, seed: int = 0) -> Components:
    """At most `count` principal components of `examples` [N, C, M, T], by randomised subspace iteration.

    There are fewer where the examples span fewer dimensions, none where they are all alike. Source: N. Halko, P.
    Martinsson and J. Tropp, "Finding structure with randomness", SIAM Review 2011.
    """
    cells = examples.flatten(1)
    mean = cells.mean(dim=0)
    centred = cells - mean
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, singular, directions = torch.svd_lowrank(
            centred, q=min(count + _OVERSAMPLING, *centred.shape), niter=_ITERATIONS
        )
    deviations = singular / math.sqrt(len(cells))
    telling = int((deviations[:count] > max(_SMALLEST_SHARE * float(deviations[0]), 1e-6)).sum())
    kept = directions[:, :telling]
    # Some at a time, without a second copy of all; a difference of two norms would cancel where little is left out.
    left_out = sum(float((some - (some @ kept) @ kept.T).square().sum()) for some in centred.split(_AT_A_TIME))
    error = left_out / centred.numel()
    return Components(mean=mean, directions=kept.T, deviations=deviations[:telling], error=error)


def begin_with_components(model: ConvVAE, examples: Tensor, *, seed: int = 0) -> Components:
    """Give `model`, fresh and on the CPU, the weights of its linear optimum for `examples` [N, C, M, T], scaled.

    In evaluation mode it then reconstructs as the projection does, up to the output's activation and to what an
    innermost map that is too narrow leaves out. A model is left as it was where the examples are all alike.
    """
    components = fit_components(examples, model.config.latent_dim, seed=seed)
    if len(components.deviations):
        with torch.no_grad():
            _Writer(model, examples, components).write()
    return components


class _Writer:
    """Writes components into a model, from its input to its output."""

    def __init__(self, model: ConvVAE, examples: Tensor, components: Components) -> None:
        self.model = model
        self.components = components
        self.channels = examples.shape[1]
        self.examples = examples
        self.convolutions = [m for m in model.encoder.blocks if isinstance(m, nn.Conv2d)]
        self.encoder_norms = [m for m in model.encoder.blocks if isinstance(m, nn.BatchNorm2d)]
        self.transposed = [m for m in model.decoder.blocks if isinstance(m, nn.ConvTranspose2d)]
        self.decoder_norms = [m for m in model.decoder.blocks if isinstance(m, nn.BatchNorm2d)]
        self.side = 2 ** len(self.convolutions)
        """Cells along a side of the patch that an innermost cell stands for."""
        self.order = _patch_order(self.channels, len(self.convolutions))
        self.standardising = components.directions / components.deviations[:, None]
        """[K, cells]: standardised coefficients of cells"""
        self.analysis = self.as_patches(self.standardising)
        """[K, patch cells, rows, columns]: standardised coefficients of patches"""
        self.code = self.choose_code()

    def write(self) -> None:
        constants, innermost = self.write_encoder()
        mu = self.write_posterior(constants, innermost)
        self.write_decoder(mu)

    def as_patches(self, cells: Tensor) -> Tensor:
        """[N, C * M * T] as [N, patch cells, rows, columns] of the padded map, in the order of the last stage."""
        return self.patches(self.model.padded(cells.unflatten(1, (self.channels, *self.model.shape))))

    def patches(self, padded: Tensor) -> Tensor:
        """The same of [N, C, M', T']."""
        rows, columns = (length // self.side for length in self.model.padded_shape)
        grid = padded.reshape(len(padded), self.channels, rows, self.side, columns, self.side)
        return torch.stack([grid[:, channel, :, row, :, column] for channel, row, column in self.order], dim=1)

    def choose_code(self) -> Tensor:
        """[codes, patch cells], orthonormal: what the innermost map keeps of a patch; all of it where it has the room.

        Else it is what the components and the mean need most, each of them counting alike.
        """
        wide, needed = int(self.convolutions[-1].out_channels * PASSING_SHARE), len(self.order)
        if wide >= needed:
            return torch.eye(needed)
        mean = self.components.mean / self.components.mean.norm().clamp_min(_MARGIN)
        needs = self.as_patches(torch.cat([self.components.directions, mean[None]]))
        by_patch = needs.permute(0, 2, 3, 1).flatten(0, 2)
        _, directions = torch.linalg.eigh(by_patch.T @ by_patch)
        return directions[:, -wide:].T.contiguous()

    def write_encoder(self) -> tuple[Tensor, Tensor]:
        """(what each code's channel has above its code [codes], innermost map of the examples looked at)."""
        inputs = self.model.padded(self.examples[:LOOKED_AT])
        offset = float(-inputs.min()) + _MARGIN
        passed = self.channels
        last = len(self.convolutions) - 1
        constants = torch.zeros(0)
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.encoder_norms, strict=True)):
            squares = self.code if index == last else torch.eye(4 * passed)
            convolution.weight[: len(squares)] = 0
            for tap, (row, column) in enumerate(_TAPS):
                block = squares[:, tap * passed : (tap + 1) * passed]
                convolution.weight[: len(squares), :passed, row, column] = block
            above = offset if index else 0.0
            passed = len(squares)
            values = convolution(inputs)
            # What the values hold beside what is passed: the offset of the stage before, through the squares.
            extra = above * squares.sum(dim=1) + _bias(convolution)[:passed]
            low = (values[:, :passed] - extra[:, None, None]).amin(dim=(0, 2, 3))
            constants = (-low + _MARGIN) if index == last else torch.full((passed,), offset)
            inputs = _passing(norm, values, passed, constants - extra)
        return constants, inputs

    def write_posterior(self, constants: Tensor, innermost: Tensor) -> Tensor:
        """Components into the linear layers around the latent; returns mu [N, latent_dim] of the examples."""
        encoder, components = self.model.encoder, self.components
        kept = len(components.deviations)
        coded = torch.einsum("qc,kcij->kqij", self.code, self.analysis)
        wide = innermost.shape[1]
        weight = torch.zeros(kept, wide, *coded.shape[2:])
        weight[:, : coded.shape[1]] = coded
        encoder.to_mu.weight[:kept] = weight.flatten(1)
        # A latent without a component says nothing: its posterior is the prior.
        encoder.to_mu.weight[kept:] = 0
        encoder.to_mu.bias[kept:] = 0
        standing = (coded * constants[:, None, None]).sum(dim=(1, 2, 3))
        centre = self.standardising @ components.mean
        encoder.to_mu.bias[:kept] = -standing - centre
        bound = self.model.config.logvar_bound
        logvar = torch.log((components.error / components.deviations.square()).clamp(1e-8, 1.0))
        if bound is not None:
            logvar = bound * torch.atanh((logvar / bound).clamp(-_SHARPEST_LOGVAR, _SHARPEST_LOGVAR))
        encoder.to_logvar.weight.zero_()
        encoder.to_logvar.bias.zero_()
        encoder.to_logvar.bias[:kept] = logvar
        return encoder.to_mu(innermost.flatten(1))

    def write_decoder(self, mu: Tensor) -> None:
        """From latents to cells: what the linear model gives before the output's activation."""
        decoder = self.model.decoder
        directions, mean = self.targets()
        kept = len(directions)
        coded = torch.einsum("qc,kcij->kqij", self.code, self.as_patches(directions))
        level = torch.einsum("qc,kcij->kqij", self.code, self.as_patches(mean[None]))[0]
        codes = len(self.code)
        weight = decoder.from_latent.weight.unflatten(0, decoder.inner_shape)
        weight[:codes, ..., :kept] = coded.permute(1, 2, 3, 0)
        weight[:codes, ..., kept:] = 0  # it is learned through the channels that do not pass cells
        bias = decoder.from_latent.bias.unflatten(0, decoder.inner_shape)
        bias[:codes] = level
        inputs = decoder.from_latent(mu).unflatten(1, decoder.inner_shape)
        cells = torch.einsum("qc,nqij->ncij", self.code, inputs[:, :codes])
        offset = float(-cells.min()) + _MARGIN
        passed, squares = codes, self.code
        for index, transposed in enumerate(self.transposed):
            out = squares.shape[1] // 4
            transposed.weight[:, :out] = 0
            for tap, (row, column) in enumerate(_TAPS):
                transposed.weight[:passed, :out, row, column] = squares[:, tap * out : (tap + 1) * out]
            passed, squares = out, torch.eye(out)
            if index == len(self.decoder_norms):
                _bias(transposed)[:out] = -offset if index else 0.0
                return
            values = transposed(inputs)
            extra = _bias(transposed)[:out] + (offset if index else 0.0)
            inputs = _passing(self.decoder_norms[index], values, out, offset - extra)

    def targets(self) -> tuple[Tensor, Tensor]:
        """(change of the cells by one deviation of each component [K, cells], their mean), before the activation.

        They are the regression of the activation's inverse on the components: for a linear output, the components.
        """
        components, count = self.components, len(self.examples)
        products, wanted_sum = torch.zeros_like(components.directions), torch.zeros_like(components.mean)
        coefficient_sum = torch.zeros_like(components.deviations)
        for some in self.examples.split(_AT_A_TIME):
            wanted = self.model.deactivate(some).flatten(1)
            coefficients = (some.flatten(1) - components.mean) @ components.directions.T / components.deviations
            products.addmm_(coefficients.T, wanted)
            wanted_sum += wanted.sum(dim=0)
            coefficient_sum += coefficients.sum(dim=0)
        mean = wanted_sum / count
        return (products - coefficient_sum[:, None] * mean) / count, mean


_TAPS: Final = ((1, 1), (1, 2), (2, 1), (2, 2))
"""Rows and columns of a 3 x 3 kernel that see a 2 x 2 square of their own, in the order of its cells."""


def _patch_order(channels: int, stages: int) -> list[tuple[int, int, int]]:
    """(channel, row, column) within a patch of each channel of the innermost map, when each stage moves 2 x 2 squares
    into channels, square cell after square cell."""
    order = [(channel, 0, 0) for channel in range(channels)]
    side = 1
    for _ in range(stages):
        order = [
            (channel, row + above * side, column + left * side)
            for above, left in ((0, 0), (0, 1), (1, 0), (1, 1))
            for channel, row, column in order
        ]
        side *= 2
    return order


def _passing(norm: nn.BatchNorm2d, values: Tensor, passed: int, shift: Tensor) -> Tensor:
    """Make `norm` add `shift` [passed] to its first `passed` channels and keep their scale; returns what the ReLU
    after it gives of `values` [N, channels, rows, columns], in their place."""
    mean, variance = values.mean(dim=(0, 2, 3)), values.var(dim=(0, 2, 3), unbiased=False)
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("BatchNorm must keep running statistics")
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight[:passed] = (variance[:passed] + norm.eps).sqrt()
    norm.bias[:passed] = mean[:passed] + shift
    # In the place of `values`, which nobody needs any more: of all that a set-up holds these maps are the largest.
    gain = norm.weight * (variance + norm.eps).rsqrt()
    return values.mul_(gain[:, None, None]).add_((norm.bias - gain * mean)[:, None, None]).relu_()


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    if layer.bias is None:
        raise ValueError("the model's convolutions have a bias")
    return layer.bias
