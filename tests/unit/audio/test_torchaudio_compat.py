"""torchaudio must import beside every torch: each case runs in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from shared.audio.torchaudio_compat import import_torchaudio


def run_python(code: str) -> str:
    """Standard output of `code` in a fresh interpreter with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


FAIL_ONCE = """
    import importlib, sys, types
    import shared.audio.torchaudio_compat as compat
    real, calls = importlib.import_module, []
    {prepare}
    def fake(name):
        calls.append(name)
        if len(calls) == 1:
            raise {error}
        return real(name)
    compat.importlib.import_module = fake
"""


def test_the_filterbank_is_there_whatever_torch_is_installed():
    code = """
        from shared.audio.torchaudio_compat import import_torchaudio
        torchaudio = import_torchaudio()
        assert import_torchaudio() is torchaudio
        print(*torchaudio.functional.melscale_fbanks(1025, 0.0, 24000.0, 128, 48000).shape)
    """
    assert run_python(code) == "1025 128"


@pytest.mark.parametrize("error", ["OSError('libcudart.so is missing')", "RuntimeError('different CUDA versions')"])
def test_a_refused_extension_counts_as_absent(error: str):
    prepare = "loader = types.ModuleType('torchaudio._extension.utils'); sys.modules[loader.__name__] = loader"
    code = (
        FAIL_ONCE.format(prepare=prepare, error=error)
        + """
    stand_in = sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    assert compat.import_torchaudio() is stand_in
    print(loader._load_lib("_torchaudio"), calls)
    """
    )
    assert run_python(code) == "False ['torchaudio', 'torchaudio']"


def test_an_error_that_is_not_about_the_extension_is_raised():
    code = (
        FAIL_ONCE.format(prepare="", error="OSError('the disk is gone')")
        + """
    try:
        compat.import_torchaudio()
    except OSError as error:
        print(error, calls)
    """
    )
    assert run_python(code) == "the disk is gone ['torchaudio']"


def test_where_the_extension_loads_nothing_is_touched():
    code = """
        import sys, types
        loader = types.ModuleType("torchaudio._extension.utils")
        loader._load_lib = marker = object()
        sys.modules[loader.__name__] = loader
        sys.modules["torchaudio"] = healthy = types.ModuleType("torchaudio")
        from shared.audio.torchaudio_compat import import_torchaudio
        print(import_torchaudio() is healthy and loader._load_lib is marker)
    """
    assert run_python(code) == "True"


def test_it_imports_here():
    assert import_torchaudio().__name__ == "torchaudio"
