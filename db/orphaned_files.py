"""Files of deleted jobs' bills and of dropped versions: noted with the deletion, removed later, by the scheduler.

Files are named by their content, so another job's bill may be the same file: what any row still refers to, or
refers to again by then, stays.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from db.models import OrphanedFile

BATCH_SIZE = 10_000  # each batch reads all addresses that are in use


def record_orphaned_files(session: Session, job_id: str) -> None:
    """Note the files of the job's bills and results, which are about to be deleted."""
    session.execute(_RECORD, {"job_id": job_id})


def list_orphaned_files(session: Session, *, before: datetime, limit: int = BATCH_SIZE) -> Sequence[str]:
    """Addresses noted before that instant that nothing refers to; those that something refers to are forgotten."""
    batch = {"before": before, "limit": limit}
    if session.scalars(_LIST, batch).first() is None:
        return []  # as nearly always, and then nothing else is read
    session.execute(_FORGET_USED, batch)
    return session.scalars(_LIST, batch).all()


def forget_files(session: Session, file_urls: Sequence[str]) -> None:
    """They are gone, or none of the storage's."""
    session.execute(delete(OrphanedFile).where(OrphanedFile.file_url.in_(file_urls)))


_RECORD = text("""
    INSERT INTO orphaned_files (file_url, orphaned_at)
    SELECT document ->> 'file_url', now()
    FROM bills, jsonb_array_elements(documents) AS document WHERE session_id = :job_id
    UNION
    SELECT document ->> 'file_url', now()
    FROM bills AS b JOIN bill_versions AS v ON v.bill_id = b.id, jsonb_array_elements(v.documents) AS document
    WHERE b.session_id = :job_id
    UNION
    SELECT file_url, now() FROM import_results WHERE session_id = :job_id AND file_url IS NOT NULL
    ON CONFLICT (file_url) DO UPDATE SET orphaned_at = excluded.orphaned_at
""")
_BATCH = """
    SELECT file_url FROM orphaned_files WHERE orphaned_at < :before ORDER BY orphaned_at, file_url LIMIT :limit
"""
# By the name alone: an older system's rows may hold the whole address of the same file.
_FORGET_USED = text(f"""
    DELETE FROM orphaned_files WHERE file_url IN (
        SELECT batch.file_url FROM ({_BATCH}) AS batch
        WHERE substring(batch.file_url FROM '[^/]*$') IN (
            SELECT substring(document ->> 'file_url' FROM '[^/]*$')
            FROM bills, jsonb_array_elements(documents) AS document
            UNION ALL
            SELECT substring(document ->> 'file_url' FROM '[^/]*$')
            FROM bill_versions, jsonb_array_elements(documents) AS document
            UNION ALL
            SELECT substring(file_url FROM '[^/]*$') FROM import_results WHERE file_url IS NOT NULL
        )
    )
""")  # noqa: S608
_LIST = text(_BATCH)
