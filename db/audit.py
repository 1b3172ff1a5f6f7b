"""The audit log: who changed what. Secrets are never passed in."""

from typing import Any

from sqlalchemy.orm import Session

from db.models import AuditEntry


def record_audit(
    session: Session,
    user_id: str | None,
    action: str,
    subject: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Add one entry; `subject` is like `job 3f…` or `user bob`."""
    session.add(AuditEntry(user_id=user_id, action=action, subject=subject, before=before, after=after))
