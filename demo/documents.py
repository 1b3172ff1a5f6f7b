"""A bill as files: the PDF invoice, the CSV with its daily usage, a ZIP of both. The same bill, the same bytes."""

import csv
import io
import zipfile
from datetime import UTC, datetime, time
from functools import lru_cache

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from demo.accounts import Account, Offer
from demo.bills import STANDING_CHARGE_PER_DAY, UNIT_RATE, VAT_RATE, Bill, UsageDay

MEDIA_TYPES = {"pdf": "application/pdf", "csv": "text/csv; charset=utf-8", "zip": "application/zip"}
_FILE_NAMES = {
    "pdf": "northwind-invoice-{number}.pdf",
    "csv": "northwind-usage-{number}.csv",
    "zip": "northwind-{number}.zip",
}
_KINDS = {Offer.ARCHIVE: ("pdf", "zip"), Offer.BARE: ("pdf",)}

_TEAL = (15, 92, 99)
_GREY = (96, 108, 112)
_INK = (24, 34, 38)
_LEFT, _WIDTH = 20, 170


def list_kinds(account: Account) -> tuple[str, ...]:
    """The files that each bill of the account comes as."""
    return _KINDS.get(account.offer, ("pdf", "csv"))


def is_posted(account: Account, kind: str) -> bool:
    """Whether the file is there only for those who press its button."""
    return account.offer is Offer.BUTTON and kind == "pdf"


def make_file_name(bill: Bill, kind: str) -> str:
    return _FILE_NAMES[kind].format(number=bill.number)


@lru_cache(maxsize=512)
def make_document(bill: Bill, kind: str) -> bytes:
    """The bill as `pdf`, `csv` or `zip`; any other kind raises KeyError."""
    return {"pdf": _make_pdf, "csv": _make_csv, "zip": _make_zip}[kind](bill)


def _make_zip(bill: Bill) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for kind in ("pdf", "csv"):
            on = bill.issued_on
            entry = zipfile.ZipInfo(make_file_name(bill, kind), (on.year, on.month, on.day, 6, 0, 0))
            archive.writestr(entry, make_document(bill, kind))
    return content.getvalue()


def _make_csv(bill: Bill) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["invoice_number", "date", "kwh", "unit_rate", "cost", "currency"])
    writer.writerows([bill.number, day.on, day.kwh, UNIT_RATE, day.cost, bill.currency] for day in bill.days)
    return text.getvalue().encode()


def _make_pdf(bill: Bill) -> bytes:
    pdf = FPDF()
    # The time of writing and the library's version would otherwise make every file differ.
    pdf.set_creation_date(datetime.combine(bill.issued_on, time(6), UTC))
    pdf.set_producer("Northwind Energy billing")
    pdf.set_title(f"Invoice {bill.number}")
    pdf.set_auto_page_break(False)
    pdf.set_margins(_LEFT, 20)
    pdf.add_page()
    _draw_letterhead(pdf, bill)
    _draw_addresses(pdf, bill)
    _draw_charges(pdf, bill)
    _draw_usage(pdf, bill.days)
    _draw_footer(pdf)
    return bytes(pdf.output())


def _draw_letterhead(pdf: FPDF, bill: Bill) -> None:
    pdf.set_fill_color(*_TEAL)
    pdf.rect(0, 0, 210, 32, style="F")
    pdf.set_text_color(255, 255, 255)
    pdf.set_xy(_LEFT, 10)
    pdf.set_font("Helvetica", "B", 20)
    pdf.cell(110, 12, "Northwind Energy")
    pdf.set_font("Helvetica", "", 14)
    pdf.cell(60, 12, "Corrected invoice" if bill.credit else "Invoice", align="R")


def _draw_addresses(pdf: FPDF, bill: Bill) -> None:
    pdf.set_text_color(*_INK)
    pdf.set_font("Helvetica", "", 11)
    pdf.set_xy(_LEFT, 46)
    pdf.multi_cell(80, 6, f"{bill.account.name}\n{bill.account.street}\n{bill.account.town}", align="L")
    facts = (
        ("Invoice number", bill.number),
        ("Customer number", bill.account.customer_number),
        ("Issue date", bill.issued_on.isoformat()),
        ("Due date", bill.due_on.isoformat()),
        ("Billing period", f"{bill.days[0].on} to {bill.days[-1].on}"),
    )
    pdf.set_y(46)
    for label, value in facts:
        pdf.set_x(105)
        pdf.set_text_color(*_GREY)
        pdf.cell(35, 6, label)
        pdf.set_text_color(*_INK)
        pdf.cell(50, 6, value, align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _draw_charges(pdf: FPDF, bill: Bill) -> None:
    lines = [
        (f"Electricity: {bill.kwh} kWh at {UNIT_RATE}", bill.energy),
        (f"Standing charge: {len(bill.days)} days at {STANDING_CHARGE_PER_DAY}", bill.standing_charge),
        (f"VAT {VAT_RATE:.0%}", bill.vat),
    ]
    if bill.credit:
        lines.append(("Credit for a reading that was too high", -bill.credit))
    pdf.set_y(92)
    pdf.set_draw_color(210, 218, 220)
    for label, amount in lines:
        pdf.cell(120, 9, label, border="B")
        pdf.cell(50, 9, f"{amount:,.2f}", border="B", align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.set_font("Helvetica", "B", 13)
    pdf.cell(120, 13, "Amount due")
    pdf.cell(50, 13, f"{bill.currency} {bill.amount:,.2f}", align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _draw_usage(pdf: FPDF, days: tuple[UsageDay, ...]) -> None:
    top, height = 158, 50
    pdf.set_xy(_LEFT, top - 12)
    pdf.set_font("Helvetica", "B", 11)
    pdf.cell(_WIDTH, 6, "Your daily usage (kWh)")
    pdf.set_fill_color(*_TEAL)
    slot, peak = _WIDTH / len(days), max(day.kwh for day in days)
    for position, day in enumerate(days):
        bar = float(day.kwh / peak) * height
        pdf.rect(_LEFT + position * slot, top + height - bar, slot * 0.7, bar, style="F")
    pdf.set_xy(_LEFT, top + height + 2)
    pdf.set_font("Helvetica", "", 9)
    pdf.set_text_color(*_GREY)
    pdf.cell(_WIDTH / 2, 5, days[0].on.isoformat())
    pdf.cell(_WIDTH / 2, 5, days[-1].on.isoformat(), align="R")


def _draw_footer(pdf: FPDF) -> None:
    pdf.set_xy(_LEFT, 272)
    pdf.multi_cell(
        _WIDTH,
        5,
        "Northwind Energy is a fictional company. This invoice belongs to a demonstration: nothing is owed.",
        align="C",
    )
