"""`spectrain gc`: what the server keeps and nobody needs is told with its reason, then removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from api.keeping.views import GarbageItem
from deploy.cli.exit_codes import ExitCode
from deploy.cli.session import Session, client_command
from deploy.cli.text import count, size

_SHOWN: Final = 30
"""Most lines of one kind."""


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Tell what would go and why, and leave it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Leave what changed within so many hours.",
)
@client_command
def gc_command(session: Session, *, dry_run: bool, yes: bool, hours: float) -> int:
    """Remove what nobody needs: features that no job reads, weights that no training starts from, clips that no
    dataset version has, artifacts of jobs that were deleted, unfinished uploads, and what killed processes left.

    It asks before it removes anything, and is safe while jobs run. With --json it asks nothing: say --dry-run or --yes.
    """
    if session.as_json and dry_run is yes:
        raise click.UsageError("With --json, say either --dry-run or --yes.")
    fresh_s = hours * 3600
    if not (session.as_json and yes):
        found = session.client.garbage(fresh_s=fresh_s)
        session.show(found, lambda: _list(session, found.items, f"{size(found.size_bytes)} are not needed."))
        if dry_run or not found.items:
            return ExitCode.DONE
        if not yes:
            click.confirm("Remove it?", abort=True, err=True)
    answer = session.client.collect_garbage(fresh_s=fresh_s)

    def render() -> None:
        session.say(f"{count(len(answer.removed), 'thing')} removed, {size(answer.freed_bytes)} freed.")
        for item in answer.left:
            session.say(f"{item.key} could not be removed; the server's log says why.")

    session.show(answer, render)
    return ExitCode.FAILED if answer.left else ExitCode.DONE


def _list(session: Session, items: Sequence[GarbageItem], total: str) -> None:
    if not items:
        session.say("Everything that is kept is needed.")
        return
    rows: list[tuple[str, str, str, str]] = []
    for kind in dict.fromkeys(item.kind for item in items):
        same = [item for item in items if item.kind == kind]
        rows += [(item.kind, item.key, size(item.size_bytes), item.reason) for item in same[:_SHOWN]]
        if len(same) > _SHOWN:
            rest = same[_SHOWN:]
            rows.append((kind, f"and {len(rest):,} more", size(sum(item.size_bytes for item in rest)), same[0].reason))
    session.table(["what", "where", ">size", "why"], rows)
    session.say(total)
