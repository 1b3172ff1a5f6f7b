"""Reads a billing page: its bills, the documents linked with each, and whether it says there are none."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from portal_import.engine.addresses import is_same_page, resolve
from portal_import.engine.bill_tables import BillRow, describe_unread, find_bill_tables
from portal_import.engine.document_links import DocumentLink, find_links
from portal_import.engine.page import Page, text_of
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
_NEXT_WORDS = frozenset({"next", "next page", "older", "weiter", "nächste", "nächste seite", "suivant", "siguiente"})


@dataclass(frozen=True)
class BillOnPage:
    """A bill without its documents, and where those are. Its key is the number, or empty."""

    bill: BillFound
    links: tuple[DocumentLink, ...] = ()


@dataclass(frozen=True)
class BillingPage:
    """`bills` are the table's rows, `loose` the documents linked outside of any row.

    `columns` is the header under which each known field of a bill stands. `omitted` counts the documents beyond
    the limit. `has_more_pages` tells of further pages, which are not read. `remarks` are lines for people, by what
    they are about.
    """

    bills: tuple[BillOnPage, ...] = ()
    loose: tuple[DocumentLink, ...] = ()
    omitted: int = 0
    has_table: bool = False
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    says_none: bool = False
    has_more_pages: bool = False
    remarks: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def links_count(self) -> int:
        return len(self.loose) + sum(len(bill.links) for bill in self.bills)


@dataclass
class _Collector:
    """Takes each address once, and no more than allowed."""

    max_documents: int
    seen: dict[str, DocumentLink] = field(default_factory=dict)
    omitted: int = 0

    def take(self, links: list[DocumentLink]) -> tuple[DocumentLink, ...]:
        taken: list[DocumentLink] = []
        for link in links:
            if link.url in self.seen:
                continue
            if len(self.seen) >= self.max_documents:
                self.omitted += 1
                continue
            self.seen[link.url] = link
            taken.append(link)
        return tuple(taken)


def read_billing_page(page: Page, profile: PortalProfile, *, max_documents: int) -> BillingPage:
    """What the page offers. Raises VisitError for a selector that isn't valid CSS."""
    tables, link_selector = find_bill_tables(page, profile), profile.link_selector
    collector = _Collector(max_documents)
    bills: list[BillOnPage] = []
    inside_rows: set[object] = set()
    for row in (row for table in tables for row in table.rows):
        found = find_links(page, row.element, link_selector, in_bill_row=True)
        inside_rows.update(anchor for anchor, _ in found)
        bills.append(BillOnPage(_make_bill(row), collector.take([link for _, link in found])))
    loose = find_links(page, page.root, link_selector, in_bill_row=False)
    return BillingPage(
        bills=tuple(_merge_repeated(bills)),
        loose=collector.take([link for anchor, link in loose if anchor not in inside_rows]),
        omitted=collector.omitted,
        has_table=bool(tables),
        columns={name: tables[0].headers[at] for name, at in tables[0].columns.items()} if tables else {},
        says_none=bool(_NO_BILLS.search(page.seen_text)),
        has_more_pages=_has_more_pages(page),
        remarks=describe_unread(tables, profile),
    )


def _merge_repeated(bills: list[BillOnPage]) -> list[BillOnPage]:
    """A row that stands on the page twice, as for wide and for narrow screens, is one bill."""
    merged: dict[tuple[tuple[str, str], ...], BillOnPage] = {}
    for found in bills:
        cells = tuple(found.bill.fields.items())
        earlier = merged.get(cells)
        merged[cells] = BillOnPage(found.bill, earlier.links + found.links if earlier else found.links)
    return list(merged.values())


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


def _has_more_pages(page: Page) -> bool:
    for anchor in page.root.iter("a", "link"):
        if "next" in (anchor.get("rel") or "").lower().split():
            return True
        words = text_of(anchor).strip(" ›»→>").casefold() if anchor.tag == "a" else ""
        if words in _NEXT_WORDS or (not words and "next" in (anchor.get("aria-label") or "").lower()):
            url = resolve(page.base_url, anchor.get("href") or "")
            if url and is_same_page(url, page.url) and urlsplit(url).query:
                return True
    return False
