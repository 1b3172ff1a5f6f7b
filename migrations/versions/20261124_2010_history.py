"""Figures of each day that outlive the runs, up to when history was purged, and jobs in the order of their list.

Nothing is counted here: the scheduler counts the runs that there are in small batches, as it does new ones.
"""

from decimal import Decimal

import sqlalchemy as sa
from alembic import op

revision = "20261124_2010"
down_revision = "20261124_2000"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
NONE = sa.text("0")


def upgrade() -> None:
    op.add_column(
        "import_runs",
        sa.Column(
            "is_counted",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the daily figures hold it",
        ),
    )
    op.create_index(
        "ix_import_runs_uncounted",
        "import_runs",
        ["id"],
        postgresql_where=sa.text("finished_at IS NOT NULL AND NOT is_counted"),
    )
    op.create_index(
        "ix_import_runs_scheduled_until",
        "import_runs",
        ["session_id", "scheduled_until"],
        postgresql_where=sa.text("scheduled_until IS NOT NULL"),
    )
    create_days(
        "daily_figures",
        "session_id",
        "import_sessions",
        "A job's runs by day, counted once each; kept when the runs are purged",
    )
    create_days(
        "daily_owner_figures", "user_id", "users", "The runs of all of a user's jobs by day, deleted jobs included"
    )
    op.create_table(
        "retention_marks",
        sa.Column("history", sa.Text(), nullable=False),
        sa.Column(
            "kept_since", INSTANT, nullable=False, comment="What ended before this instant may have been removed"
        ),
        sa.CheckConstraint("history IN ('runs', 'log')", name=op.f("ck_retention_marks_history_known")),
        sa.PrimaryKeyConstraint("history", name=op.f("pk_retention_marks")),
        comment="Up to when the purge has removed history, so that nobody takes it for lost",
    )
    op.create_table(
        "orphaned_files",
        sa.Column("file_url", sa.Text(), nullable=False),
        sa.Column("orphaned_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("file_url", name=op.f("pk_orphaned_files")),
        comment="Files of deleted jobs' bills, until the scheduler has removed them from the storage",
    )
    op.create_index("ix_orphaned_files_orphaned_at", "orphaned_files", ["orphaned_at"])
    order_jobs()


def downgrade() -> None:
    raise NotImplementedError("migrations only go forward; restore a backup instead")


def order_jobs() -> None:
    """Read backwards, these give the list's order whole: newest first, and among equals by id, the last first."""
    for name, columns in {
        "ix_import_sessions_user_id_created_at": ["user_id", "created_at", "id"],
        "ix_import_sessions_created_at": ["created_at", "id"],
    }.items():
        op.drop_index(name, "import_sessions")
        op.create_index(name, "import_sessions", columns)


def create_days(table: str, key: str, parent: str, comment: str) -> None:
    op.create_table(
        table,
        sa.Column(key, sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False, comment="UTC"),
        *(count(outcome) for outcome in ("completed", "partial", "failed", "stopped", "timed_out", "lost")),
        count("missed", comment="Occurrences, not rows"),
        count("skipped", comment="Occurrences, not rows"),
        *(
            sa.Column(n, sa.BigInteger(), server_default=NONE, nullable=False)
            for n in ("accounts_succeeded", "accounts_failed", "bills_new")
        ),
        seconds("run_seconds", comment="From start to end, of all runs that started"),
        count("started", comment="Runs whose lateness is known"),
        seconds("lateness_seconds", comment="Of all these runs together"),
        seconds("lateness_max_seconds"),
        sa.ForeignKeyConstraint([key], [f"{parent}.id"], name=op.f(f"fk_{table}_{key}"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(key, "day", name=op.f(f"pk_{table}")),
        comment=comment,
    )


def count(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default=NONE, nullable=False, comment=comment)


def seconds(name: str, comment: str | None = None) -> sa.Column[Decimal]:
    return sa.Column(name, sa.Numeric(16, 3), server_default=NONE, nullable=False, comment=comment)
