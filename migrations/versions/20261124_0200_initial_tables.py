"""The tables, made afresh or around those of an older system.

An earlier system may have left `users`, `import_sessions` and `import_results` in this database; they are
adopted in place, or the upgrade is refused and nothing changes.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import adoption, first_tables
from migrations.first_tables import INSTANT, NOW, RANDOM_ID

revision = "20261124_0200"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    old = adoption.find_old_tables(connection)
    create_standing_alone()
    adoption.loosen(connection, old)
    adopt_or_create(connection, old, "users")
    create_around_users()
    adopt_or_create(connection, old, "import_sessions")
    create_around_jobs()
    adopt_or_create(connection, old, "import_results")
    create_around_runs()
    adoption.tie(connection, old)


def downgrade() -> None:
    raise NotImplementedError("migrations only go forward; restore a backup instead")


def adopt_or_create(connection: sa.Connection, old: adoption.OldTables, table: str) -> None:
    if table in old:
        adoption.adopt(connection, old, table)
    else:
        first_tables.create(table)


def create_standing_alone() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True, comment="Kept when the user goes"),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=True),
        sa.Column("after", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        comment="Who changed what; never a secret",
    )
    op.create_index("ix_audit_log_at", "audit_log", [sa.text("at DESC")])
    op.create_index("ix_audit_log_subject_at", "audit_log", ["subject", sa.text("at DESC")])
    op.create_table(
        "portals",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False, comment="host or host:port of the login URL, lower case"),
        sa.Column("engine", sa.Text(), server_default="http", nullable=False),
        sa.Column("username_selector", sa.Text(), nullable=True, comment="CSS; NULL finds the field by itself"),
        sa.Column("password_selector", sa.Text(), nullable=True, comment="CSS; NULL finds the field by itself"),
        sa.Column("link_selector", sa.Text(), nullable=True, comment="CSS of bill links; NULL finds them by itself"),
        sa.Column("max_concurrent_accounts", sa.Integer(), server_default=sa.text("2"), nullable=False),
        sa.Column(
            "min_seconds_between_requests",
            sa.Double(),
            server_default=sa.text("0.05"),
            nullable=False,
            comment="Spacing held across runs and machines",
        ),
        sa.Column("next_request_at", INSTANT, nullable=True, comment="When the next request may be sent"),
        sa.Column("breaker_open_until", INSTANT, nullable=True, comment="No sign-ins before this instant"),
        sa.Column("breaker_reason", sa.Text(), nullable=True),
        sa.Column("authorised_by", sa.Text(), nullable=True, comment="User id; kept when the user goes"),
        sa.Column("authorised_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.CheckConstraint("engine IN ('http', 'browser')", name=op.f("ck_portals_engine_known")),
        sa.CheckConstraint(
            "(authorised_at IS NULL) OR (authorised_by IS NOT NULL)", name=op.f("ck_portals_authorised_by_someone")
        ),
        sa.CheckConstraint("max_concurrent_accounts BETWEEN 1 AND 64", name=op.f("ck_portals_concurrency_bounded")),
        sa.CheckConstraint("min_seconds_between_requests >= 0", name=op.f("ck_portals_spacing_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_portals")),
        sa.UniqueConstraint("host", name=op.f("uq_portals_host")),
        comment="One per login host: how it is visited and how gently",
    )
    op.create_table(
        "scheduler_instances",
        sa.Column("id", sa.Text(), server_default=RANDOM_ID, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("started_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("last_seen_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("last_fire_at", INSTANT, nullable=True, comment="End of the last fire pass that succeeded"),
        sa.Column("stopped_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler_instances")),
        comment="scheduler_service processes and when each last made progress",
    )
    op.create_table(
        "sign_in_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("username", sa.Text(), nullable=False, comment="Lower case, as typed; it need not exist"),
        sa.Column("ip", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_attempts")),
        comment="Refused sign-ins, for throttling by name and by address",
    )
    op.create_index("ix_sign_in_attempts_ip_at", "sign_in_attempts", ["ip", "at"])
    op.create_index("ix_sign_in_attempts_username_at", "sign_in_attempts", ["username", "at"])


def create_around_users() -> None:
    op.create_table(
        "user_sessions",
        sa.Column("token_hash", sa.Text(), nullable=False, comment="SHA-256, hex, of the cookie or token id"),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("revoked_at", INSTANT, nullable=True),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('browser', 'api')", name=op.f("ck_user_sessions_kind_known")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_sessions_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_user_sessions")),
        comment="Signed-in browsers and API tokens; ended by revoked_at",
    )
    op.create_index("ix_user_sessions_expires_at", "user_sessions", ["expires_at"])
    op.create_index("ix_user_sessions_user_id", "user_sessions", ["user_id"])


def create_around_jobs() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("row_number", sa.Integer(), nullable=False, comment="Line of the CSV, the header being 1"),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column(
            "secret", sa.LargeBinary(), nullable=False, comment="The password, encrypted with PUNCTUAL_SECRET_KEY"
        ),
        sa.Column("extra", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column(
            "fingerprint", sa.Text(), nullable=False, comment="Keyed hash of the password, to see that it changed"
        ),
        sa.Column("status", sa.Text(), server_default="ready", nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("last_success_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.CheckConstraint("status IN ('ready', 'needs_attention')", name=op.f("ck_accounts_status_known")),
        sa.ForeignKeyConstraint(
            ["session_id"], ["import_sessions.id"], name=op.f("fk_accounts_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        comment="Portal accounts, one per row of the job's CSV",
    )
    op.create_index("ix_accounts_session_id_row_number", "accounts", ["session_id", "row_number"])
    op.create_index(
        "uq_accounts_session_id_username", "accounts", ["session_id", sa.text("lower(username)")], unique=True
    )
    op.create_table(
        "import_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column(
            "parent_run_id", sa.BigInteger(), nullable=True, comment="The run whose failed accounts this one retries"
        ),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("scheduled_for", INSTANT, nullable=True),
        sa.Column(
            "occurrences",
            sa.Integer(),
            server_default=sa.text("1"),
            nullable=False,
            comment="Occurrences that this row accounts for",
        ),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why it ended as it did, in words"),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("queued_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("run_after", INSTANT, server_default=NOW, nullable=False),
        sa.Column("started_at", INSTANT, nullable=True, comment="First start; a resumed run keeps it"),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.Column("worker", sa.Text(), nullable=True, comment="The scheduler_service instance that ran it"),
        sa.Column("lease_token", sa.Uuid(), nullable=True, comment="Fences off a worker that lost its claim"),
        sa.Column("lease_until", INSTANT, nullable=True),
        sa.Column("accounts_total", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("accounts_done", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("accounts_succeeded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("stop_requested_at", INSTANT, nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=True, comment="User id; kept when the user goes"),
        sa.CheckConstraint(
            "(status = 'running') = (lease_until IS NOT NULL AND lease_token IS NOT NULL)",
            name=op.f("ck_import_runs_lease_when_running"),
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'partial', 'failed', 'stopped', 'timed_out', 'lost', 'missed', 'skipped'))"
            " = (finished_at IS NOT NULL)",
            name=op.f("ck_import_runs_finished_at_when_final"),
        ),
        sa.CheckConstraint("status <> 'queued' OR worker IS NULL", name=op.f("ck_import_runs_queued_has_no_worker")),
        sa.CheckConstraint(
            "status <> 'running' OR (worker IS NOT NULL AND started_at IS NOT NULL)",
            name=op.f("ck_import_runs_worker_known"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'completed', 'partial', 'failed', 'stopped', 'timed_out', 'lost',"
            " 'missed', 'skipped')",
            name=op.f("ck_import_runs_status_known"),
        ),
        sa.CheckConstraint(
            "trigger <> 'schedule' OR scheduled_for IS NOT NULL", name=op.f("ck_import_runs_scheduled_for_known")
        ),
        sa.CheckConstraint(
            "trigger IN ('schedule', 'manual', 'api', 'retry', 'backfill', 'test')",
            name=op.f("ck_import_runs_trigger_known"),
        ),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_import_runs_attempt_counts_from_one")),
        sa.ForeignKeyConstraint(
            ["parent_run_id"], ["import_runs.id"], name=op.f("fk_import_runs_parent_run_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["import_sessions.id"], name=op.f("fk_import_runs_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_runs")),
        comment="One row per occurrence, whether it ran, was missed or was skipped",
    )
    op.create_index(
        "ix_import_runs_claimable", "import_runs", ["run_after", "id"], postgresql_where=sa.text("status = 'queued'")
    )
    op.create_index(
        "ix_import_runs_leases", "import_runs", ["lease_until"], postgresql_where=sa.text("status = 'running'")
    )
    op.create_index(
        "ix_import_runs_parent_run_id",
        "import_runs",
        ["parent_run_id"],
        postgresql_where=sa.text("parent_run_id IS NOT NULL"),
    )
    op.create_index(
        "ix_import_runs_queued", "import_runs", ["session_id", "id"], postgresql_where=sa.text("status = 'queued'")
    )
    op.create_index("ix_import_runs_session_id_id", "import_runs", ["session_id", sa.text("id DESC")])
    op.create_index(
        "uq_import_runs_occurrence",
        "import_runs",
        ["session_id", "scheduled_for"],
        unique=True,
        postgresql_where=sa.text("trigger = 'schedule'"),
    )
    op.create_index(
        "uq_import_runs_running",
        "import_runs",
        ["session_id"],
        unique=True,
        postgresql_where=sa.text("status = 'running'"),
    )


def create_around_runs() -> None:
    op.create_table(
        "bills",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column(
            "bill_key", sa.Text(), nullable=False, comment="The number, or the document's name where there is none"
        ),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("issued_on", sa.Date(), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=14, scale=2), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True, comment="ISO 4217"),
        sa.Column("portal_status", sa.Text(), nullable=True, comment="The portal's own word, such as Paid"),
        sa.Column(
            "fields",
            postgresql.JSONB(),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="The table's cells as they stood, by header",
        ),
        sa.Column(
            "documents",
            postgresql.JSONB(),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="file_url, file_name, content_type, size_bytes, sha256 of each document",
        ),
        sa.Column("file_url", sa.Text(), nullable=True, comment="The main document, a PDF where there is one"),
        sa.Column("sha256", sa.Text(), nullable=True, comment="Of the main document"),
        sa.Column("first_seen_run", sa.BigInteger(), nullable=True),
        sa.Column("last_seen_run", sa.BigInteger(), nullable=True),
        sa.Column("changed_run", sa.BigInteger(), nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_bills_account_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["changed_run"], ["import_runs.id"], name=op.f("fk_bills_changed_run"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["first_seen_run"], ["import_runs.id"], name=op.f("fk_bills_first_seen_run"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["last_seen_run"], ["import_runs.id"], name=op.f("fk_bills_last_seen_run"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["import_sessions.id"], name=op.f("fk_bills_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bills")),
        comment="Bills found at the portals, one row each, whichever runs saw them",
    )
    op.create_index("ix_bills_account_id", "bills", ["account_id"])
    op.create_index("ix_bills_changed_run", "bills", ["changed_run"])
    op.create_index("ix_bills_first_seen_run", "bills", ["first_seen_run"])
    op.create_index("ix_bills_last_seen_run", "bills", ["last_seen_run"])
    op.create_index(
        "uq_bills_session_id_username_bill_key", "bills", ["session_id", "username", "bill_key"], unique=True
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("run_after", INSTANT, server_default=NOW, nullable=False),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("sent_at", INSTANT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'sent', 'failed')", name=op.f("ck_notifications_state_known")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["import_runs.id"], name=op.f("fk_notifications_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        comment="Outbox of messages to people",
    )
    op.create_index(
        "ix_notifications_pending", "notifications", ["run_after", "id"], postgresql_where=sa.text("state = 'pending'")
    )
    op.create_index("ix_notifications_run_id", "notifications", ["run_id"])
    op.create_table(
        "run_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("level", sa.Text(), server_default="info", nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.CheckConstraint("level IN ('info', 'warning', 'error')", name=op.f("ck_run_log_level_known")),
        sa.ForeignKeyConstraint(["run_id"], ["import_runs.id"], name=op.f("fk_run_log_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_log")),
        comment="What a run did, line by line; never a secret",
    )
    op.create_index("ix_run_log_run_id_id", "run_log", ["run_id", "id"])
