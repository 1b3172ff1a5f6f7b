"""Collects an account's bills from its billing page on: page after page, with their documents.

The same for every engine: BillPageReader says what pages hold, the visitor fetches.
"""

import re
from dataclasses import dataclass, field, replace

from db.models import LogLevel, ResultStatus
from portal_import.engine.addresses import show
from portal_import.engine.bill_details import BillDetails
from portal_import.engine.billing_page import BillingPage, BillPageReader
from portal_import.engine.document_links import DocumentLink
from portal_import.engine.downloads import NotADocumentError, source_of
from portal_import.engine.errors import VisitError, describe_status
from portal_import.engine.forms import has_sign_in_form
from portal_import.engine.page import Page
from portal_import.engine.storage import DocumentStore
from portal_import.engine.visits import Visitor, VisitRules
from portal_import.outcomes import BillFound, Document

_MAX_NAMED_FAILURES = 3
_SHORTEST_NAMED = 4
_SCRIPTED = "the list of bills goes on on pages that only a script opens; they were not read"


@dataclass
class BillCollection:
    """Fills `bills`; what it has collected so far survives its failure.

    `failures` are what documents failed of, in words and technically.
    """

    visitor: Visitor
    rules: VisitRules
    storage: DocumentStore
    details: BillDetails
    bills: list[BillFound]
    failures: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    broken_list: VisitError | None = None
    documents_linked: int = 0
    documents_omitted: int = 0
    remarks: set[str] = field(default_factory=set)

    async def collect(self, page: Page, found: BillingPage, reader: BillPageReader) -> None:
        """Collect the bills of the page, which was read as `found`, and of those after it.

        Raises VisitError if anything is missing in the end.
        """
        read = {page.url}
        while True:
            self._tell(found, reader.pages_read)
            await self._store(found, page)
            next_url = self._next_url(found, reader.pages_read, read)
            if next_url is None:
                break
            read.add(next_url)
            further = await self._open(next_url, page, reader.pages_read + 1)
            if further is None:
                break
            if further.url != next_url and further.url in read:
                self.rules.report(LogLevel.INFO, "the next page is one that was read before: the list ends here")
                break
            read.add(further.url)
            page, found = further, reader.read(further)
            if found.is_empty:
                self.rules.report(LogLevel.INFO, f"page {reader.pages_read} shows nothing new: the list ends here")
                break
        self._require_complete()

    def _tell(self, found: BillingPage, number: int) -> None:
        bills, documents = _count(len(found.bills), "bill"), _count(found.links_count, "document")
        where = "" if number == 1 else f" on page {number}"
        self.rules.report(LogLevel.INFO, f"found {bills} in a table and {documents}{where}")
        for about, remark in found.remarks.items():
            if about not in self.remarks:
                self.remarks.add(about)
                self.rules.report(LogLevel.WARNING, remark)

    def _next_url(self, found: BillingPage, number: int, read: set[str]) -> str | None:
        """Where the list goes on, unless that was read or is more than allowed."""
        limits, next_page = self.rules.limits, found.next_page
        if found.omitted_bills:
            self._break_list(f"the list has more than the {limits.max_bills:,} bills allowed; the others were not read")
            return None
        if next_page is None:
            return None
        if next_page.url is None:
            self.rules.report(LogLevel.WARNING, _SCRIPTED)
            return None
        if next_page.url in read:
            self.rules.report(LogLevel.INFO, "the link to the next page leads back to one read before")
            return None
        if number >= limits.max_pages:
            self._break_list(f"the list has more than the {limits.max_pages:,} pages allowed; the others were not read")
            return None
        return next_page.url

    async def _open(self, url: str, page: Page, number: int) -> Page | None:
        """The next page of the list; None, and noted, when there is none to be had."""
        name = f"page {number} of the bills could not be read"
        try:
            opened = await self.visitor.open_page(url, referer=page.url)
        except VisitError as error:
            if error.status is ResultStatus.FAILED:
                raise
            self._break_list(f"{name}: {error}", error)
            return None
        if not opened.is_ok:
            self._break_list(f"{name}: the portal answered {describe_status(opened.status)}")
        elif has_sign_in_form(opened):
            self._break_list(f"{name}: the portal asked to sign in again")
        else:
            return opened
        return None

    def _break_list(self, message: str, error: VisitError | None = None) -> None:
        self.rules.report(LogLevel.ERROR, message)
        self.broken_list = VisitError(
            message,
            error.status if error else ResultStatus.PORTAL_ERROR,
            detail=error.detail if error else None,
            cause=error.cause if error else None,
        )

    async def _store(self, found: BillingPage, page: Page) -> None:
        self.documents_linked += found.links_count
        self.documents_omitted += found.omitted
        for bill in found.bills:
            documents = await self._download_all(bill.links, page)
            self._keep(await self.details.complete(replace(bill.bill, documents=documents)))
        for link in found.loose:
            for document in await self._download_all((link,), page):
                self._keep_loose(await self.details.complete(BillFound("", documents=(document,))))

    def _keep(self, bill: BillFound) -> None:
        self.bills.append(replace(bill, bill_key=_bill_key(bill)))

    def _keep_loose(self, loose: BillFound) -> None:
        """A document that stood in no row belongs to the row of its number, if that has none.

        Its number is the one that it says, else the one that its name holds.
        """
        bare = [at for at, bill in enumerate(self.bills) if bill.number and not bill.documents]
        rows = [at for at in bare if self.bills[at].number == loose.number]
        name = loose.documents[0].file_name
        if not rows and loose.number is None:
            rows = [at for at in bare if _names(name, self.bills[at].number or "")]
        if len(rows) != 1:
            self._keep(loose)
            return
        row = self.bills[rows[0]]
        added = {name: getattr(loose, name) for name in loose.from_document if getattr(row, name) is None}
        self.bills[rows[0]] = replace(row, **added, documents=loose.documents, from_document=tuple(added))

    async def _download_all(self, links: tuple[DocumentLink, ...], page: Page) -> tuple[Document, ...]:
        documents = [document for link in links for document in [await self._download(link, page)] if document]
        return tuple(documents)

    async def _download(self, link: DocumentLink, page: Page) -> Document | None:
        """The stored document; None, and noted, when there is none to be had."""
        known = await self._find_known(link)
        try:
            document = await self.visitor.download(link, self.storage, referer=page.url, known=known)
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
            self.rules.report(LogLevel.INFO, _describe_arrival(document, known))
            is_same = known is not None and document.sha256 == known.sha256
            return replace(document, facts=known.facts) if known and is_same else document
        return known  # a bill does not lose its document because the portal could not send it today

    async def _find_known(self, link: DocumentLink) -> Document | None:
        """What an earlier run stored of the link, if it is still there."""
        source = source_of(link)
        known = self.rules.login.known_documents.get(source) if source else None
        return known if known and await self.storage.has(known.file_url) else None

    def _note_failure(self, link: DocumentLink, error: VisitError) -> None:
        self.failures.append((str(error), error.detail))
        self.rules.report(LogLevel.ERROR, f"{show(link.url)} could not be downloaded: {error}")

    def _require_complete(self) -> None:
        linked, allowed = self.documents_linked, self.rules.limits.max_documents
        if self.documents_omitted:
            raise VisitError(
                f"the billing page links {linked + self.documents_omitted:,} documents, more than the {allowed:,}"
                " allowed; the others were not downloaded"
            )
        if self.broken_list:
            raise self.broken_list
        if self.failures:
            reasons = list(dict.fromkeys(words for words, _ in self.failures))[:_MAX_NAMED_FAILURES]
            raise VisitError(
                f"{len(self.failures)} of {_count(linked, 'document')} could not be downloaded: {'; '.join(reasons)}",
                detail=self.failures[-1][1],
            )


def _bill_key(bill: BillFound) -> str:
    """The number, else the first document's name, else the day and the amount as they stood in the table."""
    if bill.number:
        return bill.number
    if bill.documents:
        return bill.documents[0].file_name
    values = [bill.issued_on or bill.due_on, bill.amount, bill.currency]
    known = " ".join(str(value) for value in values if value is not None)
    return known or " ".join(bill.fields.values())[:100] or "bill"


def _names(file_name: str, number: str) -> bool:
    """Whether the bill's number stands in the name by itself; a short number may stand there for something else."""
    whole = rf"(?<![^\W_]){re.escape(number)}(?![^\W_])"
    return len(number) >= _SHORTEST_NAMED and re.search(whole, file_name, re.IGNORECASE) is not None


def _describe_arrival(document: Document, known: Document | None) -> str:
    if document is known:
        return f"{document.file_name} has not changed, and was not fetched again"
    if known and document.sha256 == known.sha256:
        return f"{document.file_name} was fetched again and has not changed"
    return f"stored {document.file_name} ({document.size_bytes:,} bytes)"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
