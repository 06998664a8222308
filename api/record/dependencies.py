"""Which jobs a job waits for: rows of job_dependencies, without cycles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from api.record.rows import DELETION
from api.record.tables import Job, JobDependency
from shared.errors import ConfigError, NotFoundError


def after_of(session: Session, job_ids: Sequence[int]) -> dict[int, list[int]]:
    """The jobs that each of `job_ids` starts after, in order of their numbers; those without any are left out."""
    rows = session.execute(
        select(JobDependency.job_id, JobDependency.after_id)
        .where(JobDependency.job_id.in_(job_ids))
        .order_by(JobDependency.job_id, JobDependency.after_id)
    )
    after: dict[int, list[int]] = {}
    for row in rows:
        after.setdefault(row.job_id, []).append(row.after_id)
    return after


def check_known(session: Session, after: Iterable[int]) -> None:
    """Raise NotFoundError unless all jobs of `after` exist."""
    wanted = set(after)
    if not wanted:
        return
    known = select(Job.id).where(Job.id.in_(wanted), Job.wish != DELETION)
    missing = wanted - set(session.scalars(known))
    if missing:
        raise NotFoundError(f"after: there is no job {min(missing)} to wait for.", field="after")


def set_after(session: Session, job_id: int, after: Iterable[int]) -> None:
    """Have `job_id` start after `after` and no other job.

    Raises NotFoundError for a job that does not exist, ConfigError where jobs would wait for each other.
    """
    wanted = sorted(set(after))
    check_known(session, wanted)
    _check_acyclic(session, job_id, wanted)
    session.execute(delete(JobDependency).where(JobDependency.job_id == job_id))
    if wanted:
        session.execute(insert(JobDependency), [{"job_id": job_id, "after_id": after_id} for after_id in wanted])


def _check_acyclic(session: Session, job_id: int, after: list[int]) -> None:
    """Walk up from `after`, a generation at a time: `job_id` must not be met."""
    if job_id in after:
        raise ConfigError(f"after: job {job_id} cannot wait for itself.", field="after")
    seen: set[int] = set(after)
    front = list(after)
    while front:
        found = session.scalars(select(JobDependency.after_id).where(JobDependency.job_id.in_(front)))
        front = [each for each in set(found) if each not in seen]
        if job_id in front:
            chain = ", ".join(str(each) for each in after)
            raise ConfigError(
                f"after: job {job_id} cannot wait for {chain}, which waits for job {job_id} already.", field="after"
            )
        seen.update(front)
