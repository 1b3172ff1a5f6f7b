"""Bills: one row each however many runs see them, with the run that first saw, last saw and changed them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from db.bill_versions import keep_version
from db.errors import NotFoundError
from db.jobs import get_job
from db.models import Bill, Job
from db.row_sets import insert_rows
from db.runs import get_run
from db.storable_text import storable
from db.viewers import Viewer

COMPARED = ("number", "issued_on", "due_on", "amount", "currency", "portal_status")
OF_DOCUMENTS = ("documents", "file_url", "sha256")
MAX_KEY_CHARACTERS = 300  # an index entry holds 2,700 bytes
MAX_KNOWN_BILLS = 2_000  # of an account; older ones are fetched and compared
AMOUNT_LIMIT = Decimal(10) ** 11


@dataclass(frozen=True)
class BillRecord:
    """A bill as one run found it."""

    bill_key: str
    number: str | None = None
    issued_on: date | None = None
    due_on: date | None = None
    amount: Decimal | None = None
    currency: str | None = None
    portal_status: str | None = None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    documents: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    file_url: str | None = None
    sha256: str | None = None
    from_document: Sequence[str] = ()


class AccountBills(NamedTuple):
    """The bills that a run found for one account."""

    account_id: int
    username: str
    records: Sequence[BillRecord]


def count_bills_of_accounts(session: Session, job: Job) -> dict[int, int]:
    """How many bills earlier runs found for each account of the job, by its id."""
    query = select(Bill.account_id, func.count()).where(Bill.session_id == job.id, Bill.account_id.is_not(None))
    rows = session.execute(query.group_by(Bill.account_id))
    return {account_id: count for account_id, count in rows if account_id is not None}


def record_bills(session: Session, found: Sequence[AccountBills], *, run_id: int, session_id: str) -> list[int]:
    """Add new bills and bring known ones up to date; returns for each account how many were new.

    A bill has changed when its documents or one of its values are others than before; a value that was not known
    before is no change. What a changed bill was before stays as a version.
    """
    usernames = [account.username for account in found if account.records]
    stored = select(Bill).where(Bill.session_id == session_id, Bill.username.in_(usernames))
    known = {(bill.username, bill.bill_key): bill for bill in session.scalars(stored)} if usernames else {}
    new: dict[tuple[str, str], dict[str, Any]] = {}
    counts: list[int] = []
    for account in found:
        before = len(new)
        for record in account.records:
            key = storable(record.bill_key)[:MAX_KEY_CHARACTERS]
            bill = known.get((account.username, key))
            if bill is not None:
                _update_bill(session, bill, account, record, run_id=run_id)
                continue
            made = _make_bill(account, key, record, run_id=run_id, session_id=session_id)
            twin = new.get((account.username, key))
            if twin is not None and not record.documents:
                made |= {column: twin[column] for column in OF_DOCUMENTS}
            new[account.username, key] = made
        counts.append(len(new) - before)
    insert_rows(session, Bill, list(new.values()))
    return counts


def _make_bill(account: AccountBills, key: str, record: BillRecord, *, run_id: int, session_id: str) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "account_id": account.account_id,
        "username": account.username,
        "bill_key": key,
        **_values_of(record),
        "fields": storable(record.fields),
        "documents": storable(record.documents),
        "from_document": list(record.from_document),
        "file_url": record.file_url,
        "sha256": record.sha256,
        "first_seen_run": run_id,
        "last_seen_run": run_id,
    }


def _update_bill(session: Session, bill: Bill, account: AccountBills, record: BillRecord, *, run_id: int) -> None:
    values = _values_of(record)
    if _has_changed(bill, record, values):
        if bill.last_seen_run != run_id:
            keep_version(session, bill, run_id=run_id)
        bill.changed_run = run_id
    bill.account_id = account.account_id
    bill.last_seen_run = run_id
    bill.fields = storable(record.fields)
    bill.from_document = list(record.from_document)
    for column, value in values.items():
        setattr(bill, column, value)
    if record.documents:
        bill.documents = storable(record.documents)
        bill.file_url = record.file_url
        bill.sha256 = record.sha256


def _values_of(record: BillRecord) -> dict[str, Any]:
    values = {column: storable(getattr(record, column)) for column in COMPARED}
    return values | {"amount": _storable_amount(record.amount)}


def _has_changed(bill: Bill, record: BillRecord, values: dict[str, Any]) -> bool:
    has_new_documents = bool(record.documents) and _hashes(record.documents) != _hashes(bill.documents)
    before = {column: getattr(bill, column) for column in values}
    return has_new_documents or any(old is not None and old != values[column] for column, old in before.items())


def _hashes(documents: Sequence[dict[str, Any]]) -> set[str | None]:
    return {document.get("sha256") for document in documents}


def _storable_amount(amount: Decimal | None) -> Decimal | None:
    """In cents; None for what is too large to be one, which is some other number read as an amount."""
    if amount is None or not amount.is_finite() or abs(amount) >= AMOUNT_LIMIT:
        return None
    return amount.quantize(Decimal("0.01"))


def list_known_documents(
    session: Session, *, session_id: str, username: str, limit: int = MAX_KNOWN_BILLS
) -> list[dict[str, Any]]:
    """The documents that earlier runs stored of an account's bills, those of the bills seen last first."""
    query = select(Bill.documents).where(Bill.session_id == session_id, Bill.username == username)
    newest = session.scalars(query.order_by(Bill.last_seen_run.desc().nulls_last(), Bill.id.desc()).limit(limit))
    return [document for documents in newest for document in documents]


def get_bill(session: Session, viewer: Viewer, bill_id: int) -> Bill:
    """The bill, if it is the viewer's to see. Raises NotFoundError."""
    query = select(Bill).join(Job, Job.id == Bill.session_id).where(Bill.id == bill_id)
    if not viewer.is_admin:
        query = query.where(Job.user_id == viewer.user_id)
    bill = session.scalar(query)
    if bill is None:
        raise NotFoundError("there is no such bill, or it belongs to someone else")
    return bill


def list_run_bills(
    session: Session,
    viewer: Viewer,
    run_id: int,
    *,
    after: tuple[str, date | None, int] | None = None,
    limit: int = 1000,
) -> Sequence[Bill]:
    """The bills that the run saw and that no later run replaced, by user name, newest date first.

    `after` is the user name, date and id of the page before's last bill. Raises NotFoundError.
    """
    run, _ = get_run(session, viewer, run_id)
    issued_on = func.coalesce(Bill.issued_on, date.min)
    query = select(Bill).where(
        or_(Bill.last_seen_run == run.id, Bill.first_seen_run == run.id, Bill.changed_run == run.id)
    )
    if after is not None:
        username, last_issued_on, bill_id = after
        last_issued_on = last_issued_on or date.min
        is_later_in_account = or_(issued_on < last_issued_on, and_(issued_on == last_issued_on, Bill.id > bill_id))
        query = query.where(or_(Bill.username > username, and_(Bill.username == username, is_later_in_account)))
    return session.scalars(query.order_by(Bill.username, issued_on.desc(), Bill.id).limit(limit)).all()


def list_job_bills(
    session: Session, viewer: Viewer, job_id: str, *, after: tuple[str, str] | None = None, limit: int = 1000
) -> Sequence[Bill]:
    """The job's bills by user name and key; `after` is those of the page before's last. Raises NotFoundError."""
    query = select(Bill).where(Bill.session_id == get_job(session, viewer, job_id).id)
    if after is not None:
        query = query.where(tuple_(Bill.username, Bill.bill_key) > after)
    return session.scalars(query.order_by(Bill.username, Bill.bill_key).limit(limit)).all()
