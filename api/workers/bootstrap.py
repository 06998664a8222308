"""Makes this machine a worker of a Spectrain server. Served at /join; runs where nothing of Spectrain is installed yet.

    python3 -c "import urllib.request as u; exec(u.urlopen('http://HOST:8000/join').read())" \
        --server http://HOST:8000 --token spt_... [--torch-index URL] [--data DIR] [options of `spectrain worker`]

Standard library alone, and written so that any Python 3 can read it far enough to say that it is too old. It makes a
virtual environment in the user's data folder, installs what the server runs (its wheel, its exact versions of
everything else), and goes on as `spectrain worker`. What is installed already is not installed again.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the machine that joins may have an older one
    sys.exit(
        "Spectrain needs Python 3.11 or newer, and this is Python "
        + ".".join(str(part) for part in sys.version_info[:3])
        + ": run the same line with a newer one, such as python3.11 or python3.13."
    )

import argparse
import fcntl
import hashlib
import json
import os
import platform
import subprocess
import urllib.error
import urllib.request
import venv
from pathlib import Path

ANSWER_LIMIT_S = 60.0


class JoinError(Exception):
    """This machine cannot join; the message says what to do."""


def default_data() -> Path:
    """Where Spectrain keeps its files unless it is told otherwise."""
    if os.environ.get("SPECTRAIN_DATA"):
        return Path(os.environ["SPECTRAIN_DATA"])
    if platform.system() == "Darwin":
        return Path.home() / "Library" / "Application Support" / "spectrain"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "spectrain"


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """What is meant for this script, and the rest, which is for `spectrain worker`."""
    parser = argparse.ArgumentParser(
        prog="join",
        description="Make this machine a worker of a Spectrain server.",
        epilog="Other options are those of `spectrain worker`: --device, --name, --label.",
        allow_abbrev=False,
    )
    parser.add_argument("--server", required=True, help="address of the server, such as http://studio:8000")
    parser.add_argument("--token", default=os.environ.get("SPECTRAIN_TOKEN", ""), help="token; also SPECTRAIN_TOKEN")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder that everything is kept in")
    parser.add_argument("--torch-index", help="package index that torch comes from; '' for pip's own choice")
    known, rest = parser.parse_known_args(arguments)
    known.server = known.server.rstrip("/")
    if not known.server.startswith(("http://", "https://")):
        parser.error("--server is an address that begins with http:// or https://")
    known.data = known.data.expanduser().absolute()
    if not known.token:
        parser.error("--token is missing: the server's page, or `spectrain token create --role worker`, makes one")
    return known, rest


class Server:
    """The server that this machine joins."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._token = token

    def get(self, path: str) -> bytes:
        """What the server has at `path`; raises JoinError."""
        url = f"{self._address}/api/v1/join/{path}"
        try:
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._token}"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_S) as answer:  # noqa: S310 - parse() looked
                return answer.read()
        except urllib.error.HTTPError as error:
            raise JoinError(_sentence(error)) from error
        except (OSError, ValueError) as error:
            raise JoinError(
                f"No server answers at {self._address} ({error}): look at the address, and at the firewall there."
            ) from error


def _sentence(error: urllib.error.HTTPError) -> str:
    """What the server says of its refusal."""
    try:
        return str(json.loads(error.read())["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"The server answers with HTTP {error.code}: is that a Spectrain server?"


class Environment:
    """The virtual environment under `data`, with what was installed into it noted in a stamp."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "joined"
        self._venv = self._folder / "venv"
        self._stamp = self._folder / "installed.json"
        self._python = self._venv / "bin" / "python"

    @property
    def command(self) -> list[str]:
        """How the `spectrain` in it is run."""
        return [str(self._python), str(self._venv / "bin" / "spectrain")]

    def install(self, server: Server, torch_index: str | None) -> None:
        """Have what the server runs; raises JoinError."""
        release = json.loads(server.get("wheel"))
        constraints = server.get("constraints")
        index = release["torch_index"] if torch_index is None else torch_index
        wanted = {
            "wheel": release["sha256"],
            "constraints": hashlib.sha256(constraints).hexdigest(),
            "torch_index": index,
            "python": platform.python_version(),
            "folder": str(self._folder),
        }
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Two pasted lines at once must not write into one environment; the second finds everything done.
        with (self._folder / "install.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            there = self._installed()
            if there == wanted:
                return
            say(f"Installing Spectrain {release['version']}. The first time takes minutes: torch alone can be 2 GB.")
            # While pip works there is no stamp: what was cut off is thrown away and made anew.
            self._stamp.unlink(missing_ok=True)
            if any(there.get(name) != wanted[name] for name in ("python", "folder")):
                self._make_venv()
            else:
                # The same version with other content, or torch of another build, counts as installed already.
                torch = ["torch"] if there["torch_index"] != index else []
                self._pip("uninstall", "--yes", "--quiet", "spectrain", *torch)
            self._install_wheel(server, release, constraints, index)
            self._stamp.write_text(json.dumps(wanted))

    def _installed(self) -> dict[str, str]:
        """What the stamp says; nothing where there is none, or where the Python behind the environment is gone."""
        try:
            stamp = dict(json.loads(self._stamp.read_text()))
            subprocess.run([self._python, "-c", ""], check=True, capture_output=True)
        except (OSError, ValueError, TypeError, subprocess.CalledProcessError):
            return {}
        return stamp

    def _make_venv(self) -> None:
        try:
            venv.create(self._venv, clear=True, with_pip=True, symlinks=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise JoinError(
                f"{self._venv} could not be made ({error}): look at space and permissions, and on Debian and Ubuntu "
                "install python3-venv."
            ) from error

    def _install_wheel(self, server: Server, release: dict[str, str], constraints: bytes, index: str) -> None:
        wheel = self._folder / release["file"]
        content = server.get(f"wheel/{release['file']}")
        if hashlib.sha256(content).hexdigest() != release["sha256"]:
            raise JoinError("The wheel came damaged over the network: run the line again.")
        wheel.write_bytes(content)
        pins = self._folder / "constraints.txt"
        pins.write_bytes(constraints)
        if index:
            torch = next(line for line in constraints.decode().splitlines() if line.startswith("torch=="))
            self._pip("install", "--extra-index-url", index, torch)
        self._pip("install", "--constraint", str(pins), str(wheel))
        wheel.unlink()

    def _pip(self, *arguments: str) -> None:
        environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONNOUSERSITE": "1"}
        command = [str(self._python), "-m", "pip", *arguments]
        if subprocess.run(command, check=False, env=environment).returncode:
            raise JoinError("The packages could not be installed; what pip says is above. Run the line again.")


def say(text: str) -> None:
    """Tell the person what happens."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> None:
    """Install what is missing and go on as the worker."""
    options, rest = parse(arguments)
    environment = Environment(options.data)
    try:
        environment.install(Server(options.server, options.token), options.torch_index)
    except JoinError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        say("Stopped. The same line goes on.")
        sys.exit(130)
    # The token goes by the environment: arguments of a process can be read by everybody on its machine.
    os.environ["SPECTRAIN_TOKEN"] = options.token
    command = [*environment.command, "worker", "--server", options.server, "--data", str(options.data), *rest]
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
