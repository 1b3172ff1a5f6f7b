"""The visit of one account, whichever engine makes it: open the billing page, store its documents, say how it ended."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from db.models import LogLevel, ResultStatus
from portal_import.engine.addresses import show
from portal_import.engine.billing_page import BillingPage, BillOnPage, read_billing_page
from portal_import.engine.document_links import DocumentLink
from portal_import.engine.downloads import NotADocumentError, download_document
from portal_import.engine.errors import VisitError
from portal_import.engine.gate import PortalGate
from portal_import.engine.missing_bills import require_no_bills
from portal_import.engine.page import Page
from portal_import.engine.repetition import Report
from portal_import.engine.storage import DocumentStore
from portal_import.engine.visits import Visitor, VisitRules, conduct_visit
from portal_import.outcomes import AccountLogin, AccountOutcome, BillFound, Document, Limits, PortalProfile

_MAX_NAMED_FAILURES = 3


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
) -> AccountOutcome:
    """Import the account with the visitor that `enter` makes. As `http_engine.import_account` otherwise."""
    bills: list[BillFound] = []

    async def make(visitor: Visitor, rules: VisitRules) -> None:
        await _Visit(visitor, rules, storage, bills).make()

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


@dataclass
class _Visit:
    """One account's visit; what it has collected so far survives its failure."""

    visitor: Visitor
    rules: VisitRules
    storage: DocumentStore
    bills: list[BillFound]
    failures: list[VisitError] = field(default_factory=list)

    async def make(self) -> None:
        """Collect the account's bills into `bills`. Raises VisitError if any of them is incomplete."""
        page = await self.visitor.open_billing_page()
        found = read_billing_page(page, self.rules.profile, max_documents=self.rules.limits.max_documents)
        if not found.bills and not found.links_count:
            require_no_bills(page, found, self.rules.redact, bills_before=self.rules.login.bills_before)
            self.rules.report(LogLevel.INFO, "the account has no bills")
            return
        bills, documents = _count(len(found.bills), "bill"), _count(found.links_count, "document")
        self.rules.report(LogLevel.INFO, f"found {bills} in a table and {documents}")
        for remark in found.remarks.values():
            self.rules.report(LogLevel.WARNING, remark)
        if found.has_more_pages:
            self.rules.report(LogLevel.WARNING, "the list of bills goes on on further pages, which are not read")
        await self._collect(found, page)
        self._check_complete(found)

    async def _collect(self, found: BillingPage, page: Page) -> None:
        for bill in found.bills:
            documents = await self._download_all(bill.links, page)
            self.bills.append(replace(bill.bill, bill_key=_bill_key(bill, documents), documents=documents))
        for link in found.loose:
            for document in await self._download_all((link,), page):
                self.bills.append(BillFound(bill_key=document.file_name, documents=(document,)))

    async def _download_all(self, links: tuple[DocumentLink, ...], page: Page) -> tuple[Document, ...]:
        documents: list[Document] = []
        for link in links:
            try:
                client = await self.visitor.prepare_client()
                document = await download_document(client, link, self.rules.limits, self.storage, referer=page.url)
            except NotADocumentError as error:
                if link.is_certain:
                    self._note_failure(link, error)
                else:
                    self.rules.report(LogLevel.INFO, f"{show(link.url)} is a web page, not a document: passed over")
            except VisitError as error:
                if error.status is ResultStatus.FAILED:
                    raise
                self._note_failure(link, error)
            else:
                self.rules.report(LogLevel.INFO, f"stored {document.file_name} ({document.size_bytes:,} bytes)")
                documents.append(document)
        return tuple(documents)

    def _note_failure(self, link: DocumentLink, error: VisitError) -> None:
        self.failures.append(error)
        self.rules.report(LogLevel.ERROR, f"{show(link.url)} could not be downloaded: {error}")

    def _check_complete(self, found: BillingPage) -> None:
        if found.omitted:
            total, allowed = found.links_count + found.omitted, self.rules.limits.max_documents
            raise VisitError(
                f"the billing page links {total:,} documents, more than the {allowed:,} allowed;"
                " the others were not downloaded"
            )
        if self.failures:
            reasons = list(dict.fromkeys(str(error) for error in self.failures))[:_MAX_NAMED_FAILURES]
            raise VisitError(
                f"{len(self.failures)} of {_count(found.links_count, 'document')} could not be downloaded:"
                f" {'; '.join(reasons)}",
                detail=self.failures[-1].detail,
            )


def _bill_key(found: BillOnPage, documents: tuple[Document, ...]) -> str:
    """The number, else the first document's name, else the day and the amount as they stood in the table."""
    if found.bill.number:
        return found.bill.number
    if documents:
        return documents[0].file_name
    bill = found.bill
    values = [bill.issued_on or bill.due_on, bill.amount, bill.currency]
    known = " ".join(str(value) for value in values if value is not None)
    return known or " ".join(bill.fields.values())[:100] or "bill"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
