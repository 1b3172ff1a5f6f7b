"""Calendars, start windows, and what the ledger compares: which schedule was in force when, outages, causes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261124_1730"
down_revision = "20261124_0200"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
NOW = sa.text("now()")


def upgrade() -> None:
    create_calendars()
    create_periods()
    op.create_table(
        "scheduler_outages",
        sa.Column("began_at", INSTANT, nullable=False, comment="End of the last fire pass before"),
        sa.Column("ended_at", INSTANT, nullable=False, comment="Start of the first fire pass after"),
        sa.PrimaryKeyConstraint("began_at", name=op.f("pk_scheduler_outages")),
        comment="When no scheduler_service fired for longer than it may take",
    )
    op.add_column(
        "scheduler_instances",
        sa.Column("zone_rules", sa.Text(), nullable=True, comment="Version of the time zone rules that it fires by"),
    )
    extend_jobs()
    extend_runs()


def downgrade() -> None:
    raise NotImplementedError("migrations only go forward; restore a backup instead")


def create_calendars() -> None:
    op.create_table(
        "calendars",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column(
            "name", sa.Text(), nullable=False, comment="Unique in any case; everybody who signs in may choose it"
        ),
        sa.Column("user_id", sa.Text(), nullable=True, comment="Who may change it, beside admins"),
        sa.Column("time_zone", sa.Text(), nullable=True, comment="IANA zone of the dates; NULL: each job's own"),
        sa.Column(
            "weekend",
            postgresql.ARRAY(sa.Integer()),
            server_default=sa.text("'{0,6}'"),
            nullable=False,
            comment="No working days either; 0 = Sunday",
        ),
        sa.Column(
            "country", sa.Text(), nullable=True, comment="ISO 3166 code: its public holidays belong to the calendar"
        ),
        sa.Column("subdivision", sa.Text(), nullable=True, comment="Code of a part of the country"),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("updated_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column(
            "version", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="Grows with every edit"
        ),
        sa.CheckConstraint(
            "subdivision IS NULL OR country IS NOT NULL", name=op.f("ck_calendars_subdivision_of_a_country")
        ),
        sa.CheckConstraint("weekend <@ ARRAY[0, 1, 2, 3, 4, 5, 6]", name=op.f("ck_calendars_weekend_of_weekdays")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_calendars_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendars")),
        comment="Named days on which jobs that keep them do not run",
    )
    op.create_index("uq_calendars_name", "calendars", [sa.text("lower(name)")], unique=True)
    op.create_table(
        "calendar_days",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("calendar_id", sa.BigInteger(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False, comment="The last day, included"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.CheckConstraint("ends_on >= starts_on", name=op.f("ck_calendar_days_ends_after_start")),
        sa.ForeignKeyConstraint(
            ["calendar_id"], ["calendars.id"], name=op.f("fk_calendar_days_calendar_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendar_days")),
        comment="Dates and ranges of dates of the calendars",
    )
    op.create_index("ix_calendar_days_calendar_id_starts_on", "calendar_days", ["calendar_id", "starts_on"])


def create_periods() -> None:
    op.create_table(
        "schedule_periods",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("starts_at", INSTANT, nullable=False, comment="The first occurrence comes after this instant"),
        sa.Column("ends_at", INSTANT, nullable=True, comment="The last one comes at it or before; NULL while in force"),
        sa.Column("schedule_type", sa.Text(), nullable=False),
        sa.Column("schedule_config", postgresql.JSONB(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "schedule_type IN ('daily', 'weekly', 'monthly', 'custom')",
            name=op.f("ck_schedule_periods_schedule_type_known"),
        ),
        sa.CheckConstraint("ends_at >= starts_at", name=op.f("ck_schedule_periods_ends_after_start")),
        sa.ForeignKeyConstraint(
            ["session_id"], ["import_sessions.id"], name=op.f("fk_schedule_periods_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule_periods")),
        comment="Which schedule was in force when; the ledger expects occurrences by it",
    )
    op.create_index(
        "uq_schedule_periods_open",
        "schedule_periods",
        ["session_id"],
        unique=True,
        postgresql_where=sa.text("ends_at IS NULL"),
    )
    op.create_index("ix_schedule_periods_session_id_starts_at", "schedule_periods", ["session_id", "starts_at"])
    # Of the time before nothing is known. An overdue occurrence belongs to the schedule that it is due by.
    op.execute(
        """
        INSERT INTO schedule_periods (session_id, starts_at, schedule_type, schedule_config, time_zone)
        SELECT id, least(now(), next_run - interval '1 microsecond'), schedule_type, schedule_config, time_zone
        FROM import_sessions
        WHERE is_scheduled AND paused_at IS NULL
        """
    )


def extend_jobs() -> None:
    table = "import_sessions"
    op.add_column(
        table,
        sa.Column(
            "misfire_grace_seconds",
            sa.Integer(),
            nullable=True,
            comment="An occurrence that has not started by then counts as missed; NULL: however late",
        ),
    )
    op.add_column(
        table,
        sa.Column(
            "calendar_ids",
            postgresql.ARRAY(sa.BigInteger()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Calendars whose days off the job keeps",
        ),
    )
    op.add_column(table, sa.Column("on_holiday", sa.Text(), server_default="skip", nullable=False))
    op.add_column(
        table,
        sa.Column(
            "moved_runs",
            postgresql.ARRAY(INSTANT),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="When occurrences that were moved off a day off are still to run",
        ),
    )
    op.create_check_constraint(op.f("ck_import_sessions_on_holiday_known"), table, "on_holiday IN ('skip', 'move')")
    op.create_check_constraint(
        op.f("ck_import_sessions_misfire_grace_bounded"), table, "misfire_grace_seconds BETWEEN 1 AND 2678400"
    )
    op.create_index(
        "ix_import_sessions_calendar_ids",
        table,
        ["calendar_ids"],
        postgresql_using="gin",
        postgresql_where=sa.text("calendar_ids <> '{}'"),
    )


def extend_runs() -> None:
    table = "import_runs"
    op.add_column(
        table,
        sa.Column(
            "scheduled_until",
            INSTANT,
            nullable=True,
            comment="The last of several occurrences that this row accounts for",
        ),
    )
    op.add_column(
        table,
        sa.Column("moved_to", INSTANT, nullable=True, comment="When an occurrence on a day off runs instead"),
    )
    op.add_column(
        table, sa.Column("start_by", INSTANT, nullable=True, comment="Not started by then, it counts as missed")
    )
    op.add_column(
        table, sa.Column("cause", sa.Text(), nullable=True, comment="Why it was missed or skipped, for counting")
    )
    op.create_check_constraint(
        op.f("ck_import_runs_cause_known"),
        table,
        "cause IN ('outage', 'late', 'edited', 'overlap', 'breaker', 'holiday', 'unreadable')",
    )
    op.create_index(
        "ix_import_runs_moved_to",
        table,
        ["session_id", "moved_to"],
        postgresql_where=sa.text("moved_to IS NOT NULL"),
    )
