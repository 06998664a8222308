"""Turns a file of `torch.save` that a stranger made into safetensors, in a process with limits of its own.

Started by `spectrain model import` as a plain script in Python's isolated mode: `IN OUT [DESCRIPTION]`; IN may be
safetensors without a description, too. It writes the file OUT, and one line of JSON to standard output: {"refused":
"…"}, with nothing in it where all went well.

A pickle can name any function and have it called. `weights_only` lets it name nothing but what tensors are made of;
should that have a hole, this process can start no other one (where the system knows that limit), write no file but a
small one, and inherits neither secrets nor connections.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

ADDRESS_SPACE_BYTES: Final = 16 << 30
"""torch alone maps several GB; what of it is in memory is little."""
MAX_FILE_BYTES: Final = 2 << 30
CPU_S: Final = 300
MAX_TENSORS: Final = 10_000


def main() -> None:
    """Convert the file that the arguments name."""
    source, target, description = (*sys.argv[1:], "")[:3]
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library says is no answer
    import torch  # noqa: PLC0415 - it needs threads and memory before there are limits
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - the same

    torch.set_num_threads(1)
    limit_process()
    refused = ""
    try:
        content: Any = (
            load_file(source)
            if is_safetensors(source)
            else torch.load(source, map_location="cpu", weights_only=True, mmap=False)
        )
        tensors, said = find_weights(content, torch.Tensor)
        plain = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
        plain = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in plain.items()}
        save_file(plain, target, metadata={"spectrain": description or said})
    except Exception as error:  # whatever is in the file, the answer is a sentence
        # The message of the unpickler goes on about how to trust the file all the same.
        first = next(iter(str(error).splitlines()), "")[:200]
        refused = f"{type(error).__name__}: {first}".rstrip(": ")
    answers.write(json.dumps({"refused": refused}) + "\n")
    answers.flush()


def is_safetensors(source: str | Path) -> bool:
    """Whether the file begins as one does: a length, then a JSON object."""
    with Path(source).open("rb") as content:
        return content.read(9)[8:] == b"{"


def find_weights(content: Any, tensor: type[Any]) -> tuple[dict[str, Any], str]:
    """The tensors by name, and the description of the model where the file has one."""
    if not isinstance(content, dict):
        raise TypeError("it holds no dictionary of weights")
    description = content.get("spectrain", "")
    inner = next((content[name] for name in ("state_dict", "model") if isinstance(content.get(name), dict)), content)
    weights = {name: value for name, value in inner.items() if name != "spectrain"}
    if len(weights) > MAX_TENSORS or not all(
        isinstance(name, str) and isinstance(value, tensor) and value.layout.__repr__() == "torch.strided"
        for name, value in weights.items()
    ):
        raise TypeError("it holds something else than named tensors")
    return weights, description if isinstance(description, str) else ""


def limit_process() -> None:
    """From here on."""
    for name, value in (
        ("RLIMIT_AS", ADDRESS_SPACE_BYTES),
        ("RLIMIT_CPU", CPU_S),
        ("RLIMIT_FSIZE", MAX_FILE_BYTES),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_CORE", 0),
    ):
        # A system that does not know a limit refuses to set it; the others still hold.
        with suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))


if __name__ == "__main__":
    main()
