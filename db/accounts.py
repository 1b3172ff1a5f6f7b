"""Portal accounts of a job: stored encrypted, replaced as a whole, never shown with their secret."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import BigInteger, ColumnElement, any_, delete, literal, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from db.encryption import SecretBox
from db.errors import NotFoundError
from db.models import Account, AccountStatus, Bill, Job, Result, Run
from db.secret_keys import hold_to_key

NAMES_SHOWN = 50  # of each kind of change, in a preview


@dataclass(frozen=True)
class NewAccount:
    """One row of an accounts CSV."""

    row_number: int
    username: str
    password: str = field(repr=False)
    extra: Mapping[str, str]


@dataclass(frozen=True)
class AccountChanges:
    """What replacing the accounts of a job does, in numbers; `changed_password` of the `changed` have another one."""

    added: int
    changed: int
    removed: int
    unchanged: int
    changed_password: int = 0


@dataclass(frozen=True)
class AccountsPreview:
    """What replacing would do: the numbers, the first user names of each kind, and who is tried again by it.

    `ready_again` of the accounts that were left alone have a changed row, `still_waiting` have the same one.
    `version` is the job's that this is about.
    """

    changes: AccountChanges
    added: Sequence[str]
    changed_password: Sequence[str]
    changed_otherwise: Sequence[str]
    removed: Sequence[str]
    ready_again: int
    still_waiting: int
    version: int


@dataclass(frozen=True)
class _Pair:
    """An account and its row in the new file."""

    account: Account
    row: NewAccount
    is_same_password: bool

    @property
    def is_changed(self) -> bool:
        is_same_row = self.account.username == self.row.username and self.account.extra == dict(self.row.extra)
        return not self.is_same_password or not is_same_row


@dataclass(frozen=True)
class _Comparison:
    added: Sequence[NewAccount]
    kept: Sequence[_Pair]
    removed: Sequence[Account]

    @property
    def changes(self) -> AccountChanges:
        changed = sum(pair.is_changed for pair in self.kept)
        return AccountChanges(
            added=len(self.added),
            changed=changed,
            removed=len(self.removed),
            unchanged=len(self.kept) - changed,
            changed_password=sum(not pair.is_same_password for pair in self.kept),
        )


def preview_accounts(session: Session, job: Job, rows: Sequence[NewAccount], box: SecretBox) -> AccountsPreview:
    """What `replace_accounts` would do with these rows; passwords are compared by their keyed hashes."""
    compared = _compare(session, job, rows, box)
    changed = [pair for pair in compared.kept if pair.is_changed]
    waiting = [pair for pair in compared.kept if pair.account.status == AccountStatus.NEEDS_ATTENTION]
    ready_again = sum(pair.is_changed for pair in waiting)
    return AccountsPreview(
        changes=compared.changes,
        added=[row.username for row in compared.added[:NAMES_SHOWN]],
        changed_password=[p.row.username for p in changed if not p.is_same_password][:NAMES_SHOWN],
        changed_otherwise=[p.row.username for p in changed if p.is_same_password][:NAMES_SHOWN],
        removed=[account.username for account in compared.removed[:NAMES_SHOWN]],
        ready_again=ready_again,
        still_waiting=len(waiting) - ready_again,
        version=job.version,
    )


def replace_accounts(session: Session, job: Job, rows: Sequence[NewAccount], box: SecretBox) -> AccountChanges:
    """Make the job's accounts those of the rows.

    Accounts are matched by user name in any case, so history stays with them. A changed row makes an account
    that needed attention ready again; its place in the file and its password's encryption don't count.
    Raises OutdatedKeyError.
    """
    hold_to_key(session, box)
    compared = _compare(session, job, rows, box)
    changes = compared.changes  # before the accounts become those of the rows
    session.add_all(_make_account(job, row, box) for row in compared.added)
    for pair in compared.kept:
        _bring_up_to_date(session, pair, box)
    if compared.removed:
        session.execute(delete(Account).where(Account.id.in_([a.id for a in compared.removed])))
    job.accounts_count = len(rows)
    session.flush()
    return changes


def _compare(session: Session, job: Job, rows: Sequence[NewAccount], box: SecretBox) -> _Comparison:
    accounts = session.scalars(select(Account).where(Account.session_id == job.id).order_by(Account.row_number))
    known = {a.username.lower(): a for a in accounts}
    added: list[NewAccount] = []
    kept: list[_Pair] = []
    for row in rows:
        account = known.pop(row.username.lower(), None)
        if account is None:
            added.append(row)
        else:
            kept.append(_Pair(account, row, box.matches(row.password, account.fingerprint)))
    return _Comparison(added, kept, list(known.values()))


def _make_account(job: Job, row: NewAccount, box: SecretBox) -> Account:
    return Account(
        session_id=job.id,
        row_number=row.row_number,
        username=row.username,
        secret=box.encrypt(row.password),
        fingerprint=box.fingerprint(row.password),
        extra=dict(row.extra),
    )


def _bring_up_to_date(session: Session, pair: _Pair, box: SecretBox) -> None:
    """Take over the row."""
    account, row = pair.account, pair.row
    if pair.is_changed:
        account.extra = dict(row.extra)
        account.status = AccountStatus.READY
        account.status_reason = None
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


def list_accounts(
    session: Session, job: Job, *, after: tuple[int, int] = (0, 0), limit: int = 10_000
) -> Sequence[Account]:
    """The accounts of a job that the caller was allowed to read, in the order of the CSV.

    Those after an account, by its row number and id, for the next page.
    """
    place = (Account.row_number, Account.id)
    mine = (Account.session_id == job.id, tuple_(*place) > after)
    return session.scalars(select(Account).where(*mine).order_by(*place).limit(limit)).all()


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


def list_unfinished_account_ids(session: Session, run: Run) -> Sequence[int]:
    """The accounts that the run covers and that have no result in it yet, in the order of the CSV.

    Of a run that has ended, accounts that came to the job later are none of its.
    """
    mine = _unfinished(run)
    if run.finished_at is not None:
        mine = (*mine, Account.created_at <= run.finished_at)
    return session.scalars(select(Account.id).where(*mine).order_by(Account.row_number)).all()


def list_accounts_by_id(session: Session, account_ids: Sequence[int]) -> Sequence[Account]:
    """Those of the accounts that are still there, in the order of the CSV."""
    return session.scalars(select(Account).where(Account.id.in_(account_ids)).order_by(Account.row_number)).all()


def _unfinished(run: Run) -> tuple[ColumnElement[bool], ...]:
    has_result = select(Result.id).where(Result.run_id == run.id, Result.account_id == Account.id).exists()
    covered = Account.id == any_(literal(run.account_ids, ARRAY(BigInteger))) if run.account_ids is not None else true()
    return Account.session_id == run.session_id, covered, ~has_result
