"""What torch and the audio libraries are like here, as JSON: `python -m deploy.cli.torch_probe`.

`doctor` runs this in a child: loading torch takes seconds, and a broken installation may take its process down.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable


def _torch() -> str:
    import torch  # noqa: PLC0415 - each probe reports its own failure

    backends = [f"{torch.cuda.device_count()} CUDA devices"] if torch.cuda.is_available() else []
    backends += ["MPS"] if torch.backends.mps.is_available() else []
    return f"{torch.__version__}, {', '.join(backends) or 'CPU only'}, {torch.get_num_threads()} threads"


def _torchaudio() -> str:
    from shared.audio.torchaudio_compat import import_torchaudio  # noqa: PLC0415

    return str(import_torchaudio().__version__)


def _soundfile() -> str:
    import soundfile  # noqa: PLC0415

    wanted = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF")
    missing = [name for name in wanted if name not in soundfile.available_formats()]
    if missing:
        raise RuntimeError(f"libsndfile {soundfile.__libsndfile_version__} cannot read {', '.join(missing)}")
    return f"{soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}: {', '.join(wanted)}"


def main() -> None:
    """Write what each probe found: [[name, fine, text], …]."""
    probes: dict[str, Callable[[], str]] = {"torch": _torch, "torchaudio": _torchaudio, "soundfile": _soundfile}
    found: list[tuple[str, bool, str]] = []
    for name, probe in probes.items():
        try:
            found.append((name, True, probe()))
        except Exception as error:
            found.append((name, False, f"{type(error).__name__}: {error}"))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
