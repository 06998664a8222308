"""Probing files: every format that is promised passes, everything else is refused by name with a reason."""

from __future__ import annotations

import os
import signal
import struct
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from api.datasets.completeness import missing_bytes
from api.datasets.probe import AudioProbe
from shared.errors import AudioError, ServiceError
from tests.sounds import make_sound

FORMATS = (
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("AIFF", "PCM_16"),
    ("MP3", "MPEG_LAYER_III"),
)


@pytest.fixture(scope="module")
def probe() -> Iterator[AudioProbe]:
    probe = AudioProbe()
    yield probe
    probe.close()


def written(path: Path, *, container: str = "WAV", subtype: str = "PCM_16", frames: int = 48_000) -> Path:
    """A stereo file of `frames` frames at 48 kHz, whatever its name says."""
    sound = make_sound(1, duration_s=frames / 48_000)
    soundfile.write(path, np.stack([sound, -sound], axis=1), 48_000, format=container, subtype=subtype)
    return path


def refusal(probe: AudioProbe, path: Path, name: str = "kick.wav") -> str:
    with pytest.raises(AudioError) as caught:
        probe.probe(path, name)
    assert caught.value.file_name == name
    assert str(caught.value).startswith(f"{name} ")
    return str(caught.value)


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_every_promised_format_passes(probe: AudioProbe, tmp_path: Path, container: str, subtype: str) -> None:
    path = written(tmp_path / "sound", container=container, subtype=subtype)
    sound = probe.probe(path, "sound")
    assert (sound.num_samples, sound.sample_rate, sound.channels) == (48_000, 48_000, 2)
    assert sound.format == f"{container} {subtype}"
    assert missing_bytes(path) == 0


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_a_file_that_was_cut_off_is_refused(probe: AudioProbe, tmp_path: Path, container: str, subtype: str) -> None:
    path = written(tmp_path / "sound", container=container, subtype=subtype)
    os.truncate(path, path.stat().st_size * 2 // 3)
    sentence = refusal(probe, path)
    assert "cut off" in sentence or "damaged" in sentence


@pytest.mark.parametrize(
    "content", [b"not a sound\n" * 500, bytes(10_000), b"ID3" + bytes(3_000), b"\x89PNG\r\n\x1a\n" + bytes(3_000)]
)
def test_something_else_is_refused_whatever_its_name(probe: AudioProbe, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.wav"
    path.write_bytes(content)
    assert "kick.wav is not an audio file that can be read (WAV, FLAC, OGG, AIFF, MP3 …)" in refusal(probe, path)


def test_an_empty_file_is_refused(probe: AudioProbe, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert refusal(probe, path) == "kick.wav is empty."


def test_a_short_file_is_refused(probe: AudioProbe, tmp_path: Path) -> None:
    assert "at least 2,048" in refusal(probe, written(tmp_path / "short", frames=2_047))
    assert probe.probe(written(tmp_path / "enough", frames=2_048), "kick.wav").num_samples == 2_048


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(probe: AudioProbe, tmp_path: Path, value: float) -> None:
    sound = make_sound(1)
    sound[-1] = value
    path = tmp_path / "sound"
    soundfile.write(path, sound, 48_000, format="WAV", subtype="FLOAT")
    assert "NaN or infinity" in refusal(probe, path)


def test_a_broken_file_is_refused(probe: AudioProbe, tmp_path: Path) -> None:
    path = written(tmp_path / "sound", container="FLAC")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2_000] = bytes(2_000)
    path.write_bytes(content)
    assert "damaged" in refusal(probe, path)


def test_a_header_that_promises_days_is_refused_at_once(probe: AudioProbe, tmp_path: Path) -> None:
    path = written(tmp_path / "sound", container="FLAC")
    content = bytearray(path.read_bytes())
    # The last 36 bits of STREAMINFO's rate, channels, depth and length are the number of samples.
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    assert "too long" in refusal(probe, path)


def test_a_wav_written_to_a_pipe_has_no_length_and_passes(probe: AudioProbe, tmp_path: Path) -> None:
    path = written(tmp_path / "sound")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFF_FFFF)
    path.write_bytes(content)
    assert probe.probe(path, "kick.wav").num_samples == 48_000


CHILD = """
    import json, os, signal, socket, sys
    requests = socket.socket(fileno=0)
    while True:
        said, files, _, _ = socket.recv_fds(requests, 4096, 1)
        if not said:
            sys.exit(0)
        deed = os.read(files[0], 100)
        os.close(files[0])
        if deed == b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if deed == b"hang":
            signal.pause()
        if deed == b"idle":
            sys.exit(0)
        answer = {"frames": 4096, "sample_rate": 48000, "channels": 1, "format": "WAV", "subtype": "PCM_16"}
        answer |= {"peak": 0.5, "rms": 0.1, "clipped": 0, "silent_before": 0, "silent_after": 0, "sound_sha256": "a"}
        print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[AudioProbe]:
    """A probe whose process does what stands in the file."""
    child = tmp_path / "child.py"
    child.write_text(textwrap.dedent(CHILD))
    probe = AudioProbe(child=child, timeout_s=1.0)
    yield probe
    probe.close()


@pytest.mark.parametrize(("deed", "says"), [("crash", "makes the decoder crash"), ("hang", "takes too long")])
def test_a_file_that_brings_the_decoder_down_costs_itself_only(
    fragile: AudioProbe, tmp_path: Path, deed: str, says: str
) -> None:
    good, bad = written(tmp_path / "good"), tmp_path / "bad"
    bad.write_bytes(deed.encode())
    assert fragile.probe(good, "good.wav").num_samples == 4_096
    assert says in refusal(fragile, bad)
    assert fragile.probe(good, "good.wav").num_samples == 4_096


def test_a_process_that_ended_while_idle_is_started_again(fragile: AudioProbe, tmp_path: Path) -> None:
    good = written(tmp_path / "good")
    fragile.probe(good, "good.wav")
    process = fragile._decoder._process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert fragile.probe(good, "good.wav").num_samples == 4_096


def test_a_process_that_never_answers_is_a_fault_of_the_api(fragile: AudioProbe, tmp_path: Path) -> None:
    path = tmp_path / "sound"
    path.write_bytes(b"idle")
    with pytest.raises(ServiceError):
        fragile.probe(path, "kick.wav")


@pytest.mark.parametrize("name", ["._", ".AppleDouble"])
def test_nothing_in_the_working_directory_is_taken_for_a_part_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = written(tmp_path / "sound", container="MP3", subtype="MPEG_LAYER_III")
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    with suppress(soundfile.LibsndfileError), path.open("rb") as file:
        sound = soundfile.SoundFile(file.fileno(), closefd=False)
        pytest.fail(f"without a limit {name} does no harm: {sound}")
    probe = AudioProbe()
    try:
        assert probe.probe(path, "kick.mp3").format == "MP3 MPEG_LAYER_III"
        assert probe.probe(path, "kick.mp3").num_samples == 48_000, "and the same process reads the next one"
    finally:
        probe.close()


@pytest.mark.skipif(sys.platform != "linux", reason="what a process may do is told in /proc")
def test_the_process_that_decodes_has_no_rights_and_little_of_anything(probe: AudioProbe, tmp_path: Path) -> None:
    path = written(tmp_path / "sound")
    path.chmod(0o600)
    tmp_path.chmod(0o700)
    probe.probe(path, "kick.wav")
    process = probe._decoder._process
    assert process is not None
    place = Path(f"/proc/{process.pid}")
    status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split()[1] != "0", "it is not root, whoever started it"
    assert status["NoNewPrivs"].strip() == "1"
    assert int(status["CapEff"], 16) == 0
    limits = {line[:26].strip(): line[26:].split()[0] for line in (place / "limits").read_text().splitlines()[1:]}
    assert limits["Max file size"] == limits["Max core file size"] == limits["Max processes"] == "0"
    assert int(limits["Max address space"]) <= 2 << 30
    assert int(limits["Max open files"]) == len(list((place / "fd").iterdir())) + 1, "no file but the one it is given"
    assert int(limits["Max cpu time"]) <= 200


def test_what_a_person_should_hear_about_is_measured(probe: AudioProbe, tmp_path: Path) -> None:
    cut_off = np.clip(1.5 * np.sin(np.arange(24_000) / 40), -1, 1)
    sound = np.round(32_767 * np.concatenate([np.zeros(4_800), cut_off, np.zeros(9_600)])).astype(np.int16)
    soundfile.write(tmp_path / "a", sound, 48_000, format="WAV", subtype="PCM_16")
    soundfile.write(tmp_path / "b", sound, 48_000, format="FLAC", subtype="PCM_16")
    soundfile.write(tmp_path / "c", sound // 4, 48_000, format="WAV", subtype="PCM_16")
    a, b, c = (probe.probe(tmp_path / name, name).measures for name in "abc")
    assert a == b, "the same samples in another container"
    assert a.sound_sha256 != c.sound_sha256
    assert abs(a.silent_before - 4_800) < 5
    assert abs(a.silent_after - 9_600) < 5
    assert a.peak == pytest.approx(1, abs=1e-3)
    assert a.clipped > 1_000
    assert c.clipped == 0
    assert c.rms == pytest.approx(a.rms / 4, rel=1e-3)


def test_silence_is_all_before(probe: AudioProbe, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence", np.zeros(4_800), 48_000, format="WAV", subtype="PCM_16")
    measures = probe.probe(tmp_path / "silence", "silence.wav").measures
    assert (measures.silent_before, measures.silent_after, measures.peak) == (4_800, 0, 0.0)
