"""Priorities, placement, batches, dependencies; workers and their tokens; models that stay."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.placement import Placement, needs_of

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "queue_settings",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.Column("last_used_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sha256"),
    )
    op.create_table(
        "sessions",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("token_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sha256"),
    )
    op.create_index("ix_sessions_token_id", "sessions", ["token_id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("drained", sa.Boolean(), nullable=False),
        sa.Column("token_id", sa.Integer(), nullable=True),
        sa.Column("redis_sha256", sa.String(length=64), nullable=False),
        sa.Column("heartbeat", sa.JSON(), nullable=False),
        sa.Column("first_seen_at", sa.Float(), nullable=False),
        sa.Column("last_seen_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"]),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "job_dependencies",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("after_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["after_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "after_id"),
    )
    op.create_index("ix_job_dependencies_after_id", "job_dependencies", ["after_id"])
    op.create_table(
        "step_curves",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("cuts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_table(
        "step_chunks",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("first_number", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("whole", sa.LargeBinary(), nullable=False),
        sa.Column("coarse", sa.LargeBinary(), nullable=False),
        sa.Column("fine", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "chunk"),
    )
    rare = sa.text("type != 'steps'")
    op.create_index("ix_job_events_rare", "job_events", ["job_id", "number"], sqlite_where=rare, postgresql_where=rare)
    op.create_index("ix_dataset_clips_sha256", "dataset_clips", ["sha256"])
    op.create_table(
        "measured_sounds",
        sa.Column("sha256", sa.String(length=64), primary_key=True),
        sa.Column("peak", sa.Float(), nullable=False),
        sa.Column("rms", sa.Float(), nullable=False),
        sa.Column("clipped", sa.Integer(), nullable=False),
        sa.Column("silent_before", sa.Integer(), nullable=False),
        sa.Column("silent_after", sa.Integer(), nullable=False),
        sa.Column("sound_sha256", sa.String(length=64), nullable=False),
    )
    op.create_table(
        "notification_targets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("occasions", sa.JSON(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("target_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["target_id"], ["notification_targets.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("target_id", "job_id", "key"),
    )
    op.create_index("ix_notifications_due_at", "notifications", ["due_at"])
    op.add_column("dataset_versions", sa.Column("clips", sa.JSON(), nullable=True))
    # Columns are added as they are, which SQLite can; what old rows need to hold is filled in below.
    op.add_column("jobs", sa.Column("placement", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("jobs", sa.Column("needs", sa.String(length=64), nullable=False, server_default=sa.text("''")))
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("batch", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("request", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column(
        "jobs", sa.Column("submitted_by", sa.String(length=200), nullable=False, server_default=sa.text("''"))
    )
    op.add_column("jobs", sa.Column("secret", sa.String(length=64), nullable=False, server_default=sa.text("''")))
    op.drop_index("ix_jobs_state_position", table_name="jobs")
    op.create_index("ix_jobs_state_order", "jobs", ["state", "priority", "position"])
    op.create_index("ix_jobs_state_needs", "jobs", ["state", "needs", "priority", "position"])
    op.create_index("ix_jobs_state_worker", "jobs", ["state", "worker"])
    op.create_index("ix_jobs_position", "jobs", ["position"])
    op.create_index("ix_jobs_ended_at", "jobs", ["ended_at"])
    op.create_index("ix_jobs_batch", "jobs", ["batch"])
    op.create_index("ix_jobs_names", "jobs", ["name", "dataset_name"])
    op.add_column(
        "checkpoints", sa.Column("representation", sa.String(length=20), nullable=False, server_default=sa.text("''"))
    )
    for name in ("best", "final", "pinned", "only_pinned", "is_model"):
        op.add_column("checkpoints", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_index("ix_checkpoints_models", "checkpoints", ["is_model", "at", "job_id", "name"])

    jobs = sa.table("jobs", sa.column("wanted_device", sa.String), sa.column("needs", sa.String))
    connection = op.get_bind()
    for (device,) in connection.execute(sa.select(jobs.c.wanted_device).distinct()).all():
        needs = needs_of(device, Placement())
        connection.execute(jobs.update().where(jobs.c.wanted_device == device).values(needs=needs))
    _mark_models(connection)


def _mark_models(connection: sa.Connection) -> None:
    """Old checkpoints say what they are: the newest that was its job's best when it was saved, and final ones."""
    jobs = sa.table("jobs", sa.column("id", sa.Integer), sa.column("spec", sa.JSON))
    checkpoints = sa.table(
        "checkpoints",
        sa.column("job_id", sa.Integer),
        sa.column("name", sa.String),
        sa.column("at", sa.Float),
        sa.column("step", sa.Integer),
        sa.column("body", sa.JSON),
        sa.column("representation", sa.String),
        *(sa.column(name, sa.Boolean) for name in ("best", "final", "is_model")),
    )
    rows = connection.execute(
        sa.select(checkpoints.c.job_id, checkpoints.c.name, checkpoints.c.body, jobs.c.spec)
        .join_from(checkpoints, jobs, jobs.c.id == checkpoints.c.job_id)
        .order_by(checkpoints.c.job_id, checkpoints.c.at.desc(), checkpoints.c.step.desc())
    ).all()
    has_best: set[int] = set()
    for job_id, name, body, spec in rows:
        best, final = body["best"] and job_id not in has_best, body["reason"] == "final"
        if best:
            has_best.add(job_id)
        connection.execute(
            checkpoints.update()
            .where(checkpoints.c.job_id == job_id, checkpoints.c.name == name)
            .values(representation=spec["train"]["representation"], best=best, final=final, is_model=best or final)
        )
