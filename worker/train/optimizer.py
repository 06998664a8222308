"""From gradients to weights: AdamW, or Muon for the weights inside the model and AdamW for the rest.

    gradients --clipped, as they are read--> Optimizer.update --> weights

From CUDA nothing is read back: where an update is to be skipped, a flag that lies there says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shared.config import TrainConfig
from shared.vae.convolution import DoublingConv, HalvingConv
from shared.vae.model import ConvVAE
from worker.train.muon import InnerWeight, Muon


class Optimizer:
    """Updates the weights of one model."""

    def __init__(self, config: TrainConfig, model: ConvVAE, device: torch.device, *, recorded: bool) -> None:
        """`recorded`: on CUDA, updates are part of a graph."""
        self._grad_clip = config.grad_clip
        self._learning_rate = config.learning_rate
        # The fused optimizer can skip an update by itself, and clips as it goes; MPS has none that does.
        self._fused = device.type in ("cpu", "cuda")
        self._waits = device.type != "cuda"
        """Whether the host looks at each step's outcome: on the CPU it is there, and MPS has no other way."""
        inner = _inner_weights(model) if config.optimizer == "muon" else {}
        self._muon = Muon(inner, config.weight_decay)
        self._others = [weight for name, weight in model.named_parameters() if name not in inner]
        self.adamw = torch.optim.AdamW(
            self._others, lr=config.learning_rate, weight_decay=config.weight_decay, fused=self._fused
        )
        for group in self.adamw.param_groups:
            group["capturable"] = recorded and device.type == "cuda"

    @property
    def momentum(self) -> Mapping[str, Tensor]:
        """Muon's, by the name of the weight."""
        return self._muon.momentum

    def update(self, bad: Tensor, norm: Tensor, learning_rate: float | Tensor) -> None:
        """One update with the gradients, `norm` of them all clipped; none where `bad` is true."""
        if self._waits and bool(bad):
            return
        # Clipping as it passes over the gradients anyway.
        divisor = (norm / self._grad_clip).clamp_min(1.0)
        if self._muon.momentum:
            rate = learning_rate if isinstance(learning_rate, Tensor) else torch.full_like(norm, learning_rate)
            self._muon.step(rate, 1.0 / divisor, None if self._waits else bad)
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        if self._fused:
            vars(self.adamw)["found_inf"] = bad.to(torch.float32)
            vars(self.adamw)["grad_scale"] = divisor
        else:
            nn.utils.clip_grads_with_norm_(self._others, self._grad_clip, norm)
        self.adamw.step()

    def changed(self) -> list[Tensor]:
        """The tensors of its own that an update changes."""
        moments = [value for state in self.adamw.state.values() for value in state.values()]
        return [*moments, *self._muon.momentum.values()]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: the same whichever way steps are computed."""
        state = self.adamw.state_dict()
        groups = [{**group, "lr": self._learning_rate, "capturable": False} for group in state["param_groups"]]
        return {"state": state["state"], "param_groups": groups, "momentum": self._muon.momentum}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put `state` back. Settings stay this one's own: they follow from configuration and device."""
        groups = [
            {**own, "params": saved["params"]}
            for own, saved in zip(self.adamw.state_dict()["param_groups"], state["param_groups"], strict=True)
        ]
        self.adamw.load_state_dict({"state": state["state"], "param_groups": groups})
        for parameter, values in self.adamw.state.items():
            for name, value in values.items():
                # The fused update walks through raw memory: moments must lie there as their parameter does.
                if value.shape == parameter.shape:
                    values[name] = torch.empty_like(parameter).copy_(value)
        kept: Mapping[str, Tensor] = state.get("momentum", {})  # absent where all was AdamW's
        for name, momentum in self._muon.momentum.items():
            momentum.copy_(kept[name])


def _inner_weights(model: ConvVAE) -> dict[str, InnerWeight]:
    """Matrices and convolution kernels, by name, but for the two that touch the spectrogram itself."""
    outer = (model.encoder.blocks[0], model.decoder.blocks[-1])
    owners = ((name, weight, model.get_submodule(name.rpartition(".")[0])) for name, weight in model.named_parameters())
    return {
        name: _inner_weight(layer, weight) for name, weight, layer in owners if weight.ndim >= 2 and layer not in outer
    }


def _inner_weight(layer: nn.Module, weight: Tensor) -> InnerWeight:
    """`weight` with what its `layer` makes of how much; raises TypeError for a layer that no rule is known for."""
    match layer:
        case nn.Linear():
            return InnerWeight(weight=weight, inputs=layer.in_features, outputs=layer.out_features)
        case HalvingConv():
            return InnerWeight(weight=weight, inputs=9 * layer.in_channels, outputs=layer.out_channels)
        case DoublingConv():
            # A quarter of the nine taps falls on cells that there are. The kernel is orthogonalized as that of the
            # halving layer whose adjoint it is, and moves half as far as the law says: no less well (measured).
            return InnerWeight(weight=weight, inputs=9 / 4 * layer.in_channels, outputs=layer.out_channels)
        case _:
            raise TypeError(f"no rule says how far the weights of a {type(layer).__name__} move")
