"""Whose turn a queued run is, how late it began, what a retry covers, and one row for each time a worker took a run."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261124_2000"
down_revision = "20261124_1730"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
NOW = sa.text("now()")


def upgrade() -> None:
    extend_runs()
    create_attempts()
    bound_retries()


def downgrade() -> None:
    raise NotImplementedError("migrations only go forward; restore a backup instead")


def extend_runs() -> None:
    table = "import_runs"
    op.add_column(
        table,
        sa.Column("owner_id", sa.Text(), nullable=True, comment="The job's user, for taking turns in the queue"),
    )
    op.add_column(
        table,
        sa.Column("portal_id", sa.BigInteger(), nullable=True, comment="The job's portal, while the run is live"),
    )
    op.add_column(
        table,
        sa.Column(
            "priority",
            sa.SmallInteger(),
            server_default=sa.text("1"),
            nullable=False,
            comment="0: a person waits for it, 1: a schedule, 2: it can wait",
        ),
    )
    op.add_column(
        table,
        sa.Column(
            "lateness_seconds",
            sa.Double(),
            nullable=True,
            comment="From when it was due to the first line of its import",
        ),
    )
    op.execute(
        """
        UPDATE import_runs AS r
        SET owner_id = s.user_id, portal_id = s.portal_id, priority = CASE WHEN r.trigger = 'schedule' THEN 1 ELSE 0 END
        FROM import_sessions AS s
        WHERE s.id = r.session_id AND r.status IN ('queued', 'running')
        """
    )
    op.create_check_constraint(
        op.f("ck_import_runs_live_has_owner"), table, "status NOT IN ('queued', 'running') OR owner_id IS NOT NULL"
    )
    op.create_check_constraint(op.f("ck_import_runs_priority_known"), table, "priority BETWEEN 0 AND 2")
    op.create_index(
        "ix_import_runs_turns",
        table,
        ["owner_id", sa.text("coalesce(portal_id, 0)"), "priority", "run_after", "id"],
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "ix_import_runs_delayed",
        table,
        ["run_after"],
        postgresql_where=sa.text("status = 'queued' AND run_after > queued_at"),
    )
    op.create_index(
        "ix_import_runs_start_by",
        table,
        ["start_by"],
        postgresql_where=sa.text("status = 'queued' AND started_at IS NULL AND start_by IS NOT NULL"),
    )
    op.drop_index("ix_import_runs_queued", table)
    op.create_index(
        "ix_import_runs_queued",
        table,
        ["session_id", "priority", "id"],
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.drop_index("ix_import_runs_claimable", table)  # ix_import_runs_turns has taken its place


def bound_retries() -> None:
    table = "import_runs"
    op.add_column(
        table,
        sa.Column(
            "account_ids",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="The accounts that a retry covers; NULL: all of the job's",
        ),
    )
    op.create_check_constraint(
        op.f("ck_import_runs_retry_names_its_accounts"), table, "trigger <> 'retry' OR account_ids IS NOT NULL"
    )
    op.drop_constraint(op.f("ck_import_runs_cause_known"), table)
    op.create_check_constraint(
        op.f("ck_import_runs_cause_known"),
        table,
        "cause IN ('outage', 'late', 'edited', 'overlap', 'breaker', 'holiday', 'unreadable', 'superseded')",
    )
    op.create_check_constraint(
        op.f("ck_import_sessions_retry_delay_bounded"),
        "import_sessions",
        "retry_delay_seconds BETWEEN 0 AND 21600",
    )


def create_attempts() -> None:
    op.create_table(
        "run_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False, comment="The scheduler_service instance that took it"),
        sa.Column("lease_token", sa.Uuid(), nullable=False),
        sa.Column("started_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.Column(
            "outcome", sa.Text(), nullable=True, comment="How it ended: the run's outcome, or queued when given back"
        ),
        sa.CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name=op.f("ck_run_attempts_outcome_when_ended")),
        sa.CheckConstraint(
            "outcome IN ('queued', 'completed', 'partial', 'failed', 'stopped', 'timed_out', 'lost')",
            name=op.f("ck_run_attempts_outcome_known"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["import_runs.id"], name=op.f("fk_run_attempts_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_attempts")),
        sa.UniqueConstraint("lease_token", name=op.f("uq_run_attempts_lease_token")),
        comment="Each time that a worker took a run; a run is finished by one of them at most",
    )
    op.create_index("ix_run_attempts_run_id_id", "run_attempts", ["run_id", "id"])
    op.create_index(
        "uq_run_attempts_finished",
        "run_attempts",
        ["run_id"],
        unique=True,
        postgresql_where=sa.text("outcome <> 'queued'"),
    )
