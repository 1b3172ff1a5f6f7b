"""Portals that need more to be said of them: selectors, pages of bills, dates, columns."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

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
    op.create_table(
        "secret_key_mark",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mark", sa.Text(), nullable=False, comment="Derived from the key, which cannot be told from it"),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_secret_key_mark_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secret_key_mark")),
        comment="Tells which key encrypts passwords since keys were last rotated; no row before the first time",
    )


def downgrade() -> None:
    raise NotImplementedError("migrations only go forward; restore a backup instead")
