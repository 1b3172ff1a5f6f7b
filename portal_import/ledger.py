"""The run's side of the database: reads what to do, writes what was done, always under the run's lease.

Runs in a single thread of its own, so that the event loop never waits for Postgres. A database that is away
for a moment is waited for: the supervisor ends the run when that takes longer than its lease.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from db.accounts import list_accounts_by_id, list_unfinished_account_ids
from db.bills import BillRecord, count_bills_of_accounts, list_known_documents
from db.breaker import record_sign_ins
from db.claims import finish_run
from db.engine import transaction
from db.errors import LeaseLostError, PortalNotAuthorisedError
from db.models import SUCCEEDED_RESULTS, Account, Job, LogLevel, Portal, ResultStatus, Run, RunStatus, RunTrigger
from db.portal_gate import (
    PortalState,
    begin_sign_ins,
    free_portal_slots,
    has_other_run,
    postpone_requests,
    read_portal_state,
    reserve_requests,
    try_portal_slots,
)
from db.results import ResultRecord, count_results, get_shared_error, has_result, record_results, start_accounts
from db.run_log import LogLine, record_log_lines
from db.sign_in_tests import record_bill_sample
from portal_import.outcomes import AccountOutcome, BillFound, Document, PortalProfile, TableSample

RETRY_PAUSES_SECONDS = (0.1, 0.5, 1.0, 2.0)  # the last one again and again
PASSING_SQLSTATES = {
    "40001",  # serialization failure
    "40P01",  # deadlock
    "53300",  # too many connections
    "55P03",  # lock not available in time
    "57P01",  # the server shuts down
    "57P02",  # the server crashed
    "57P03",  # the server starts
}

REFUSED_RESULTS = (ResultStatus.WRONG_CREDENTIALS, ResultStatus.NEEDS_ATTENTION)
NOT_AUTHORISED = (
    "nobody has confirmed that they are authorised to use this portal with these accounts;"
    " edit the job, confirm it there, and run the job again"
)

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunPlan:
    """What a run has to do, read once at its start; of its accounts only the ids, since there may be thousands.

    `bills_before` is how many bills earlier runs found, by the account's id.
    `retries_run_id` is the run whose accounts a retry tries again; None, too, when that is long gone.
    """

    job_id: str
    login_url: str
    billing_url: str
    portal_id: int
    portal_host: str
    engine: str
    profile: PortalProfile
    max_concurrent_accounts: int
    has_request_spacing: bool
    portal_state: PortalState
    is_retry: bool
    is_test: bool
    retries_run_id: int | None
    accounts_total: int
    account_ids: Sequence[int] = field(repr=False)
    bills_before: Mapping[int, int] = field(repr=False)


@dataclass(frozen=True)
class EndedAccount:
    """One account and what came of it; without `started_at` it was not visited."""

    account: Account
    outcome: AccountOutcome
    started_at: datetime | None
    ended_at: datetime


@dataclass(frozen=True)
class PortalSlot:
    """One of the portal's places, held on the connection of that generation."""

    number: int
    generation: int


class RunLedger:
    """Database access of one run, held by its lease token. Closing it frees the portal's slots."""

    def __init__(self, engine: Engine, run_id: int, lease_token: UUID) -> None:
        self._engine = engine
        self._run_id = run_id
        self._token = lease_token
        self._lines: deque[LogLine] = deque()
        self._held_slots: set[int] = set()
        self._slot_connection: Connection | None = None
        self._slot_generation = 0
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """What a method of the ledger returns, called in its own thread."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *args)

    def load_plan(self, started_at: datetime) -> RunPlan:
        """Read the job, its portal and the accounts without a result. The run's process began at `started_at`.

        Raises LeaseLostError, and PortalNotAuthorisedError when nobody has said that the portal may be used.
        """
        return self._transact(lambda session: self._load_plan(session, started_at))

    def _load_plan(self, session: Session, started_at: datetime) -> RunPlan:
        run = session.get(Run, self._run_id)
        job = session.get(Job, run.session_id) if run else None
        if run is None or job is None or run.lease_token != self._token:
            raise LeaseLostError
        portal = session.get(Portal, job.portal_id) if job.portal_id else None
        if portal is None or portal.authorised_at is None:
            raise PortalNotAuthorisedError(NOT_AUTHORISED)
        account_ids = list_unfinished_account_ids(session, run)
        total = run.accounts_done + len(account_ids)
        start_accounts(session, run.id, self._token, accounts_total=total, started_at=started_at)
        return RunPlan(
            job_id=job.id,
            login_url=job.login_url,
            billing_url=job.billing_url,
            portal_id=portal.id,
            portal_host=portal.host,
            engine=portal.engine,
            profile=_profile_of(portal),
            max_concurrent_accounts=portal.max_concurrent_accounts,
            has_request_spacing=portal.min_seconds_between_requests > 0,
            portal_state=read_portal_state(session, portal.id),
            is_retry=run.trigger == RunTrigger.RETRY,
            is_test=run.trigger == RunTrigger.TEST,
            retries_run_id=run.parent_run_id,
            accounts_total=total,
            account_ids=account_ids,
            bills_before=count_bills_of_accounts(session, job),
        )

    def load_accounts(self, account_ids: Sequence[int]) -> Sequence[Account]:
        """Those of the accounts that are still in the job. They hold encrypted secrets."""
        return self._transact(lambda session: list_accounts_by_id(session, account_ids))

    def log(self, level: LogLevel, message: str, account_id: int | None = None) -> None:
        """Keep a line; it is stored with the next `flush_log`."""
        self._lines.append(LogLine(datetime.now(UTC), level, message, account_id))

    def flush_log(self) -> None:
        """Store the lines kept so far."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines:
            self._transact(lambda session: record_log_lines(session, self._run_id, lines))

    def load_known_documents(self, job_id: str, account: Account) -> dict[str, Document]:
        """What earlier runs stored of the account's bills, by its source."""
        stored = self._transact(
            lambda session: list_known_documents(session, session_id=job_id, username=account.username)
        )
        documents = (_document(values) for values in reversed(stored))  # so that of two the newer one is kept
        return {document.source: document for document in documents if document and document.source}

    def record_outcomes(self, ended: Sequence[EndedAccount], counting_at: int | None) -> str | None:
        """Store what happened to accounts, and how the portal `counting_at` answered their sign-ins, if that counts.

        Returns why the portal's breaker is open now, if this opened it. Raises LeaseLostError.
        """
        records = [_result_record(one) for one in ended]
        refusals = [_is_refused(one.outcome) for one in ended if one.started_at is not None]
        answered = [is_refused for is_refused in refusals if is_refused is not None]
        attempts = count(1)

        def record_once(session: Session) -> str | None:
            # A commit may have succeeded although its answer was lost with the connection.
            if next(attempts) > 1 and has_result(session, self._run_id, records[0].account_id):
                return None
            now = datetime.now(UTC)
            record_results(session, self._run_id, self._token, records, now)
            if not answered or counting_at is None:
                return None
            return record_sign_ins(session, counting_at, answered, now=now)

        return self._transact(record_once)

    def record_sample(self, account: Account, sample: TableSample) -> None:
        """Keep the table that a test of the sign-in saw."""
        self._transact(
            lambda session: record_bill_sample(
                session, self._run_id, account.id, headers=sample.headers, rows=sample.rows, now=datetime.now(UTC)
            )
        )

    def finish(self, outcome: RunStatus, reason: str | None) -> None:
        """End the run. Raises LeaseLostError."""
        self.flush_log()

        def finish_under_lease(session: Session) -> None:
            if not finish_run(session, self._run_id, self._token, outcome, reason, datetime.now(UTC)):
                raise LeaseLostError

        self._transact(finish_under_lease)

    def count_results(self) -> dict[ResultStatus, int]:
        """How the accounts of the run ended, earlier attempts included."""
        return self._transact(lambda session: count_results(session, self._run_id))

    def get_shared_error(self, status: ResultStatus) -> str | None:
        """Why accounts ended so, if all of them for the same reason."""
        return self._transact(lambda session: get_shared_error(session, self._run_id, status))

    def read_portal_state(self, portal_id: int) -> PortalState:
        """How the portal stands at this moment."""
        return self._transact(lambda session: read_portal_state(session, portal_id))

    def begin_sign_ins(self, portal_id: int, account_ids: Sequence[int]) -> tuple[PortalState, set[int] | None]:
        """Note the accounts that are signed in to now. As `db.portal_gate.begin_sign_ins`."""
        return self._transact(
            lambda session: begin_sign_ins(session, portal_id, self._run_id, self._token, account_ids)
        )

    def reserve_requests(self, portal_id: int, count: int) -> Sequence[float] | None:
        """Seconds to wait until each of so many requests may be sent; None while the portal wants none."""
        return self._transact(lambda session: reserve_requests(session, portal_id, count))

    def postpone_requests(self, portal_id: int, seconds: float) -> PortalState:
        """Keep all runs from sending anything for that long; how the portal stands then."""

        def postpone(session: Session) -> PortalState:
            postpone_requests(session, portal_id, seconds)
            return read_portal_state(session, portal_id)

        return self._transact(postpone)

    def has_company(self, portal_id: int) -> bool:
        """Whether another run is at work at the portal now."""
        return self._transact(lambda session: has_other_run(session, portal_id, self._run_id))

    def try_slots(self, portal_id: int, places: int, wanted: int) -> list[PortalSlot]:
        """Up to so many of the portal's places, as far as they are free among all runs on all machines."""
        return _with_patience(lambda: self._try_slots(portal_id, places, wanted), self._drop_slots)

    def free_slots(self, portal_id: int, slots: Sequence[PortalSlot]) -> None:
        """Give slots back. One whose connection broke is free already."""
        _with_patience(lambda: self._free_slots(portal_id, slots), self._drop_slots)

    def close(self) -> None:
        """Store what is left of the log and end the connections."""
        try:
            self.flush_log()
        finally:
            self._drop_slots()
            self._engine.dispose()

    def _try_slots(self, portal_id: int, places: int, wanted: int) -> list[PortalSlot]:
        others = [number for number in range(places) if number not in self._held_slots]
        with Session(self._slots()) as session, session.begin():
            taken = try_portal_slots(session, portal_id, others, wanted=wanted)
        self._held_slots.update(taken)
        return [PortalSlot(number, self._slot_generation) for number in taken]

    def _free_slots(self, portal_id: int, slots: Sequence[PortalSlot]) -> None:
        held = [slot.number for slot in slots if slot.generation == self._slot_generation]
        if not held:
            return
        with Session(self._slots()) as session, session.begin():
            free_portal_slots(session, portal_id, held)
        self._held_slots.difference_update(held)

    def _slots(self) -> Connection:
        if self._slot_connection is None:
            self._slot_connection = self._engine.connect()
        return self._slot_connection

    def _drop_slots(self) -> None:
        """End the connection that holds the slots, and so give them all back."""
        connection, self._slot_connection = self._slot_connection, None
        self._held_slots.clear()
        self._slot_generation += 1
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _transact(self, work: Callable[[Session], T]) -> T:
        """Do the work in a transaction; again from the start while the database is away."""

        def attempt() -> T:
            with transaction(self._engine) as session:
                return work(session)

        return _with_patience(attempt)


def _with_patience(attempt: Callable[[], T], on_failure: Callable[[], None] | None = None) -> T:
    tries = 0
    while True:
        try:
            return attempt()
        except DBAPIError as error:
            if not _is_passing(error):
                raise
            logger.warning("the database is away, waiting for it (%s)", type(error.orig).__name__)
        if on_failure is not None:
            on_failure()
        time.sleep(RETRY_PAUSES_SECONDS[min(tries, len(RETRY_PAUSES_SECONDS) - 1)])
        tries += 1


def _is_passing(error: DBAPIError) -> bool:
    """Whether the same work can succeed later: the connection broke, or the server asks for patience."""
    state = getattr(error.orig, "pgcode", None)
    return (
        error.connection_invalidated
        or state in PASSING_SQLSTATES
        or (state is None and isinstance(error, OperationalError))
    )


def _is_refused(outcome: AccountOutcome) -> bool | None:
    """Whether the portal refused the sign-in; None when what happened does not tell."""
    if outcome.status in SUCCEEDED_RESULTS:
        return False
    return True if outcome.status in REFUSED_RESULTS else None


def _profile_of(portal: Portal) -> PortalProfile:
    return PortalProfile(
        username_selector=portal.username_selector,
        password_selector=portal.password_selector,
        submit_selector=portal.submit_selector,
        link_selector=portal.link_selector,
        next_selector=portal.next_selector,
        date_order=portal.date_order,
        column_mapping=portal.column_mapping,
    )


def _document(values: Mapping[str, Any]) -> Document | None:
    """The document as it was stored; None for one of an older version, which says too little."""
    known = {field.name: values[field.name] for field in fields(Document) if field.name in values}
    return (
        Document(**known) if {"file_url", "file_name", "content_type", "size_bytes", "sha256"} <= known.keys() else None
    )


def _result_record(ended: EndedAccount) -> ResultRecord:
    account, outcome = ended.account, ended.outcome
    return ResultRecord(
        account_id=account.id,
        username=account.username,
        row_number=account.row_number,
        status=outcome.status,
        cause=outcome.cause,
        started_at=ended.started_at,
        ended_at=ended.ended_at,
        error=outcome.error,
        final_error=outcome.final_error,
        retry_attempts=outcome.retry_attempts,
        bills=[_bill_record(bill) for bill in outcome.bills],
    )


def _bill_record(bill: BillFound) -> BillRecord:
    documents: list[dict[str, Any]] = [asdict(d) for d in bill.documents]
    main = next((d for d in documents if d["content_type"] == "application/pdf"), documents[0] if documents else None)
    return BillRecord(
        bill_key=bill.bill_key,
        number=bill.number,
        issued_on=bill.issued_on,
        due_on=bill.due_on,
        amount=bill.amount,
        currency=bill.currency,
        portal_status=bill.portal_status,
        fields=dict(bill.fields),
        documents=documents,
        file_url=main["file_url"] if main else None,
        sha256=main["sha256"] if main else None,
        from_document=bill.from_document,
    )
