"""A model as a file: safetensors, with a description that is enough to rebuild the model. Nothing here needs torch.

    bytes 0 … 7        length of the header, little-endian
    header             JSON: {name: {dtype, shape, data_offsets}, "__metadata__": {"spectrain": ModelDescription}}
    the rest           the tensors' values, without gaps

Format: github.com/huggingface/safetensors. A file from outside is looked at by `check_model_file`, which believes
nothing: every name, type, shape and offset has to be the one that the described model has, every value a number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from pydantic import ValidationError

from shared.config import FeatureConfig, Frozen, ModelConfig
from shared.errors import ConfigError
from shared.planning import STAGES

DESCRIPTION: Final = "spectrain"
"""Name of the description in the file's metadata."""
MAX_HEADER_BYTES: Final = 1 << 20
_VALUES: Final = 1 << 20
"""Values that are looked at together."""

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""Type (F32 or I64) and shape by name."""


class ModelDescription(Frozen):
    """What rebuilds the model beside its weights; travels inside the weights' file."""

    model: ModelConfig
    features: FeatureConfig
    scaling: dict[str, list[float]]


def model_tensors(config: ModelConfig) -> Tensors:
    """The weights and buffers of the model that `config` describes; `shared.vae.model` builds it."""
    channels = STAGES[config.representation]
    multiple = 2 ** (len(channels) - 1)
    cells = math.prod(-(-side // multiple) for side in (config.n_mels, config.frames))
    inner, latent = channels[-1] * cells, config.latent_dim
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}

    def layer(name: str, weight: tuple[int, ...], outputs: int) -> None:
        tensors[f"{name}.weight"] = ("F32", weight)
        tensors[f"{name}.bias"] = ("F32", (outputs,))

    def norm(name: str, width: int) -> None:
        layer(name, (width,), width)
        for buffer in ("running_mean", "running_var"):
            tensors[f"{name}.{buffer}"] = ("F32", (width,))
        tensors[f"{name}.num_batches_tracked"] = ("I64", ())

    for place, (narrow, wide) in enumerate(pairwise(channels)):
        layer(f"encoder.blocks.{4 * place}", (wide, narrow, 3, 3), wide)
        norm(f"encoder.blocks.{4 * place + 1}", wide)
    for name in ("to_mu", "to_logvar"):
        layer(f"encoder.{name}", (latent, inner), latent)
    layer("decoder.from_latent", (inner, latent), inner)
    reverse = channels[::-1]
    for place, (wide, narrow) in enumerate(pairwise(reverse)):
        layer(f"decoder.blocks.{3 * place}", (wide, narrow, 3, 3), narrow)
        if place < len(reverse) - 2:
            norm(f"decoder.blocks.{3 * place + 1}", narrow)
    return tensors


def check_model_file(path: Path) -> ModelDescription:
    """What the model in the file at `path` is; raises ConfigError, which says why, for one that cannot be used."""
    with path.open("rb") as file:
        header, size = _read_header(file, path.stat().st_size)
        description = _described(header.pop("__metadata__", None))
        wanted = model_tensors(description.model)
        _check_scaling(description)
        unknown, lacking = header.keys() - wanted.keys(), wanted.keys() - header.keys()
        if unknown or lacking:
            name = min(unknown or lacking)
            has = "has" if unknown else "lacks"
            raise _refused(f"it {has} the tensor {name[:100]!r}, which does not fit the model that it describes")
        _check_places(header, wanted, size)
        for name, (dtype, _) in wanted.items():
            if dtype == "F32":
                _check_values(file, name, header[name]["data_offsets"], size)
    return description


def _read_header(file: BinaryIO, file_size: int) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes of values there are after it."""
    length = int.from_bytes(file.read(8), "little")
    if file_size < 8 or length > min(MAX_HEADER_BYTES, file_size - 8):
        raise _refused("it is no safetensors file, or it was cut off")
    try:
        content: Any = json.loads(file.read(length), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise _refused("its header cannot be read") from error
    if not isinstance(content, dict):
        raise _refused("its header cannot be read")
    return cast(dict[str, Any], content), file_size - 8 - length


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name stands there twice")
    return content


def _described(metadata: object) -> ModelDescription:
    said = cast(dict[str, object], metadata).get(DESCRIPTION) if isinstance(metadata, dict) else None
    if not isinstance(said, str):
        raise _refused("it does not tell which model it holds: export it with Spectrain, or give --description")
    try:
        return ModelDescription.model_validate_json(said)
    except ValidationError as error:
        raise _refused("its description is not one of a model that this version knows") from error


def _check_scaling(description: ModelDescription) -> None:
    channels, scaling = STAGES[description.model.representation][0], description.scaling
    fits = scaling.keys() == {"mean", "scale"} and all(len(values) == channels for values in scaling.values())
    if not fits or not all(scale > 0 for scale in scaling["scale"]):
        raise _refused("the scaling in its description does not fit the model")


def _check_places(header: Mapping[str, Any], wanted: Tensors, size: int) -> None:
    """Types, shapes, and places that follow each other from the first byte to the last."""
    places: list[tuple[int, int]] = []
    for name, (dtype, shape) in wanted.items():
        said: Any = header[name]
        length = math.prod(shape) * (4 if dtype == "F32" else 8)
        if not isinstance(said, dict) or said != {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": cast(dict[str, Any], said).get("data_offsets"),
        }:
            raise _refused(f"its tensor {name!r} is not {dtype} of the shape {list(shape)}")
        offsets: Any = cast(dict[str, Any], said)["data_offsets"]
        if not (
            isinstance(offsets, list)
            and len(cast(list[Any], offsets)) == 2
            and all(type(offset) is int for offset in cast(list[Any], offsets))
            and offsets[1] - offsets[0] == length
        ):
            raise _refused(f"its tensor {name!r} has a wrong place")
        places.append((offsets[0], offsets[1]))
    end = 0
    for first, last in sorted(places):
        if first != end:
            raise _refused("its tensors overlap, or leave gaps")
        end = last
    if end != size:
        raise _refused("it has more or fewer bytes than its header says")


def _check_values(file: BinaryIO, name: str, offsets: list[int], size: int) -> None:
    """`size` bytes of values end the file."""
    import numpy as np  # noqa: PLC0415 - the api starts without it: it is needed where a model comes from outside

    file.seek(offsets[0] - size, 2)
    left = (offsets[1] - offsets[0]) // 4
    while left:
        values = np.frombuffer(file.read(4 * min(left, _VALUES)), dtype="<f4")
        if not values.size or not np.isfinite(values).all():
            raise _refused(f"its tensor {name!r} holds values that are no numbers")
        left -= values.size


def _refused(why: str) -> ConfigError:
    return ConfigError(f"This file cannot be imported: {why}.", field="file")
