"""The tokens that this user's command line logged in with, by server: a file that nobody else can read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from platformdirs import user_config_path

from deploy.data_folder import write_private
from shared.errors import ConfigError


def token_for(server: str) -> str:
    """SPECTRAIN_TOKEN, or what was kept for the server; empty where there is neither."""
    return os.environ.get("SPECTRAIN_TOKEN") or read_tokens().get(origin(server), "")


def keep_token(server: str, token: str) -> Path:
    """Keep a token for later commands; returns the file."""
    path = tokens_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, json.dumps({**read_tokens(), origin(server): token}, indent=2))
    return path


def forget_token(server: str) -> bool:
    """Forget the token of a server; whether there was one."""
    tokens = read_tokens()
    known = tokens.pop(origin(server), None) is not None
    if known:
        write_private(tokens_path(), json.dumps(tokens, indent=2))
    return known


def read_tokens() -> dict[str, str]:
    """All of them; raises ConfigError for a file that others can read, or that is none of ours."""
    path = tokens_path()
    try:
        with path.open() as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"Others can read your tokens in {path}: run `chmod 600 {path}`.")
            tokens: object = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"Your tokens in {path} cannot be read ({error}): mend or delete that file.") from error
    if not isinstance(tokens, dict):
        raise ConfigError(f"Your tokens in {path} cannot be read: mend or delete that file.")
    return {str(name): str(token) for name, token in cast(dict[object, object], tokens).items()}


def tokens_path() -> Path:
    """The file."""
    return user_config_path("spectrain") / "tokens.json"


def origin(server: str) -> str:
    """What a token belongs to: another port or scheme of the same machine is another server."""
    parts = urlsplit(server)
    return f"{parts.scheme}://{parts.netloc}".lower()
