"""Portal accounts of a job: stored encrypted, replaced as a whole, never shown with their secret."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import BigInteger, ColumnElement, any_, delete, literal, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from db.encryption import SecretBox
from db.errors import NotFoundError
from db.models import Account, AccountStatus, Bill, Job, Result, Run
from db.secret_keys import hold_to_key


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

    Accounts are matched by user name in any case, so history stays with them. A changed row makes an account
    that needed attention ready again; its place in the file and its password's encryption don't count.
    Raises OutdatedKeyError.
    """
    hold_to_key(session, box)
    known = {a.username.lower(): a for a in session.scalars(select(Account).where(Account.session_id == job.id))}
    added = changed = 0
    for row in rows:
        account = known.pop(row.username.lower(), None)
        if account is None:
            session.add(_make_account(job, row, box))
            added += 1
        elif _bring_up_to_date(session, account, row, box):
            changed += 1
    if known:
        session.execute(delete(Account).where(Account.id.in_([a.id for a in known.values()])))
    job.accounts_count = len(rows)
    session.flush()
    return AccountChanges(added, changed, len(known), len(rows) - added - changed)


def _make_account(job: Job, row: NewAccount, box: SecretBox) -> Account:
    return Account(
        session_id=job.id,
        row_number=row.row_number,
        username=row.username,
        secret=box.encrypt(row.password),
        fingerprint=box.fingerprint(row.password),
        extra=dict(row.extra),
    )


def _bring_up_to_date(session: Session, account: Account, row: NewAccount, box: SecretBox) -> bool:
    """Take over the row; True when it differs from what was known."""
    is_same_password = box.matches(row.password, account.fingerprint)
    is_changed = not is_same_password or account.username != row.username or account.extra != dict(row.extra)
    if account.username != row.username:
        session.execute(
            update(Bill)
            .where(Bill.session_id == account.session_id, Bill.username == account.username)
            .values(username=row.username)
        )
        account.username = row.username
    fingerprint = box.fingerprint(row.password)
    if account.fingerprint != fingerprint:  # another password, or the same under a key that is no longer the first
        account.secret = box.encrypt(row.password)
        account.fingerprint = fingerprint
    account.row_number = row.row_number
    if is_changed:
        account.extra = dict(row.extra)
        account.status = AccountStatus.READY
        account.status_reason = None
    return is_changed


def list_accounts(session: Session, job: Job, *, limit: int = 10_000) -> Sequence[Account]:
    """The accounts of a job that the caller was allowed to read, in the order of the CSV."""
    return session.scalars(
        select(Account).where(Account.session_id == job.id).order_by(Account.row_number).limit(limit)
    ).all()


def get_account(session: Session, job: Job, account_id: int) -> Account:
    """The account of a job that the caller was allowed to read. Raises NotFoundError."""
    account = session.scalar(select(Account).where(Account.id == account_id, Account.session_id == job.id))
    if account is None:
        raise NotFoundError("this account is no longer in the job")
    return account


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


def list_unfinished_accounts(session: Session, run: Run) -> Sequence[Account]:
    """The accounts that the run covers and that have no result in it yet, in the order of the CSV."""
    return session.scalars(select(Account).where(*_unfinished(run)).order_by(Account.row_number)).all()


def list_unfinished_account_ids(session: Session, run: Run) -> Sequence[int]:
    """The same of a run that has ended, by their ids; accounts that came to the job later are none of its."""
    mine = (*_unfinished(run), Account.created_at <= run.finished_at)
    return session.scalars(select(Account.id).where(*mine).order_by(Account.row_number)).all()


def _unfinished(run: Run) -> tuple[ColumnElement[bool], ...]:
    has_result = select(Result.id).where(Result.run_id == run.id, Result.account_id == Account.id).exists()
    covered = Account.id == any_(literal(run.account_ids, ARRAY(BigInteger))) if run.account_ids is not None else true()
    return Account.session_id == run.session_id, covered, ~has_result
