"""Finds the tables of bills on a page and reads their rows. Does not follow links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from portal_import.bill_reading.rows import RowValues, is_bill_row, judge_columns, read_row, settle_columns
from portal_import.bill_reading.table_headers import FIELD_WORDS, map_headers
from portal_import.engine.page import Element, Page, text_of
from portal_import.outcomes import PortalProfile

MAX_ROWS = 5_000
_MAX_COLUMNS = 60
_MAX_CELL = 500
_BILLS_WORD = re.compile(r"bill|invoice|statement|rechnung|facture|factura|beleg|recibo", re.I)


@dataclass(frozen=True)
class BillRow:
    """A row as its element and what could be read from it."""

    element: Element
    texts: tuple[str, ...]
    values: RowValues
    fields: dict[str, str]


@dataclass(frozen=True)
class BillTable:
    """A table whose headers speak of bills; `columns` is where each known field stands."""

    headers: tuple[str, ...]
    columns: dict[str, int]
    rows: tuple[BillRow, ...]


@dataclass(frozen=True)
class _Line:
    element: Element
    cells: tuple[Element, ...]
    texts: tuple[str, ...]


def find_bill_tables(page: Page, profile: PortalProfile) -> list[BillTable]:
    """The page's bill tables: the one that looks most like bills, and others with the same columns."""
    tables = [table for element in page.root.iter("table") for table in [_read_table(element, profile)] if table]
    if not tables:
        return []
    best = max(tables, key=lambda table: (len(table.columns), len(table.rows)))
    return [table for table in tables if table.columns == best.columns and table.headers == best.headers]


def describe_unread(tables: list[BillTable], profile: PortalProfile) -> dict[str, str]:
    """Lines for people by what they are about: what of the tables stayed unread, and what would settle it."""
    lines: dict[str, str] = {}
    for table in tables:
        for row in table.rows:
            for field in row.values.ambiguous:
                header, text = table.headers[table.columns[field]], row.texts[table.columns[field]]
                lines[header] = (
                    f'dates in the column "{header}", such as {text}, can mean two days and were left unread;'
                    " set the portal's date order to have them read"
                )
    for field, header in (profile.column_mapping or {}).items():
        if tables and field not in tables[0].columns:
            lines[field] = (
                f'the portal\'s settings find the {FIELD_WORDS.get(field, field)} in the column "{header}", which the'
                f" table of bills does not have; it has: {', '.join(filter(None, tables[0].headers))}"
            )
    return lines


def _read_table(element: Element, profile: PortalProfile) -> BillTable | None:
    if next(element.iterdescendants("table"), None) is not None:
        return None  # a layout around other tables
    lines = [_read_line(row) for row in _rows_of(element)]
    for position, line in enumerate(lines[:5]):
        columns = map_headers(line.texts, profile.column_mapping)
        if len(columns) >= 2 and _is_header(line):
            below = [line for line in lines[position + 1 :] if not _is_footer(line)]
            rows = _BillRows(line.texts, columns, below, profile.date_order)
            verdict = judge_columns(rows.columns, profile.column_mapping or {})
            is_of_bills = _speaks_of_bills(element, rows) if verdict is None else verdict
            return rows.make_table() if is_of_bills else None
    return None


def _rows_of(table: Element) -> Iterator[Element]:
    for count, row in enumerate(table.iter("tr")):
        if count > MAX_ROWS:
            return
        yield row


def _read_line(row: Element) -> _Line:
    cells: list[Element] = []
    texts: list[str] = []
    for cell in row.iterchildren("td", "th"):
        span = cell.get("colspan") or ""
        width = int(span) if span.isascii() and span.isdigit() and len(span) < 3 else 1
        taken = min(max(1, width), _MAX_COLUMNS - len(cells))
        if taken:
            cells += [cell] * taken
            texts += [text_of(cell)[:_MAX_CELL]] * taken
    return _Line(row, tuple(cells), tuple(texts))


def _is_header(line: _Line) -> bool:
    inside_head = any(outer.tag == "thead" for outer in line.element.iterancestors())
    return inside_head or not any(any(char.isdigit() for char in text) for text in line.texts)


def _is_footer(line: _Line) -> bool:
    return any(outer.tag in ("tfoot", "thead") for outer in line.element.iterancestors())


def _speaks_of_bills(table: Element, rows: "_BillRows") -> bool:
    """Whether the table has links, or words that say what its amounts and dates are."""
    caption = next(table.iter("caption"), None)
    names = [table.get("id") or "", table.get("class") or "", table.get("aria-label") or "", *rows.headers]
    words = " ".join([*names, text_of(caption) if caption is not None else ""])
    return any(next(line.element.iter("a"), None) is not None for line in rows.lines) or bool(_BILLS_WORD.search(words))


class _BillRows:
    """The lines below a header, with what its columns mean."""

    def __init__(
        self, headers: tuple[str, ...], columns: dict[str, int], lines: list[_Line], date_order: str | None
    ) -> None:
        self.date_order = date_order
        self.headers = headers
        self.lines = lines
        self.columns = settle_columns(columns, [line.texts for line in lines])

    def make_table(self) -> BillTable:
        rows = tuple(self._make_row(line) for line in self.lines if self._is_bill(line))
        return BillTable(self.headers, self.columns, rows)

    def _is_bill(self, line: _Line) -> bool:
        return len(set(line.cells)) >= 2 and is_bill_row(self.columns, line.texts)

    def _make_row(self, line: _Line) -> BillRow:
        def stamps(field: str) -> Iterator[str]:
            times = line.cells[self.columns[field]].iter("time")
            return (stamp.get("datetime") for stamp in times if stamp.get("datetime"))

        values = read_row(self.headers, self.columns, line.texts, date_order=self.date_order, stamps=stamps)
        return BillRow(line.element, line.texts, values, self._fields(line))

    def _fields(self, line: _Line) -> dict[str, str]:
        fields: dict[str, str] = {}
        for column, text in enumerate(line.texts):
            header = self.headers[column] if column < len(self.headers) else ""
            name = header or f"column {column + 1}"
            if name in fields:
                name = f"{name} ({column + 1})"
            if header or text:
                fields[name] = text
        return fields
