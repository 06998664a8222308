"""The part of Helm's template language that the chart uses, for machines without Helm.

Actions: paths from `.` or `$`, `$name`; `if`, `if not`, `else`, `range $a := …`, `range $a, $b := …`, `end`; the
functions `quote`, `toJson`, `urlquery`, `replace` and `required`. Anything else is an error: it would be untested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_plus

_ACTION: Final = re.compile(r"(\s*)\{\{-\s*(.*?)\s*\}\}|\{\{\s*(.*?)\s*\}\}")
_Scope = Mapping[str, Any] | None
"""Values by the names of variables; None where a block is passed over, as Helm does."""


class ChartError(Exception):
    """What Helm would refuse."""


def render(template: str, root: Mapping[str, Any]) -> str:
    """`template` with the values of `root`: Values, Release, Chart."""
    tokens = list(_tokens(template))
    text, rest = _block(tokens, 0, {"$": root, ".": root})
    if rest != len(tokens):
        raise ChartError(f"{tokens[rest]} closes nothing")
    return text


def _tokens(template: str) -> Iterator[tuple[str, str]]:
    at = 0
    for match in _ACTION.finditer(template):
        yield "text", template[at : match.start()]
        yield "action", match.group(2) if match.group(2) is not None else match.group(3)
        at = match.end()
    yield "text", template[at:]


def _block(tokens: Sequence[tuple[str, str]], at: int, scope: _Scope) -> tuple[str, int]:
    """The text up to the `else` or `end` that closes the block, and where that is."""
    made: list[str] = []
    while at < len(tokens):
        kind, text = tokens[at]
        word = text.split(" ", 1)[0] if kind == "action" else ""
        if word in ("else", "end"):
            return "".join(made), at
        if word == "if":
            part, at = _if(tokens, at, scope)
        elif word == "range":
            part, at = _range(tokens, at, scope)
        else:
            part = text if kind == "text" or scope is None else _text(_value(text, scope))
        made.append(part)
        at += 1
    return "".join(made), at


def _if(tokens: Sequence[tuple[str, str]], at: int, scope: _Scope) -> tuple[str, int]:
    condition = tokens[at][1].removeprefix("if ")
    wanted = scope is not None and (bool(_value(condition.removeprefix("not "), scope)) != condition.startswith("not "))
    chosen, end = _block(tokens, at + 1, scope if wanted else None)
    other = ""
    if tokens[end][1] == "else":
        other, end = _block(tokens, end + 1, None if wanted else scope)
    return (chosen if wanted else other), end


def _range(tokens: Sequence[tuple[str, str]], at: int, scope: _Scope) -> tuple[str, int]:
    if scope is None:
        return _block(tokens, at + 1, None)
    names, _, source = tokens[at][1].removeprefix("range ").partition(" := ")
    over = _value(source, scope)
    variables = [name.strip() for name in names.split(",")]
    pairs = sorted(over.items()) if isinstance(over, Mapping) else list(enumerate(over))
    made: list[str] = []
    end = at
    for key, value in pairs:
        inner = dict(zip(variables, (key, value) if len(variables) == 2 else (value,), strict=True))
        text, end = _block(tokens, at + 1, {**scope, **inner, ".": value})
        made.append(text)
    if not pairs:
        _, end = _block(tokens, at + 1, None)
    return "".join(made), end


def _value(expression: str, scope: Mapping[str, Any]) -> Any:
    head, *functions = (part.strip() for part in expression.split("|"))
    required = re.fullmatch(r'required "([^"]+)" (\S+)', head)
    value = _path(required.group(2) if required else head, scope)
    if required and not value:
        raise ChartError(required.group(1))
    for name in functions:
        value = _applied(name, value)
    return value


def _applied(function: str, value: Any) -> str:
    if function == "toJson":
        return json.dumps(value)
    if function == "quote":
        return json.dumps(_text(value))
    if function == "urlquery":
        return quote_plus(_text(value))
    replacing = re.fullmatch(r'replace "([^"]+)" "([^"]*)"', function)
    if replacing is None:
        raise ChartError(f"{function} is not known here")
    return _text(value).replace(replacing.group(1), replacing.group(2))


def _path(path: str, scope: Mapping[str, Any]) -> Any:
    match = re.fullmatch(r"(\$\w*|)((?:\.\w+)*)", path)
    if match is None:
        raise ChartError(f"{path} is not known here")
    value = scope[match.group(1) or "."]
    for name in filter(None, match.group(2).split(".")):
        if name not in value:
            raise ChartError(f"{path}: there is no {name}")
        value = value[name]
    return value


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
