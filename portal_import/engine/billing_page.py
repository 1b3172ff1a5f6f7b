"""Reads billing pages: their bills, the documents linked with each, where the list goes on. Fetches nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from portal_import.engine.bill_tables import MAX_ROWS, BillRow, describe_unread, find_bill_tables
from portal_import.engine.document_links import DocumentLink, find_links
from portal_import.engine.further_pages import NextPage, find_next_page
from portal_import.engine.page import Element, Page
from portal_import.outcomes import BillFound, PortalProfile

_NO_BILLS = re.compile(
    r"\bno ((open|new|recent|past|current|outstanding|available|unpaid|paid) ){0,3}"
    r"(bills?|invoices?|statements?|billing (documents|history))\b"
    r"|(have not|haven't|has not|hasn't|not) (yet )?(issued|received|sent)( you)? any (bills|invoices|statements)"
    r"|\bany (bills|invoices|statements) yet\b|(bills|invoices|statements) (were |was )?not found"
    r"|\bkeine ((offenen|neuen|aktuellen) )?(rechnungen|belege)\b|\bnoch keine rechnung"
    r"|\b(aucune|pas (encore )?de) factures?\b|\b(no hay|ninguna|sin|no tiene) facturas?\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class BillOnPage:
    """A bill without its documents, and where those are. Its key is the number, or empty."""

    bill: BillFound
    links: tuple[DocumentLink, ...] = ()


@dataclass(frozen=True)
class BillingPage:
    """`bills` are the table's rows, `loose` the documents linked outside of any row.

    `columns` is the header under which each known field of a bill stands. `omitted` counts the documents beyond
    the limit, `omitted_bills` the bills. `next_page` is where the list goes on. `remarks` are lines for people, by
    what they are about.
    """

    bills: tuple[BillOnPage, ...] = ()
    loose: tuple[DocumentLink, ...] = ()
    omitted: int = 0
    omitted_bills: int = 0
    has_table: bool = False
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    says_none: bool = False
    next_page: NextPage | None = None
    remarks: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def links_count(self) -> int:
        return len(self.loose) + sum(len(bill.links) for bill in self.bills)

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands here that an earlier page did not show."""
        return not (self.bills or self.links_count or self.omitted or self.omitted_bills)


_Cells = tuple[tuple[str, str], ...]


class BillPageReader:
    """Reads the pages of one account's list in turn; takes each bill and document once, and no more than allowed."""

    def __init__(self, profile: PortalProfile, *, max_documents: int, max_bills: int) -> None:
        self._profile = profile
        self._max_documents = max_documents
        self._max_bills = max_bills
        self._documents: set[tuple[str, int]] = set()
        self._rows: set[_Cells] = set()
        self.pages_read = 0

    def read(self, page: Page) -> BillingPage:
        """What the page offers that no earlier one did. Raises VisitError for a selector that isn't valid CSS."""
        self.pages_read += 1
        selector = self._profile.link_selector
        tables = find_bill_tables(page, self._profile)
        rows = [
            (row, find_links(page, row.element, selector, in_bill_row=True)) for table in tables for row in table.rows
        ]
        inside_rows = {anchor for _, links in rows for anchor, _ in links}
        loose = find_links(page, page.root, selector, in_bill_row=False, without=inside_rows)
        bills, documents_left = self._take_rows(rows)
        free, omitted = self._take([link for _, link in loose])
        allowed = max(0, self._max_bills - (len(self._rows) - len(bills)))
        return BillingPage(
            bills=tuple(bills[:allowed]),
            loose=free,
            omitted=documents_left + omitted,
            omitted_bills=len(bills[allowed:]),
            has_table=bool(tables),
            columns={name: tables[0].headers[at] for name, at in tables[0].columns.items()} if tables else {},
            says_none=not (bills or free) and bool(_NO_BILLS.search(page.seen_text)),
            next_page=find_next_page(page, self._profile.next_selector, self.pages_read),
            remarks=describe_unread(tables, self._profile),
        )

    def _take_rows(
        self, rows: list[tuple[BillRow, list[tuple[Element, DocumentLink]]]]
    ) -> tuple[list[BillOnPage], int]:
        """The bills that are new, and how many of their documents are too many.

        A row that stands on the page twice, as for wide and for narrow screens, is one bill; so is one that an
        earlier page showed.
        """
        merged: dict[_Cells, BillOnPage] = {}
        omitted = 0
        for row, found in rows:
            cells = tuple(row.fields.items())
            if cells in self._rows and row.values.number:
                continue
            links, too_many = self._take([link for _, link in found])
            omitted += too_many
            if cells in self._rows and not links:
                continue
            earlier = merged.get(cells)
            merged[cells] = BillOnPage(_make_bill(row), earlier.links + links if earlier else links)
        self._rows.update(merged)
        return list(merged.values()), omitted

    def _take(self, links: list[DocumentLink]) -> tuple[tuple[DocumentLink, ...], int]:
        taken: list[DocumentLink] = []
        omitted = 0
        for link in links:
            if link.key in self._documents:
                continue
            if len(self._documents) >= self._max_documents:
                omitted += 1
                continue
            self._documents.add(link.key)
            taken.append(link)
        return tuple(taken), omitted


def read_billing_page(page: Page, profile: PortalProfile, *, max_documents: int) -> BillingPage:
    """What a single page offers. Raises VisitError for a selector that isn't valid CSS."""
    return BillPageReader(profile, max_documents=max_documents, max_bills=MAX_ROWS).read(page)


def _make_bill(row: BillRow) -> BillFound:
    values = row.values
    return BillFound(
        bill_key=values.number or "",
        number=values.number,
        issued_on=values.issued_on,
        due_on=values.due_on,
        amount=values.amount,
        currency=values.currency,
        portal_status=values.portal_status,
        fields=row.fields,
    )
