"""Tests one account's sign-in: goes as far as the billing page and tells what it saw, but fetches no document."""

from collections.abc import Awaitable, Callable

from db.models import LogLevel, ResultStatus
from portal_import.engine.billing_page import BillingPage, read_billing_page
from portal_import.engine.gate import PortalGate
from portal_import.engine.missing_bills import require_no_bills
from portal_import.engine.repetition import Report
from portal_import.engine.secrecy import Redactor
from portal_import.engine.table_samples import take_table_sample
from portal_import.engine.visits import Visitor, VisitRules, conduct_visit
from portal_import.outcomes import AccountLogin, AccountOutcome, Limits, PortalProfile, SignInTest, TableSample


async def visit_for_test(
    login: AccountLogin,
    profile: PortalProfile,
    limits: Limits,
    *,
    report: Report,
    gate: PortalGate,
    sleep: Callable[[float], Awaitable[None]],
    enter: Callable[[VisitRules], Visitor],
) -> SignInTest:
    """Sign in once as an import would, and report each step and what was seen at it.

    The outcome is the import's, without the bills. As `http_engine.import_account` otherwise.
    """
    samples: list[TableSample] = []
    seen: list[BillingPage] = []

    async def make(visitor: Visitor, rules: VisitRules) -> None:
        page = await visitor.open_billing_page()
        sample = take_table_sample(page)
        if sample is not None:
            samples.append(_redact_sample(sample, rules.redact))
        found = read_billing_page(page, profile, max_documents=limits.max_documents)
        seen.append(found)
        for line in _note_bills(found):
            rules.report(LogLevel.INFO, line)
        if not found.bills and not found.links_count:
            require_no_bills(page, found, rules.redact, bills_before=login.bills_before)

    end = await conduct_visit(
        login,
        profile,
        limits,
        report=report,
        gate=gate,
        sleep=sleep,
        enter=enter,
        make=make,
        observes=True,
    )
    sample = samples[0] if samples else None
    if end.failure is not None:
        return SignInTest(end.failure, sample)
    has_bills = any(found.bills or found.links_count for found in seen)
    status = ResultStatus.SUCCESS if has_bills else ResultStatus.NO_BILLS
    return SignInTest(AccountOutcome(status, retry_attempts=end.retries), sample)


def _note_bills(found: BillingPage) -> list[str]:
    bills, documents = len(found.bills), found.links_count + found.omitted
    lines = [f"bills recognised in a table: {bills:,}; documents linked: {documents:,}; a test fetches none of them"]
    if found.columns:
        columns = ", ".join(f"{field.replace('_', ' ')} under “{header}”" for field, header in found.columns.items())
        lines.append(f"columns recognised: {columns}")
    elif not found.has_table:
        lines.append("no table with the columns of bills was recognised")
    lines += found.remarks.values()
    if found.says_none:
        lines.append("the page says that there are no bills")
    return lines


def _redact_sample(sample: TableSample, redact: Redactor) -> TableSample:
    rows = tuple(tuple(redact(text) for text in row) for row in sample.rows)
    return TableSample(tuple(redact(text) for text in sample.headers), rows)
