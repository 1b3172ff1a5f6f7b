"""The bills, and the files that no bill needs any more."""

from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, BigId, Count, Instant, Now


class Bill(Base):
    __tablename__ = "bills"
    __table_args__ = (
        Index("uq_bills_session_id_username_bill_key", "session_id", "username", "bill_key", unique=True),
        Index("ix_bills_account_id", "account_id"),
        Index("ix_bills_last_seen_run", "last_seen_run"),
        Index("ix_bills_first_seen_run", "first_seen_run"),
        Index("ix_bills_changed_run", "changed_run"),
        {"comment": "Bills found at the portals, one row each, whichever runs saw them"},
    )

    id: Mapped[BigId]
    session_id: Mapped[str] = mapped_column(ForeignKey("import_sessions.id", ondelete="CASCADE"))
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    username: Mapped[str]
    bill_key: Mapped[str] = mapped_column(comment="The number, or the document's name where there is none")
    number: Mapped[str | None]
    issued_on: Mapped[date | None]
    due_on: Mapped[date | None]
    amount: Mapped[Decimal | None]
    currency: Mapped[str | None] = mapped_column(comment="ISO 4217")
    portal_status: Mapped[str | None] = mapped_column(comment="The portal's own word, such as Paid")
    fields: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'"), default=dict, comment="The table's cells as they stood, by header"
    )
    documents: Mapped[list[dict[str, Any]]] = mapped_column(
        server_default=text("'[]'"),
        default=list,
        comment=(
            "file_url, file_name, content_type, size_bytes, sha256 of each document, and what tells it from newer ones"
        ),
    )
    from_document: Mapped[list[str]] = mapped_column(
        server_default=text("'{}'"), default=list, comment="The fields read from the document, not from the table"
    )
    versions_count: Mapped[Count] = mapped_column(comment="Earlier versions that are kept")
    file_url: Mapped[str | None] = mapped_column(comment="The main document, a PDF where there is one")
    sha256: Mapped[str | None] = mapped_column(comment="Of the main document")
    first_seen_run: Mapped[int | None] = mapped_column(ForeignKey("import_runs.id", ondelete="SET NULL"))
    last_seen_run: Mapped[int | None] = mapped_column(ForeignKey("import_runs.id", ondelete="SET NULL"))
    changed_run: Mapped[int | None] = mapped_column(ForeignKey("import_runs.id", ondelete="SET NULL"))
    created_at: Mapped[Now]


class BillVersion(Base):
    __tablename__ = "bill_versions"
    __table_args__ = (
        Index("ix_bill_versions_bill_id_id", "bill_id", "id"),
        Index("ix_bill_versions_replaced_in_run", "replaced_in_run"),
        {"comment": "What a bill was before it changed at the portal; the newest few are kept"},
    )

    id: Mapped[BigId]
    bill_id: Mapped[int] = mapped_column(ForeignKey("bills.id", ondelete="CASCADE"))
    number: Mapped[str | None]
    issued_on: Mapped[date | None]
    due_on: Mapped[date | None]
    amount: Mapped[Decimal | None]
    currency: Mapped[str | None]
    portal_status: Mapped[str | None]
    fields: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"), default=dict)
    documents: Mapped[list[dict[str, Any]]] = mapped_column(server_default=text("'[]'"), default=list)
    replaced_in_run: Mapped[int | None] = mapped_column(ForeignKey("import_runs.id", ondelete="SET NULL"))
    replaced_at: Mapped[Now]


class OrphanedFile(Base):
    __tablename__ = "orphaned_files"
    __table_args__ = (
        Index("ix_orphaned_files_orphaned_at", "orphaned_at"),
        {"comment": "Files of deleted jobs' bills, until the scheduler has removed them from the storage"},
    )

    file_url: Mapped[str] = mapped_column(primary_key=True)
    orphaned_at: Mapped[Instant]
