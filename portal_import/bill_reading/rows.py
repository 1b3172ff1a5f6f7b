"""Reads the rows of a bill table: what the texts of a row's cells say about one bill.

Used by the import and by the page that previews it, so that both read the same.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from portal_import.bill_reading.cell_values import find_currency, is_ambiguous_date, parse_amount, parse_date

_MAX_NUMBER = 100
_TOTAL_ROW = re.compile(r"^(grand )?(total|sum|subtotal|summe|gesamt|zwischensumme|somme|suma)\b", re.I)


@dataclass(frozen=True)
class RowValues:
    """What a row says; None where it says nothing, or nothing for certain.

    `ambiguous` names the fields whose dates only the portal's date order would settle.
    """

    number: str | None
    issued_on: date | None
    due_on: date | None
    amount: Decimal | None
    currency: str | None
    portal_status: str | None
    ambiguous: tuple[str, ...] = ()


def settle_columns(columns: Mapping[str, int], rows: Sequence[Sequence[str]]) -> dict[str, int]:
    """The columns that the rows bear out: one headed "Invoice" may hold "Download" in every row."""
    numbers = [text for row in rows if (text := cell_text(columns, row, "number"))]
    is_borne_out = not numbers or sum(any(char.isdigit() for char in text) for text in numbers) * 2 >= len(numbers)
    return {field: column for field, column in columns.items() if field != "number" or is_borne_out}


def judge_columns(columns: Mapping[str, int], column_mapping: Mapping[str, str]) -> bool | None:
    """Whether a table with these columns is one of bills; None where only its words or links can tell.

    A column of bill numbers will do, and so do two that a person chose; amounts and dates alone may be payments or
    meter readings.
    """
    if len(columns) < 2:
        return False
    if "number" in columns or sum(field in columns for field in column_mapping) >= 2:
        return True
    is_dated = "issued_on" in columns or "due_on" in columns
    return None if is_dated and "amount" in columns else False


def is_bill_row(columns: Mapping[str, int], row: Sequence[str]) -> bool:
    """Whether the row is a bill, not a total or a remark."""
    if _TOTAL_ROW.match(next((text for text in row if text), "total")):
        return False
    wanted = ("number",) if "number" in columns else ("issued_on", "due_on")
    return any(char.isdigit() for field in wanted for char in cell_text(columns, row, field))


def read_row(
    headers: Sequence[str],
    columns: Mapping[str, int],
    row: Sequence[str],
    *,
    date_order: str | None = None,
    stamps: Callable[[str], Iterable[str]] = lambda field: (),
) -> RowValues:
    """The row's values; `stamps` gives the machine-readable dates of a field's cell, where there are such."""
    amount_text = cell_text(columns, row, "amount")
    amount_header = headers[columns["amount"]] if "amount" in columns else ""
    currency = find_currency(cell_text(columns, row, "currency")) or find_currency(amount_text)
    currency = currency or find_currency(amount_header)
    texts = {field: cell_text(columns, row, field) for field in ("issued_on", "due_on")}
    dates = {field: _read_date(text, date_order, stamps, field) for field, text in texts.items()}
    return RowValues(
        number=cell_text(columns, row, "number")[:_MAX_NUMBER] or None,
        issued_on=dates["issued_on"],
        due_on=dates["due_on"],
        amount=parse_amount(amount_text, currency),
        currency=currency if amount_text else None,
        portal_status=cell_text(columns, row, "portal_status")[:_MAX_NUMBER] or None,
        ambiguous=tuple(field for field, text in texts.items() if dates[field] is None and is_ambiguous_date(text)),
    )


def cell_text(columns: Mapping[str, int], row: Sequence[str], field: str) -> str:
    """The text of the field's cell; empty when the table or the row lacks it."""
    column = columns.get(field)
    return row[column] if column is not None and column < len(row) else ""


def _read_date(text: str, date_order: str | None, stamps: Callable[[str], Iterable[str]], field: str) -> date | None:
    found = parse_date(text, date_order)
    if found is None and text:
        return next((parse_date(stamp) for stamp in stamps(field)), None)
    return found
