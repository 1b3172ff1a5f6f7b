"""The bills of a run or of a job as CSV and as an Excel workbook, a page of them in memory at a time."""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain
from typing import IO

import xlsxwriter
from sqlalchemy.orm import Session
from xlsxwriter.worksheet import Worksheet

from db.bills import list_job_bills, list_run_bills
from db.models import Bill
from db.viewers import Viewer
from exports.inert_text import inert

CSV_TYPE = "text/csv; charset=utf-8"
EXCEL_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PAGE_SIZE = 1_000
ROWS_A_SHEET = 1_000_000  # Excel holds 1,048,576
MAX_CELL = 32_000  # characters; Excel holds 32,767
CHUNK_BYTES = 64 * 1024
# Name and width.
COLUMNS = (
    ("account", 28), ("number", 20), ("issued_on", 12), ("due_on", 12), ("amount", 12), ("currency", 9),
    ("status", 14), ("documents", 30), ("first_seen_run", 10), ("last_seen_run", 10), ("changed_run", 10),
    ("sha256", 20), ("fields", 40),
)  # fmt: skip

Cell = str | int | date | Decimal | None
Transaction = Callable[[], AbstractContextManager[Session]]


def read_run_bills(transaction: Transaction, viewer: Viewer, run_id: int) -> Iterator[Sequence[Bill]]:
    """All bills of the run, page by page, each in a transaction of its own. Raises NotFoundError at the first."""
    after = None
    while True:
        with transaction() as session:
            page = list_run_bills(session, viewer, run_id, after=after, limit=PAGE_SIZE)
        yield page
        if len(page) < PAGE_SIZE:
            return
        after = (page[-1].username, page[-1].issued_on, page[-1].id)


def read_job_bills(transaction: Transaction, viewer: Viewer, job_id: str) -> Iterator[Sequence[Bill]]:
    """All bills of the job, in the same way."""
    after = None
    while True:
        with transaction() as session:
            page = list_job_bills(session, viewer, job_id, after=after, limit=PAGE_SIZE)
        yield page
        if len(page) < PAGE_SIZE:
            return
        after = (page[-1].username, page[-1].bill_key)


def make_csv(pages: Iterator[Sequence[Bill]]) -> Iterator[bytes]:
    """UTF-8 with a byte order mark, by which Excel knows it; texts are quoted. The first page is read at once."""
    first = next(pages)

    def write() -> Iterator[bytes]:
        yield _csv_lines([tuple(name for name, _ in COLUMNS)]).encode("utf-8-sig")
        for page in chain((first,), pages):
            yield _csv_lines([bill_cells(bill) for bill in page]).encode()

    return write()


def make_workbook(pages: Iterator[Sequence[Bill]]) -> IO[bytes]:
    """An open temporary file that holds the workbook and is gone when it is closed. Rows go to disk as they come."""
    first = next(pages)
    with ExitStack() as on_failure:
        file = on_failure.enter_context(tempfile.TemporaryFile())
        # Text stays text: neither formulas nor links are made of what looks like one.
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        with xlsxwriter.Workbook(file, options) as workbook:
            _Sheets(workbook).write(first, pages)
        file.seek(0)
        on_failure.pop_all()
        return file


def read_and_close(file: IO[bytes]) -> Iterator[bytes]:
    """The file in chunks; closed at the end, however that comes."""
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def bill_cells(bill: Bill) -> tuple[Cell, ...]:
    """The bill in the order of COLUMNS; numbers and dates are typed, texts inert."""
    names = "; ".join(str(document.get("file_name") or "document") for document in bill.documents)
    return (
        _text(bill.username),
        _text(bill.number or bill.bill_key),
        bill.issued_on,
        bill.due_on,
        bill.amount,
        _text(bill.currency),
        _text(bill.portal_status),
        _text(names),
        bill.first_seen_run,
        bill.last_seen_run,
        bill.changed_run,
        _text(bill.sha256),
        _text(json.dumps(bill.fields, ensure_ascii=False) if bill.fields else None),
    )


class _Sheets:
    """Writes rows, and begins another sheet when one is full."""

    def __init__(self, workbook: xlsxwriter.Workbook) -> None:
        self._workbook = workbook
        self._bold = workbook.add_format({"bold": True})
        self._date = workbook.add_format({"num_format": "yyyy-mm-dd"})
        self._amount = workbook.add_format({"num_format": "#,##0.00"})

    def write(self, first: Sequence[Bill], pages: Iterator[Sequence[Bill]]) -> None:
        sheet, row = self._begin(), 1
        for page in chain((first,), pages):
            if row + len(page) > ROWS_A_SHEET:
                sheet, row = self._begin(), 1
            row = self._write_page(sheet, row, page)

    def _begin(self) -> Worksheet:
        number = len(self._workbook.worksheets())
        sheet = self._workbook.add_worksheet("Bills" if not number else f"Bills {number + 1}")
        for column, (name, width) in enumerate(COLUMNS):
            sheet.set_column(column, column, width)
            sheet.write_string(0, column, name, self._bold)
        sheet.freeze_panes(1, 0)
        return sheet

    def _write_page(self, sheet: Worksheet, row: int, page: Sequence[Bill]) -> int:
        for bill in page:
            for column, cell in enumerate(bill_cells(bill)):
                self._write_cell(sheet, row, column, cell)
            row += 1
        return row

    def _write_cell(self, sheet: Worksheet, row: int, column: int, cell: Cell) -> None:
        if isinstance(cell, date):
            sheet.write_datetime(row, column, datetime.combine(cell, time()), self._date)
        elif isinstance(cell, Decimal):
            sheet.write_number(row, column, float(cell), self._amount)
        elif isinstance(cell, int):
            sheet.write_number(row, column, cell)
        elif cell:
            sheet.write_string(row, column, cell)


def _csv_lines(rows: Sequence[tuple[Cell, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows(rows)
    return out.getvalue()


def _text(text: str | None) -> str:
    return inert(text[:MAX_CELL]) if text else ""
