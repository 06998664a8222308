"""The one place where torchaudio is imported.

The torchaudio wheel on PyPI is linked against CUDA. Beside a torch without CUDA the dynamic loader refuses its
compiled extension and `import torchaudio` raises OSError; beside a torch for another CUDA version torchaudio
itself raises RuntimeError. Everything used here is plain Python, and torchaudio works without the extension
when the file is absent. So the real import goes first, and only after it failed is torchaudio told that its
extension is absent: its loader of compiled files, which outlives the failed import, answers "not there" from
then on, and the import is repeated. Where the extension loads (CUDA, macOS), nothing is touched.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType
from typing import Final

_LOADER: Final = "torchaudio._extension.utils"
_lock = threading.Lock()


def import_torchaudio() -> ModuleType:
    """The torchaudio package, with or without its compiled extension.

    Raises what `import torchaudio` raised when that has nothing to do with the extension.
    """
    with _lock:
        try:
            return importlib.import_module("torchaudio")
        except (OSError, RuntimeError):
            loader = sys.modules.get(_LOADER)
            if loader is None:
                raise
            vars(loader)["_load_lib"] = _extension_is_absent
            return importlib.import_module("torchaudio")


def _extension_is_absent(lib: str) -> bool:  # noqa: ARG001  # the signature is torchaudio's
    """What torchaudio's loader answers for a compiled file that was not installed."""
    return False
