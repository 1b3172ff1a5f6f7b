"""The three tables that an older system may already hold, as the first migration leaves them.

Columns come apart from constraints and indexes, so that the same lines make a table or complete an adopted
one. Part of the first migration: never edited once released.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

INSTANT = sa.DateTime(timezone=True)
NOW = sa.text("now()")
RANDOM_ID = sa.text("gen_random_uuid()::text")

COMMENTS = {
    "users": "People who sign in",
    "import_sessions": "Jobs: portal accounts, where to sign in, where the bills are, and when",
    "import_results": "What a run brought for one account",
}


def user_columns() -> list[sa.Column]:
    return [
        sa.Column("id", sa.Text(), server_default=RANDOM_ID, nullable=False),
        sa.Column("username", sa.Text(), nullable=False, comment="What the person signs in with; unique in any case"),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False, comment="What pages call the person"),
        sa.Column("password_hash", sa.Text(), nullable=False, comment="bcrypt"),
        sa.Column("role", sa.Text(), server_default="operator", nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=True, comment="IANA zone; NULL follows the browser"),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("last_login_at", INSTANT, nullable=True),
    ]


def constrain_users() -> None:
    check("users", "role_known", "role IN ('admin', 'operator', 'viewer')")
    op.create_index("uq_users_username", "users", [sa.text("lower(username)")], unique=True)


def job_columns() -> list[sa.Column]:
    return [
        sa.Column("id", sa.Text(), server_default=RANDOM_ID, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("login_url", sa.Text(), nullable=False),
        sa.Column("billing_url", sa.Text(), nullable=False),
        sa.Column("csv_url", sa.Text(), nullable=True, comment="Where an older system kept the accounts file; unused"),
        sa.Column("portal_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), server_default="idle", nullable=False),
        sa.Column("last_outcome", sa.Text(), nullable=True, comment="How the last run ended"),
        sa.Column("last_run_id", sa.BigInteger(), nullable=True, comment="The newest run that started"),
        sa.Column("last_run_at", INSTANT, nullable=True, comment="When the newest run started"),
        sa.Column("is_scheduled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("schedule_type", sa.Text(), nullable=True),
        sa.Column("schedule_config", postgresql.JSONB(), nullable=True),
        sa.Column("next_run", INSTANT, nullable=True, comment="The next occurrence that has not fired"),
        sa.Column("last_scheduled_run", INSTANT, nullable=True, comment="The last occurrence that fired"),
        sa.Column("time_zone", sa.Text(), server_default="UTC", nullable=False, comment="IANA zone of the schedule"),
        sa.Column("paused_at", INSTANT, nullable=True),
        sa.Column("catch_up", sa.Text(), server_default="latest", nullable=False),
        sa.Column("overlap", sa.Text(), server_default="skip", nullable=False),
        sa.Column("max_attempts", sa.Integer(), server_default=sa.text("3"), nullable=False),
        sa.Column("retry_delay_seconds", sa.Integer(), server_default=sa.text("60"), nullable=False),
        sa.Column("timeout_seconds", sa.Integer(), server_default=sa.text("3600"), nullable=False),
        sa.Column("notify_on", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("accounts_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "results_count",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Results of all finished runs",
        ),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("updated_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column(
            "version", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="Grows with every edit"
        ),
    ]


def constrain_jobs() -> None:
    table = "import_sessions"
    check(table, "attempts_bounded", "max_attempts BETWEEN 1 AND 20")
    check(table, "catch_up_known", "catch_up IN ('latest', 'all', 'none')")
    check(
        table,
        "last_outcome_known",
        "last_outcome IN ('queued', 'running', 'completed', 'partial', 'failed', 'stopped', 'timed_out', 'lost',"
        " 'missed', 'skipped')",
    )
    check(table, "overlap_known", "overlap IN ('skip', 'queue')")
    check(
        table,
        "schedule_complete",
        "NOT is_scheduled OR (schedule_type IS NOT NULL AND schedule_config IS NOT NULL)",
    )
    check(table, "schedule_type_known", "schedule_type IN ('daily', 'weekly', 'monthly', 'custom')")
    check(
        table,
        "status_known",
        "status IN ('idle', 'queued', 'running', 'completed', 'partial', 'failed', 'stopped', 'timed_out', 'lost')",
    )
    check(table, "timeout_bounded", "timeout_seconds BETWEEN 1 AND 604800")
    refer(table, "portal_id", "portals", "SET NULL")
    refer(table, "user_id", "users", "CASCADE")
    op.create_index(f"ix_{table}_created_at", table, [sa.text("created_at DESC"), "id"])
    op.create_index(
        f"ix_{table}_due", table, ["next_run"], postgresql_where=sa.text("is_scheduled AND paused_at IS NULL")
    )
    op.create_index(f"ix_{table}_portal_id", table, ["portal_id"])
    op.create_index(f"ix_{table}_user_id_created_at", table, ["user_id", sa.text("created_at DESC"), "id"])


def result_columns() -> list[sa.Column]:
    zero = sa.text("0")
    return [
        sa.Column("id", sa.Text(), server_default=RANDOM_ID, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("username", sa.Text(), nullable=False, comment="Kept here so that history outlives the account"),
        sa.Column("row_number", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True, comment="What went wrong, in words for a person"),
        sa.Column(
            "retry_attempts",
            sa.Integer(),
            server_default=zero,
            nullable=False,
            comment="Requests sent again after a passing portal error",
        ),
        sa.Column("final_error", sa.Text(), nullable=True, comment="The last technical error behind it"),
        sa.Column("file_url", sa.Text(), nullable=True, comment="The account's newest bill document"),
        sa.Column("bills_new", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("bills_seen", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("started_at", INSTANT, nullable=True),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
    ]


def constrain_results() -> None:
    table = "import_results"
    check(
        table,
        "status_known",
        "status IN ('success', 'no_bills', 'wrong_credentials', 'needs_attention', 'portal_error', 'portal_changed',"
        " 'not_tried', 'failed')",
    )
    refer(table, "account_id", "accounts", "SET NULL")
    refer(table, "run_id", "import_runs", "CASCADE")
    refer(table, "session_id", "import_sessions", "CASCADE")
    op.create_unique_constraint(op.f(f"uq_{table}_run_id_account_id"), table, ["run_id", "account_id"])
    op.create_index(f"ix_{table}_account_id", table, ["account_id"])
    op.create_index(f"ix_{table}_run_id_row_number", table, ["run_id", "row_number", "id"])
    op.create_index(f"ix_{table}_session_id", table, ["session_id"])


COLUMNS = {"users": user_columns, "import_sessions": job_columns, "import_results": result_columns}
CONSTRAIN = {"users": constrain_users, "import_sessions": constrain_jobs, "import_results": constrain_results}


def create(table: str) -> None:
    """Make the table where there is none yet."""
    op.create_table(
        table,
        *COLUMNS[table](),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        comment=COMMENTS[table],
    )
    CONSTRAIN[table]()


def check(table: str, name: str, condition: str) -> None:
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, sa.text(condition))


def refer(table: str, column: str, target: str, on_delete: str) -> None:
    op.create_foreign_key(op.f(f"fk_{table}_{column}"), table, target, [column], ["id"], ondelete=on_delete)
