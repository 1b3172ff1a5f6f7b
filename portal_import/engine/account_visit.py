"""The visit of one account, whichever engine makes it: open the billing page, store its documents, say how it ended."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace

from db.models import LogLevel, ResultStatus
from portal_import.engine.bill_collection import BillCollection
from portal_import.engine.bill_details import BillDetails
from portal_import.engine.billing_page import BillPageReader
from portal_import.engine.gate import PortalGate
from portal_import.engine.missing_bills import require_no_bills
from portal_import.engine.pdf_reader import PdfReader
from portal_import.engine.repetition import Report
from portal_import.engine.storage import DocumentStore
from portal_import.engine.visits import Visitor, VisitRules, conduct_visit
from portal_import.outcomes import AccountLogin, AccountOutcome, BillFound, Limits, PortalProfile


async def visit_account(
    login: AccountLogin,
    profile: PortalProfile,
    limits: Limits,
    storage: DocumentStore,
    *,
    report: Report,
    gate: PortalGate,
    sleep: Callable[[float], Awaitable[None]],
    enter: Callable[[VisitRules], Visitor],
    pdfs: PdfReader | None = None,
) -> AccountOutcome:
    """Import the account with the visitor that `enter` makes. As `http_engine.import_account` otherwise."""
    bills: list[BillFound] = []

    async def make(visitor: Visitor, rules: VisitRules) -> None:
        page = await visitor.open_billing_page()
        reader = BillPageReader(profile, max_documents=limits.max_documents, max_bills=limits.max_bills)
        found = reader.read(page)
        if found.is_empty:
            require_no_bills(page, found, rules.redact, bills_before=login.bills_before)
            rules.report(LogLevel.INFO, "the account has no bills")
            return
        details = BillDetails(storage, reading, profile.date_order, rules.report)
        await BillCollection(visitor, rules, storage, details, bills).collect(page, found, reader)

    async with PdfReader() if pdfs is None else nullcontext(pdfs) as reading:
        end = await conduct_visit(login, profile, limits, report=report, gate=gate, sleep=sleep, enter=enter, make=make)
    collected = _give_keys(bills)
    if end.failure is not None:
        return replace(end.failure, bills=collected)
    status = ResultStatus.SUCCESS if collected else ResultStatus.NO_BILLS
    return AccountOutcome(status, retry_attempts=end.retries, bills=collected)


def _give_keys(bills: list[BillFound]) -> tuple[BillFound, ...]:
    """The bills, each with a key of its own."""
    unique: dict[str, BillFound] = {}
    for bill in bills:
        key, count = bill.bill_key, 1
        while key in unique:
            count += 1
            key = f"{bill.bill_key} ({count})"
        unique[key] = replace(bill, bill_key=key)
    return tuple(unique.values())
