"""The installation's decisions: what makes it start again. pip itself is a stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy import install
from deploy.install import Installation, InstallError, Stamp, fingerprint


class FakePip:
    """Takes the place of pip and venv: keeps what was asked for and fails where told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.calls: list[list[str]] = []
        self.made = 0
        self.failing = ""
        self._root = root
        monkeypatch.setattr(Installation, "_pip", self._pip)
        monkeypatch.setattr(Installation, "_starts", lambda _: True)
        monkeypatch.setattr(install.venv, "create", self._create)

    def _create(self, folder: Path, **options: bool) -> None:
        assert options["clear"]
        self.made += 1
        folder.mkdir(exist_ok=True)

    def _pip(self, *arguments: str, no_hooks: bool = False) -> bool:
        self.calls.append([*arguments, *(["no hooks"] if no_hooks else [])])
        if "--no-deps" in arguments and self.failing != "page":
            page = self._root / "api" / "web" / "dist" / "index.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            page.touch()
        kind = "page" if "--no-deps" in arguments else "packages" if "--editable" in arguments else "torch"
        return kind != self.failing

    def take(self) -> list[list[str]]:
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in {
        "pyproject.toml": "[project]",
        "deploy/constraints.txt": "numpy==2.4.6\ntorch==2.13.0\n",
        "api/web/src/main.tsx": "page",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, root: Path) -> FakePip:
    monkeypatch.delenv("HATCH_BUILD_NO_HOOKS", raising=False)
    return FakePip(monkeypatch, root)


def bring_up_to_date(root: Path, *, tests: bool = False, torch_index: str = "") -> None:
    Installation(root).bring_up_to_date(tests=tests, torch_index=torch_index)


def stamp_of(root: Path) -> Stamp:
    return Stamp.read(root / ".venv" / "spectrain.json")


def test_packages_first_then_the_page_then_nothing(root: Path, pip: FakePip) -> None:
    bring_up_to_date(root)
    first = pip.take()
    bring_up_to_date(root)

    assert first == [
        ["install", "--editable", str(root), "no hooks"],
        ["install", "--quiet", "--no-deps", "--force-reinstall", "--editable", str(root)],
    ]
    assert pip.take() == []
    assert pip.made == 1


@pytest.mark.parametrize(
    ("changed", "calls"),
    [("pyproject.toml", 2), ("deploy/constraints.txt", 1), ("api/web/src/main.tsx", 1), ("api/web/dist/x.js", 0)],
)
def test_a_change_repeats_what_depends_on_it(root: Path, pip: FakePip, changed: str, calls: int) -> None:
    bring_up_to_date(root)
    pip.take()

    (root / changed).write_text("torch==2.13.0\nchanged")
    bring_up_to_date(root)

    assert len(pip.take()) == calls


def test_the_tools_of_the_tests_come_once_and_stay(root: Path, pip: FakePip) -> None:
    bring_up_to_date(root)
    pip.take()

    bring_up_to_date(root, tests=True)
    for_tests = pip.take()
    bring_up_to_date(root)

    assert for_tests == [["install", "--editable", f"{root}[test]", "no hooks"]]
    assert pip.take() == []
    assert stamp_of(root).tests


def test_a_cut_off_installation_is_made_anew(root: Path, pip: FakePip) -> None:
    bring_up_to_date(root)
    kept = json.loads((root / ".venv" / "spectrain.json").read_text())
    (root / ".venv" / "spectrain.json").write_text(json.dumps({**kept, "installing": True}))
    pip.take()

    bring_up_to_date(root)

    assert pip.made == 2
    assert len(pip.take()) == 2


def test_a_tree_that_was_moved_gets_a_new_environment(root: Path, pip: FakePip) -> None:
    bring_up_to_date(root)
    stamp = stamp_of(root)
    (root / ".venv" / "spectrain.json").write_text(json.dumps({**vars(stamp), "root": "/elsewhere"}))

    bring_up_to_date(root)

    assert pip.made == 2


def test_a_failure_says_so_and_the_next_start_tries_again(root: Path, pip: FakePip) -> None:
    pip.failing = "packages"
    with pytest.raises(InstallError, match="Start again"):
        bring_up_to_date(root)

    pip.failing = ""
    bring_up_to_date(root)

    assert pip.made == 1
    assert stamp_of(root).packages


def test_without_a_page_the_rest_is_installed_and_the_page_is_tried_again(
    root: Path, pip: FakePip, capsys: pytest.CaptureFixture[str]
) -> None:
    pip.failing = "page"
    bring_up_to_date(root)
    pip.failing = ""
    pip.take()

    assert "The page could not be built" in capsys.readouterr().err
    bring_up_to_date(root)
    assert len(pip.take()) == 1


def test_a_machine_that_only_works_gets_no_page(root: Path, pip: FakePip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HATCH_BUILD_NO_HOOKS", "true")

    bring_up_to_date(root)

    assert len(pip.take()) == 1


def test_another_build_of_torch_is_taken_once_and_remembered(root: Path, pip: FakePip) -> None:
    bring_up_to_date(root)
    pip.take()

    bring_up_to_date(root, torch_index="https://example.org/cpu")
    switched = pip.take()
    bring_up_to_date(root)

    assert switched[:2] == [
        ["uninstall", "--yes", "--quiet", "torch"],
        ["install", "--extra-index-url", "https://example.org/cpu", "torch==2.13.0"],
    ]
    assert pip.take() == []
    assert stamp_of(root).torch_index == "https://example.org/cpu"


def test_an_index_that_does_not_work_is_named(root: Path, pip: FakePip) -> None:
    pip.failing = "torch"

    with pytest.raises(InstallError, match=r"https://example\.org/cpu"):
        bring_up_to_date(root, torch_index="https://example.org/cpu")


def test_what_builds_leave_behind_is_no_source(root: Path) -> None:
    before = fingerprint(root, [root / "api" / "web"])

    for name in ("node_modules/a.js", "dist/b.js", ".cache/c"):
        path = root / "api" / "web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")

    assert fingerprint(root, [root / "api" / "web"]) == before
