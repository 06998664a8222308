"""Makes `.venv` and installs Spectrain into it; does nothing, in a moment, where all of that is up to date.

Runs under whatever Python was found, before anything is installed: standard library alone. What was installed
stands in a stamp, `.venv/spectrain.json`, with hashes of the files that decided it. While pip works the stamp
says so, so that an installation that was cut off is thrown away and made anew.

The packages and the page are two steps: where the page cannot be built, the rest works without it.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_NOT_SOURCES = {"node_modules", "dist", "coverage"}
"""Folders of the page that its build does not read."""


class InstallError(Exception):
    """The installation cannot go on; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What `.venv` holds; empty strings for what it does not hold yet."""

    root: str = ""
    """Folder of the source tree: scripts in `.venv/bin` begin with its path."""
    python: str = ""
    """Version that `.venv` was made with."""
    installing: bool = False
    """True while pip works."""
    packages: str = ""
    """Hash of what decided which packages there are."""
    tests: bool = False
    """True when the tools of the tests are there too."""
    page: str = ""
    """Hash of the sources that the page was built from."""
    torch_index: str = ""
    """Package index that torch came from; empty for pip's own choice."""

    @classmethod
    def read(cls, path: Path) -> Stamp:
        """The stamp at `path`; an empty one where there is none that can be read."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, path: Path) -> None:
        """Replace the stamp at `path` as a whole."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self), indent=2))
        temporary.replace(path)


def fingerprint(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents of the files at and below `paths`, leaving out what builds leave behind."""
    digest = hashlib.sha256()
    for path in sorted(file for start in paths for file in _files(start)):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(start: Path) -> Iterable[Path]:
    if start.is_file():
        yield start
    elif start.is_dir():
        for entry in start.iterdir():
            if entry.name not in _NOT_SOURCES and not entry.name.startswith("."):
                yield from _files(entry)


class Installation:
    """The `.venv` of the source tree at `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / ".venv"
        self._python = self._folder / "bin" / "python"
        self._stamp_path = self._folder / "spectrain.json"
        self._version = ".".join(str(part) for part in sys.version_info[:3])

    def bring_up_to_date(self, *, tests: bool, torch_index: str) -> None:
        """Install what is missing or has changed; raises InstallError."""
        stamp = self._usable_stamp()
        torch_index = torch_index or stamp.torch_index
        packages = fingerprint(self._root, [self._root / "pyproject.toml", self._root / "deploy" / "constraints.txt"])
        if stamp.packages != packages or stamp.torch_index != torch_index or (tests and not stamp.tests):
            stamp = self._install_packages(stamp, packages, tests=tests or stamp.tests, torch_index=torch_index)
        if os.environ.get("HATCH_BUILD_NO_HOOKS", "").lower() in ("true", "1"):
            return
        page = fingerprint(self._root, [self._root / "api" / "web", self._root / "pyproject.toml"])
        if stamp.page != page or not (self._root / "api" / "web" / "dist" / "index.html").is_file():
            self._build_page(stamp, page)

    def _usable_stamp(self) -> Stamp:
        """The stamp of a `.venv` that works, made where there is none."""
        stamp = Stamp.read(self._stamp_path)
        if stamp.installing:
            say("The last installation was cut off; making .venv anew.")
        elif stamp.root == str(self._root) and stamp.python == self._version and self._starts():
            return stamp
        else:
            say(f"Making .venv with Python {self._version}.")
        try:
            venv.create(self._folder, clear=True, with_pip=True, symlinks=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise InstallError(f"{self._folder} could not be made: {error}. Look at space and permissions.") from error
        stamp = Stamp(root=str(self._root), python=self._version, torch_index=stamp.torch_index)
        stamp.write(self._stamp_path)
        return stamp

    def _starts(self) -> bool:
        # The Python behind .venv may have been removed or replaced by an upgrade of the system.
        try:
            return subprocess.run([self._python, "-c", ""], check=False, capture_output=True).returncode == 0
        except OSError:
            return False

    def _install_packages(self, stamp: Stamp, packages: str, *, tests: bool, torch_index: str) -> Stamp:
        say("Installing the packages. The first time takes some minutes: torch alone can be 2 GB.")
        replace(stamp, installing=True).write(self._stamp_path)
        problem = ""
        if torch_index:
            problem = self._install_torch(stamp, torch_index)
        if not problem:
            target = f"{self._root}[test]" if tests else str(self._root)
            if not self._pip("install", "--editable", target, no_hooks=True):
                problem = "The packages could not be installed; what pip says is above. Start again to try once more."
        if problem:
            # pip stopped in good order: what is there is whole, so that the next start goes on from it.
            replace(stamp, packages="").write(self._stamp_path)
            raise InstallError(problem)
        stamp = replace(stamp, packages=packages, tests=tests, torch_index=torch_index)
        stamp.write(self._stamp_path)
        return stamp

    def _install_torch(self, stamp: Stamp, index: str) -> str:
        """Put the torch of `index` in place before pip chooses one; returns what went wrong."""
        pin = next(line for line in self._constraints().splitlines() if line.startswith("torch=="))
        if stamp.torch_index != index:
            # Another build of the same version counts as installed already.
            self._pip("uninstall", "--yes", "--quiet", "torch")
        if self._pip("install", "--extra-index-url", index, pin):
            return ""
        return f"torch could not be installed from {index}: check the address, or leave --torch-index out."

    def _constraints(self) -> str:
        return (self._root / "deploy" / "constraints.txt").read_text()

    def _build_page(self, stamp: Stamp, page: str) -> None:
        say("Building the page.")
        if self._pip("install", "--quiet", "--no-deps", "--force-reinstall", "--editable", str(self._root)):
            replace(stamp, page=page).write(self._stamp_path)
        else:
            say(
                "The page could not be built; why is above. Everything else works: the command line, training, the "
                "HTTP API. The next start tries again."
            )

    def _pip(self, *arguments: str, no_hooks: bool = False) -> bool:
        constraints = str(self._root / "deploy" / "constraints.txt")
        environment = {
            **os.environ,
            # For what is installed, and for what builds the package; which of the two means which depends on pip's age.
            "PIP_CONSTRAINT": constraints,
            "PIP_BUILD_CONSTRAINT": constraints,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONNOUSERSITE": "1",
        }
        if no_hooks:
            environment["HATCH_BUILD_NO_HOOKS"] = "true"
        command = [str(self._python), "-m", "pip", *arguments]
        return subprocess.run(command, check=False, env=environment, cwd=self._root).returncode == 0


def say(text: str) -> None:
    """Tell the person what happens."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main(arguments: list[str] | None = None) -> int:
    """Bring `.venv` up to date; returns the exit code."""
    parser = argparse.ArgumentParser(description="Install Spectrain into .venv.")
    parser.add_argument("--test", action="store_true", help="install the tools of the tests too")
    parser.add_argument("--torch-index", default="", help="package index that torch comes from")
    options = parser.parse_args(arguments)
    try:
        # Two starts at once must not write into one .venv; the second finds everything done.
        with (ROOT / "pyproject.toml").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            Installation(ROOT).bring_up_to_date(tests=options.test, torch_index=options.torch_index)
    except InstallError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Stopped. The next start installs again.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
