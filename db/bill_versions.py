"""Versions of bills: what a bill was before it changed at the portal, with the files it had then."""

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.errors import NotFoundError
from db.models import Bill, BillVersion

MAX_VERSIONS = 20  # a portal that makes its files anew each time changes a bill with every run
VERSIONED = ("number", "issued_on", "due_on", "amount", "currency", "portal_status", "fields", "documents")


def keep_version(session: Session, bill: Bill, *, run_id: int) -> None:
    """Keep the bill as it is now, before the run changes it; the oldest version beyond the limit goes.

    Its files are noted for removal, which spares what another version or bill still refers to.
    """
    values = {column: getattr(bill, column) for column in VERSIONED}
    session.add(BillVersion(bill_id=bill.id, replaced_in_run=run_id, **values))
    bill.versions_count += 1
    if bill.versions_count > MAX_VERSIONS:
        session.flush()
        session.execute(_DROP_OLDEST, {"bill_id": bill.id, "kept": MAX_VERSIONS})
        bill.versions_count = MAX_VERSIONS


def list_versions(session: Session, bill: Bill) -> Sequence[BillVersion]:
    """The earlier versions of a bill that the caller may see, newest first."""
    query = select(BillVersion).where(BillVersion.bill_id == bill.id).order_by(BillVersion.id.desc())
    return session.scalars(query.limit(MAX_VERSIONS)).all()


def get_version(session: Session, bill: Bill, version_id: int) -> BillVersion:
    """One earlier version of a bill that the caller may see. Raises NotFoundError."""
    version = session.get(BillVersion, version_id) if 0 < version_id < 2**63 else None
    if version is None or version.bill_id != bill.id:
        raise NotFoundError("this bill has no such earlier version")
    return version


_DROP_OLDEST = text("""
    WITH gone AS (
        DELETE FROM bill_versions WHERE id IN (
            SELECT id FROM bill_versions WHERE bill_id = :bill_id ORDER BY id DESC OFFSET :kept
        )
        RETURNING documents
    )
    INSERT INTO orphaned_files (file_url, orphaned_at)
    SELECT DISTINCT document ->> 'file_url', now() FROM gone, jsonb_array_elements(documents) AS document
    ON CONFLICT (file_url) DO UPDATE SET orphaned_at = excluded.orphaned_at
""")
