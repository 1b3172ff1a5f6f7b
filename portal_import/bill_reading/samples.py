"""Reads a sample of a portal's bill table as a run would, for people who correct how it is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portal_import.bill_reading.rows import RowValues, cell_text, is_bill_row, read_row, settle_columns
from portal_import.bill_reading.table_headers import map_headers


@dataclass(frozen=True)
class SampleReading:
    """`columns` is where each field was found; `rows` has one entry a row of the sample, None for what is no bill."""

    columns: Mapping[str, int]
    rows: tuple[RowValues | None, ...]


def read_sample(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    column_mapping: Mapping[str, str],
    date_order: str | None,
) -> SampleReading:
    """What a run would make of the rows with this mapping and this order of dates."""
    columns = settle_columns(map_headers(headers, column_mapping), rows)
    read = (
        read_row(headers, columns, row, date_order=date_order) if is_bill_row(columns, row) else None for row in rows
    )
    return SampleReading(columns, tuple(read))


def unread_cells(reading: SampleReading, rows: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """By field, the cells that hold something of which nothing could be made for certain."""
    unread: dict[str, list[str]] = {}
    for row, values in zip(rows, reading.rows, strict=True):
        if values is None:
            continue
        for field in reading.columns:
            text = cell_text(reading.columns, row, field)
            if text and getattr(values, field) is None:
                unread.setdefault(field, []).append(text)
    return unread
