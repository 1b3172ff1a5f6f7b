"""Portal accounts of a job: stored encrypted, replaced as a whole, never shown with their secret."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db.encryption import SecretBox
from db.errors import NotFoundError
from db.models import Account, AccountStatus, Job, Result


@dataclass(frozen=True)
class NewAccount:
    """One row of an accounts CSV."""

    row_number: int
    username: str
    password: str = field(repr=False)
    extra: Mapping[str, str]


@dataclass(frozen=True)
class AccountChanges:
    """What replacing the accounts of a job does, in numbers."""

    added: int
    changed: int
    removed: int
    unchanged: int


def replace_accounts(session: Session, job: Job, rows: Sequence[NewAccount], box: SecretBox) -> AccountChanges:
    """Make the job's accounts those of the rows.

    Accounts are matched by user name in any case, so history stays with them. A changed password makes an
    account that needed attention ready again.
    """
    known = {a.username.lower(): a for a in session.scalars(select(Account).where(Account.session_id == job.id))}
    added = changed = 0
    for row in rows:
        account = known.pop(row.username.lower(), None)
        fingerprint = box.fingerprint(row.password)
        if account is None:
            account = Account(session_id=job.id, username=row.username)
            session.add(account)
            added += 1
        elif account.fingerprint != fingerprint:
            changed += 1
        account.row_number = row.row_number
        account.extra = dict(row.extra)
        if account.fingerprint != fingerprint:
            account.secret = box.encrypt(row.password)
            account.fingerprint = fingerprint
            account.status = AccountStatus.READY
            account.status_reason = None
    if known:
        session.execute(delete(Account).where(Account.id.in_([a.id for a in known.values()])))
    job.accounts_count = len(rows)
    session.flush()
    return AccountChanges(added, changed, len(known), len(rows) - added - changed)


def list_accounts(session: Session, job: Job, *, limit: int = 10_000) -> Sequence[Account]:
    """The accounts of a job that the caller was allowed to read, in the order of the CSV."""
    return session.scalars(
        select(Account).where(Account.session_id == job.id).order_by(Account.row_number).limit(limit)
    ).all()


def list_accounts_needing_attention(session: Session, job: Job, *, limit: int) -> Sequence[Account]:
    """The accounts that the next run will leave alone, in the order of the CSV."""
    return session.scalars(
        select(Account)
        .where(Account.session_id == job.id, Account.status == AccountStatus.NEEDS_ATTENTION)
        .order_by(Account.row_number)
        .limit(limit)
    ).all()


def clear_attention(session: Session, job: Job, account_id: int) -> None:
    """Let the next run try this account again. Raises NotFoundError."""
    found = session.execute(
        update(Account)
        .where(Account.id == account_id, Account.session_id == job.id)
        .values(status=AccountStatus.READY, status_reason=None)
        .returning(Account.id)
    ).scalar_one_or_none()
    if found is None:
        raise NotFoundError("this account is no longer in the job")


def list_unfinished_accounts(session: Session, run_id: int, session_id: str) -> Sequence[Account]:
    """The accounts of the job that have no result in this run yet, in the order of the CSV."""
    has_result = select(Result.id).where(Result.run_id == run_id, Result.account_id == Account.id).exists()
    return session.scalars(
        select(Account).where(Account.session_id == session_id, ~has_result).order_by(Account.row_number)
    ).all()
