"""Finds the tables of bills on a page and reads their rows. Does not follow links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from portal_import.bill_reading.cell_values import find_currency, parse_amount, parse_date
from portal_import.bill_reading.table_headers import map_headers
from portal_import.engine.page import Element, Page, text_of

MAX_ROWS = 5_000
_MAX_COLUMNS = 60
_MAX_CELL = 500
_MAX_NUMBER = 100
_TOTAL_ROW = re.compile(r"^(grand )?(total|sum|subtotal|summe|gesamt|zwischensumme|somme|suma)\b", re.I)
_BILLS_WORD = re.compile(r"bill|invoice|statement|rechnung|facture|factura|beleg|recibo", re.I)


@dataclass(frozen=True)
class BillRow:
    """A row as its element and what could be read from it."""

    element: Element
    number: str | None
    issued_on: date | None
    due_on: date | None
    amount: Decimal | None
    currency: str | None
    portal_status: str | None
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


def find_bill_tables(page: Page) -> list[BillTable]:
    """The page's bill tables: the one that looks most like bills, and others with the same columns."""
    tables = [table for element in page.root.iter("table") for table in [_read_table(element)] if table]
    if not tables:
        return []
    best = max(tables, key=lambda table: (len(table.columns), len(table.rows)))
    return [table for table in tables if table.columns == best.columns and table.headers == best.headers]


def _read_table(element: Element) -> BillTable | None:
    if next(element.iterdescendants("table"), None) is not None:
        return None  # a layout around other tables
    lines = [_read_line(row) for row in _rows_of(element)]
    for position, line in enumerate(lines[:5]):
        columns = map_headers(line.texts)
        if len(columns) >= 2 and _is_header(line):
            rows = _BillRows(line.texts, columns, [line for line in lines[position + 1 :] if not _is_footer(line)])
            return rows.make_table() if _speaks_of_bills(element, rows) else None
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
        for _ in range(max(1, width)):
            if len(cells) < _MAX_COLUMNS:
                cells.append(cell)
                texts.append(text_of(cell)[:_MAX_CELL])
    return _Line(row, tuple(cells), tuple(texts))


def _is_header(line: _Line) -> bool:
    inside_head = any(outer.tag == "thead" for outer in line.element.iterancestors())
    return inside_head or not any(any(char.isdigit() for char in text) for text in line.texts)


def _is_footer(line: _Line) -> bool:
    return any(outer.tag in ("tfoot", "thead") for outer in line.element.iterancestors())


def _speaks_of_bills(table: Element, rows: "_BillRows") -> bool:
    """A column of bill numbers will do; amounts and dates alone may be payments or meter readings."""
    if "number" in rows.columns and len(rows.columns) >= 2:
        return True
    caption = next(table.iter("caption"), None)
    names = [table.get("id") or "", table.get("class") or "", table.get("aria-label") or "", *rows.headers]
    words = " ".join([*names, text_of(caption) if caption is not None else ""])
    has_links = any(next(line.element.iter("a"), None) is not None for line in rows.lines)
    is_dated = "issued_on" in rows.columns or "due_on" in rows.columns
    return is_dated and "amount" in rows.columns and (has_links or bool(_BILLS_WORD.search(words)))


class _BillRows:
    """The lines below a header, with what its columns mean."""

    def __init__(self, headers: tuple[str, ...], columns: dict[str, int], lines: list[_Line]) -> None:
        self.headers = headers
        self.lines = lines
        self.columns = columns
        # A column headed "Invoice" may hold "Download" in every row.
        numbers = [text for text in map(self._number, lines) if text]
        if numbers and sum(any(char.isdigit() for char in text) for text in numbers) * 2 < len(numbers):
            self.columns = {field: column for field, column in columns.items() if field != "number"}

    def make_table(self) -> BillTable:
        rows = tuple(self._make_row(line) for line in self.lines if self._is_bill(line))
        return BillTable(self.headers, self.columns, rows)

    def _is_bill(self, line: _Line) -> bool:
        if len(set(line.cells)) < 2 or _TOTAL_ROW.match(next((text for text in line.texts if text), "total")):
            return False
        wanted = ("number",) if "number" in self.columns else ("issued_on", "due_on")
        return any(char.isdigit() for field in wanted for char in self._text(line, field))

    def _make_row(self, line: _Line) -> BillRow:
        amount_text = self._text(line, "amount")
        currency = find_currency(self._text(line, "currency")) or find_currency(amount_text)
        currency = currency or find_currency(self._header("amount"))
        row = BillRow(
            element=line.element,
            number=self._number(line)[:_MAX_NUMBER] or None,
            issued_on=self._date(line, "issued_on"),
            due_on=self._date(line, "due_on"),
            amount=parse_amount(amount_text, currency),
            currency=currency,
            portal_status=self._text(line, "portal_status")[:_MAX_NUMBER] or None,
            fields=self._fields(line),
        )
        return row if row.amount is not None else replace(row, currency=None) if not amount_text else row

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

    def _date(self, line: _Line, field: str) -> date | None:
        text = self._text(line, field)
        found = parse_date(text)
        if found is None and text:
            stamps = line.cells[self.columns[field]].iter("time")
            found = next((parse_date(stamp.get("datetime")) for stamp in stamps if stamp.get("datetime")), None)
        return found

    def _number(self, line: _Line) -> str:
        return self._text(line, "number")

    def _text(self, line: _Line, field: str) -> str:
        column = self.columns.get(field)
        return line.texts[column] if column is not None and column < len(line.texts) else ""

    def _header(self, field: str) -> str:
        return self.headers[self.columns[field]] if field in self.columns else ""
