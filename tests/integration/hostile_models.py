"""Files that want to be run: a reader that trusts them leaves a mark, or goes down."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

Maker = Callable[[Path, Path], None]
"""Writes the file at the first path; where it is run, it makes the second one."""


class Calls:
    """Has `function` called when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._call


class Builds(Calls):
    """The same, after which a state is set."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (*self._call, {"state": 1})


def code(mark: Path) -> str:
    return f"import pathlib; pathlib.Path({str(mark)!r}).touch()"


def system(path: Path, mark: Path) -> None:
    import os

    torch.save({"weight": Calls(os.system, f"touch {mark}")}, path)


def executes(path: Path, mark: Path) -> None:
    torch.save(Calls(exec, code(mark)), path)


def evaluates_deep_inside(path: Path, mark: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1), "b": [[Calls(eval, f"exec({code(mark)!r})")]]}}, path)


def starts_a_process(path: Path, mark: Path) -> None:
    import subprocess

    torch.save([Calls(subprocess.check_call, ["touch", str(mark)])], path)


def builds(path: Path, mark: Path) -> None:
    torch.save({"weight": Builds(exec, code(mark))}, path)


def imports(path: Path, mark: Path) -> None:
    import runpy

    (mark.parent / f"{mark.name}.py").write_text(code(mark))
    torch.save(Calls(runpy.run_path, str(mark.parent / f"{mark.name}.py")), path)


def loads_again(path: Path, mark: Path) -> None:
    """What is allowed inside what is not: a pickle that unpickles another."""
    torch.save({"weight": Calls(pickle.loads, pickle.dumps(Calls(exec, code(mark))))}, path)


def key_of_a_dictionary(path: Path, mark: Path) -> None:
    torch.save({Calls(exec, code(mark)): torch.zeros(1)}, path)


def global_opcode(path: Path, mark: Path) -> None:
    """Protocol 0, as a file of torch before its zip archives."""
    path.write_bytes(f"cposix\nsystem\n(S'touch {mark}'\ntR.".encode())


def inst_opcode(path: Path, mark: Path) -> None:
    path.write_bytes(f"(S'touch {mark}'\niposix\nsystem\n.".encode())


def stack_global_opcode(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Calls(exec, code(mark)), protocol=5))


def legacy_stream(path: Path, mark: Path) -> None:
    torch.save({"weight": Calls(exec, code(mark))}, path, _use_new_zipfile_serialization=False)


def tar_of_old(path: Path, mark: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps(Calls(exec, code(mark)))
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def whole_module(path: Path, mark: Path) -> None:
    module = torch.nn.Linear(1, 1)
    module.extra = Calls(exec, code(mark))  # pyright: ignore[reportAttributeAccessIssue]
    torch.save(module, path)


def script_archive(path: Path, mark: Path) -> None:
    """As TorchScript has it: code of its own beside pickles."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/constants.pkl", pickle.dumps(()))
        archive.writestr("archive/data.pkl", pickle.dumps(Calls(exec, code(mark)), protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/code/__torch__.py", code(mark))


def nested_zips_with_paths(path: Path, mark: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1 << 24))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Calls(exec, code(mark)), protocol=2))
        archive.writestr(f"../../../../../../{mark}", "escaped")
        archive.writestr("archive/data/0", inner.getvalue())
        archive.writestr("archive/version", "3\n")


def huge_sizes(path: Path, _mark: Path) -> None:
    """A string of 2^62 bytes."""
    path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x")


def tensor_beyond_its_storage(path: Path, _mark: Path) -> None:
    content = io.BytesIO()
    torch.save({"weight": torch.zeros(4)}, content)
    with zipfile.ZipFile(content) as good, zipfile.ZipFile(path, "w") as archive:
        for name in good.namelist():
            data = good.read(name)
            # The size (4,) as BININT1, made 250.
            archive.writestr(name, data.replace(b"K\x04\x85", b"K\xfa\x85") if name.endswith("data.pkl") else data)


TRAPS: tuple[Maker, ...] = (
    system,
    executes,
    evaluates_deep_inside,
    starts_a_process,
    builds,
    imports,
    loads_again,
    key_of_a_dictionary,
    global_opcode,
    inst_opcode,
    stack_global_opcode,
    legacy_stream,
    whole_module,
)
"""A reader that trusts them makes the mark."""
OTHERS: tuple[Maker, ...] = (tar_of_old, script_archive, nested_zips_with_paths, huge_sizes, tensor_beyond_its_storage)
"""These go wrong in other ways, or with older readers."""


def forged(header: object, values: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with that header."""
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(said) if length is None else length).to_bytes(8, "little") + said + values


def forgeries(good: bytes) -> dict[str, bytes]:
    """Changes of a file that fits, and files that never did, by what is wrong."""
    length = int.from_bytes(good[:8], "little")
    header: dict[str, Any] = json.loads(good[8 : 8 + length])
    values, name = good[8 + length :], "encoder.to_mu.bias"
    said = json.loads(header["__metadata__"]["spectrain"])

    def changed(**fields: object) -> bytes:
        return forged({**header, name: {**header[name], **fields}}, values)

    def described(description: object) -> bytes:
        return forged({**header, "__metadata__": {"spectrain": json.dumps(description)}}, values)

    first, last = header[name]["data_offsets"]
    return {
        "a header longer than the file": forged(header, values, length=1 << 63),
        "a header of nearly all memory": forged(header, values, length=(1 << 40)),
        "no header": b"\xff" * 4,
        "a deep header": forged(b"[" * 100_000 + b"]" * 100_000),
        "a header that is a list": forged([1, 2]),
        "a name twice": forged(b'{"a": 1, "a": 2}'),
        "no description": forged({key: value for key, value in header.items() if key != "__metadata__"}, values),
        "a description that is code": described("__import__('os').system('true')"),
        "a model without end": described({**said, "model": {**said["model"], "n_mels": 10**9, "latent_dim": 10**9}}),
        "another model": described({**said, "model": {**said["model"], "latent_dim": 5}}),
        "a scaling by nothing": described({**said, "scaling": {"mean": [0.0], "scale": [0.0]}}),
        "a shape that overflows": changed(shape=[1 << 32, 1 << 32]),
        "another type": changed(dtype="F16"),
        "places that overlap": changed(data_offsets=[0, last - first]),
        "a place beyond the end": changed(data_offsets=[first + (1 << 40), last + (1 << 40)]),
        "a place before the start": changed(data_offsets=[-8, last - first - 8]),
        "a place that is no number": changed(data_offsets=["0", "8"]),
        "a tensor named as a path": forged({**header, "../../evil": header[name]}, values),
        "cut off": good[:-1],
        "more behind": good + b"x",
        "not a number": good[: 8 + length] + b"\x00\x00\xc0\x7f" * (len(values) // 4),
        "safetensors of something else": save({"x": torch.zeros(3)}),
    }
