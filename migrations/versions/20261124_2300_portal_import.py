"""Portals that need more to be said of them: selectors, pages of bills, dates, columns."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "20261124_2300"
down_revision = "20261124_2010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What a person can say of a portal.
    for name, column_type, comment in (
        ("submit_selector", sa.Text(), "CSS of the sign-in button; NULL finds it by itself"),
        ("next_selector", sa.Text(), "CSS of the link to the next page of bills"),
        ("date_order", sa.Text(), "How 03/04/2026 is meant; NULL leaves such dates unread"),
        ("column_mapping", JSONB(), "Field of a bill -> header of its column; NULL: by the usual wordings"),
    ):
        op.add_column("portals", sa.Column(name, column_type, nullable=True, comment=comment))
    op.add_column(
        "portals",
        sa.Column(
            "version",
            sa.Integer(),
            server_default=sa.text("1"),
            nullable=False,
            comment="Counts changes, so that none is overwritten unseen",
        ),
    )
    op.create_check_constraint("date_order_known", "portals", "date_order IN ('day_first', 'month_first')")

    # Which key encrypts passwords, so that no process goes on with one that was rotated away.
    op.add_column(
        "scheduler_instances",
        sa.Column("key_marks", ARRAY(sa.Text()), nullable=True, comment="Tell which secret keys it was started with"),
    )
    op.create_table(
        "secret_key_mark",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mark", sa.Text(), nullable=False, comment="Derived from the key, which cannot be told from it"),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_secret_key_mark_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secret_key_mark")),
        comment="Tells which key encrypts passwords since keys were last rotated; no row before the first time",
    )
    test_sign_ins()

    # Whose slots a scheduler counts.
    op.add_column(
        "scheduler_instances",
        sa.Column(
            "cluster",
            sa.Text(),
            nullable=True,
            comment="The Dask cluster whose slots it uses, which others may use too; NULL: they are its own",
        ),
    )

    # What a bill was before it changed.
    for column in (
        sa.Column(
            "from_document",
            ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="The fields read from the document, not from the table",
        ),
        sa.Column(
            "versions_count",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Earlier versions that are kept",
        ),
    ):
        op.add_column("bills", column)
    op.alter_column(
        "bills",
        "documents",
        comment=(
            "file_url, file_name, content_type, size_bytes, sha256 of each document, and what tells it from newer ones"
        ),
    )
    op.create_table(
        "bill_versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("bill_id", sa.BigInteger(), sa.ForeignKey("bills.id", ondelete="CASCADE"), nullable=False),
        *(sa.Column(name, sa.Text()) for name in ("number", "currency", "portal_status")),
        *(sa.Column(name, sa.Date()) for name in ("issued_on", "due_on")),
        sa.Column("amount", sa.Numeric(14, 2)),
        sa.Column("fields", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("documents", JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("replaced_in_run", sa.BigInteger(), sa.ForeignKey("import_runs.id", ondelete="SET NULL")),
        sa.Column("replaced_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        comment="What a bill was before it changed at the portal; the newest few are kept",
    )
    op.create_index("ix_bill_versions_bill_id_id", "bill_versions", ["bill_id", "id"])
    op.create_index("ix_bill_versions_replaced_in_run", "bill_versions", ["replaced_in_run"])

    # The guards of a portal, held across runs.
    op.add_column(
        "portals",
        sa.Column(
            "retry_after_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="The portal asked for no requests before this instant (Retry-After)",
        ),
    )
    op.add_column(
        "portals",
        sa.Column(
            "recent_refusals",
            ARRAY(sa.Boolean()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Of the last ten sign-ins, those since the first refused one: whether refused, newest last",
        ),
    )
    op.add_column(
        "accounts",
        sa.Column("sign_in_run_id", sa.BigInteger(), nullable=True, comment="The run that last sent the password"),
    )


def downgrade() -> None:
    raise NotImplementedError("migrations only go forward; restore a backup instead")


def test_sign_ins() -> None:
    """Tests of the sign-in, what they saw, and why an account ended as it did."""
    op.add_column(
        "import_sessions",
        sa.Column("test_run_id", sa.BigInteger(), nullable=True, comment="The sign-in test that is running"),
    )
    op.create_check_constraint(
        op.f("ck_import_runs_test_names_its_account"),
        "import_runs",
        "trigger <> 'test' OR (account_ids IS NOT NULL AND cardinality(account_ids) = 1)",
    )
    comment = "Why, where the status alone does not say what to do about it"
    op.add_column("import_results", sa.Column("cause", sa.Text(), nullable=True, comment=comment))
    causes = (
        "'one_time_code', 'captcha', 'locked', 'new_terms', 'expired_password', 'left_alone', 'unreachable', 'timeout',"
        " 'server_error', 'busy', 'insecure', 'forbidden_address', 'no_form', 'unsafe_form', 'selector', 'page_gone',"
        " 'not_let_in', 'no_bills_found', 'bills_gone', 'breaker'"
    )
    op.create_check_constraint(op.f("ck_import_results_cause_known"), "import_results", f"cause IN ({causes})")
    op.create_table(
        "sign_in_samples",
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("portal_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True, comment="Whose bills they are; it may be gone"),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "headers",
            ARRAY(sa.Text()),
            nullable=False,
            comment="The texts of the table's header cells, in their order",
        ),
        sa.Column("rows", JSONB(), nullable=False, comment="The texts of its first rows, as they stood"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["import_runs.id"], name=op.f("fk_sign_in_samples_run_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["portal_id"], ["portals.id"], name=op.f("fk_sign_in_samples_portal_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_sign_in_samples")),
        comment="The bill table that a sign-in test saw, for correcting how the portal's bills are read",
    )
    op.create_index("ix_sign_in_samples_portal_id_run_id", "sign_in_samples", ["portal_id", sa.text("run_id DESC")])
