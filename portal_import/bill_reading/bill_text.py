"""Reads a bill's own text, as of a PDF: its number, dates and total.

What it says twice, and differently, is read as nothing.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeVar

from portal_import.bill_reading.cell_values import DAY_FIRST, find_currency, parse_amount, parse_date

T = TypeVar("T")

MAX_CHARACTERS = 50_000
_MAX_LINES = 2_000
_MAX_LINE = 300

# Per field, the surest wording first; matched against lines without accents and case.
_LABELS = {
    "number": (
        r"\b(?:tax )?(?:invoice|bill|credit note|document|statement) ?(?:number|no|nr|num|id|ref(?:erence)?)\b",
        r"\b(?:rechnungs|beleg|gutschrift(?:s)?)-? ?(?:nummer|nr)\b|\brechnung nr\b",
        r"\b(?:numero|no|n) (?:de )?(?:la )?factur[ea]\b|\bfactur[ea] (?:numero|num|no|n)\b",
        r"\b(?:invoice|rechnung|facture|factura)(?= ?[:#])",
    ),
    "issued_on": (
        r"\b(?:invoice|issue|bill|billing|statement|document) date\b|\bdate of (?:issue|invoice)\b|\bissued(?: on)?\b"
        r"|\b(?:rechnungs|ausstellungs|beleg)datum\b|\bdate (?:de |d.)?(?:la )?(?:facture|facturation|emission)\b"
        r"|\bfecha (?:de )?(?:la )?(?:factura|emision|expedicion)\b",
        r"^(?:date|datum|fecha) ?:? ?(?=\d)",
    ),
    "due_on": (
        r"\bdue date\b|\bpayment due\b|\bdue (?:on|by)\b|\bpay(?:able)? by\b"
        r"|\bfallig(?:keit(?:sdatum)?)?(?: am| bis)?\b|\bzahlbar bis\b"
        r"|\b(?:date d.)?echeance\b|\bdate limite\b|\ba payer avant\b|\bvencimiento\b|\bfecha limite\b",
    ),
    "amount": (
        r"\bgrand total\b|\binvoice total\b|\btotal (?:amount|incl\w*|gross|ttc|factura|con iva)\b"
        r"|\b(?:gesamt|rechnungs|brutto|end)(?:betrag|summe)\b|\bmontant (?:total )?ttc\b|\bimporte total\b",
        r"\b(?:amount|total|balance)(?: amount)? (?:due|payable|to pay)\b|\bzahlbetrag\b|\bzu zahlen\w*(?: betrag)?\b"
        r"|\b(?:total|montant|net) a payer\b|\b(?:total|importe) a pagar\b",
        r"(?<!sub)(?<!sub )(?<!sub-)\b(?:total|gesamt|summe)\b(?! (?:net|excl|ht|hors|before|vat|tax|mwst|tva|iva))",
    ),
}
_PATTERNS = {field: tuple(re.compile(label) for label in labels) for field, labels in _LABELS.items()}
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.] ?\d{1,2}[-/.] ?\d{2,4}"
    r"|\d{1,2}(?:st|nd|rd|th|er|\.)?[ \-](?:de )?[^\W\d_]{3,10}\.?[ \-](?:de )?\d{4}"
    r"|[^\W\d_]{3,10}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}"
)
_MONEY = re.compile(
    r"(?:[-−] ?)?(?<![\d.,/])(?:\d{1,3}(?: \d{3})+,\d{2}|\d{1,3}(?:[.,'’]\d{3})+[.,]\d{2}|\d+[.,]\d{2})"
    r"(?![\d/%]|[.,]\d| ?%)"
)
_NUMBER = re.compile(r"[^\W_][\w./\-]{2,39}")
_PUNCTUATION = " :.#°–-"
_DATE_WITHIN = 25
_SHORT_LINE = 40


@dataclass(frozen=True)
class BillText:
    """What the text says for certain; None where it says nothing, or more than one thing."""

    number: str | None = None
    issued_on: date | None = None
    due_on: date | None = None
    amount: Decimal | None = None
    currency: str | None = None


def read_bill_text(text: str, date_order: str | None = None) -> BillText:
    """The values that stand behind the usual labels in English, German, French and Spanish, or on the line below."""
    lines = [" ".join(line.split())[:_MAX_LINE] for line in text[:MAX_CHARACTERS].splitlines()[:_MAX_LINES]]
    lines = [(line, _plain(line)) for line in lines if line]
    total = _find("amount", lines, _read_amount)
    return BillText(
        number=_find("number", lines, _read_number),
        issued_on=_find("issued_on", lines, lambda rest: _read_date(rest, date_order)),
        due_on=_find("due_on", lines, lambda rest: _read_date(rest, date_order)),
        amount=total[0] if total else None,
        currency=total[1] if total else None,
    )


def _find(field: str, lines: list[tuple[str, str]], read: Callable[[str], T | None]) -> T | None:
    """The one value behind the surest label that has any."""
    for pattern in _PATTERNS[field]:
        values = {value for rest in _behind(pattern, lines) for value in [read(rest)] if value is not None}
        if values:
            return values.pop() if len(values) == 1 else None
    return None


def _behind(label: re.Pattern[str], lines: list[tuple[str, str]]) -> Iterator[str]:
    """What stands behind the label on its line, or on the line below where nothing does."""
    for position, (line, plain) in enumerate(lines):
        match = label.search(plain)
        if match is None:
            continue
        rest = line[match.end() :].lstrip(_PUNCTUATION)
        if rest:
            # A minus belongs to the amount.
            is_negative = line[match.end() : len(line) - len(rest)].rstrip(" ").endswith(("-", "−"))
            yield f"-{rest}" if is_negative and rest[0].isdigit() else rest
        elif position + 1 < len(lines) and len(lines[position + 1][0]) <= _SHORT_LINE:
            yield lines[position + 1][0]


def _read_number(rest: str) -> str | None:
    match = _NUMBER.match(rest.lstrip(_PUNCTUATION))
    number = match[0].rstrip("./-") if match else ""
    is_one = any(char.isdigit() for char in number) and parse_date(number, DAY_FIRST) is None
    return number if is_one else None


def _read_date(rest: str, date_order: str | None) -> date | None:
    match = _DATE.search(rest.lstrip(_PUNCTUATION))
    return parse_date(match[0], date_order) if match and match.start() <= _DATE_WITHIN else None


def _read_amount(rest: str) -> tuple[Decimal, str | None] | None:
    """The last amount of the line: those before it are the net sum and the tax."""
    found = _MONEY.findall(rest)
    currency = find_currency(rest)
    amount = parse_amount(found[-1], currency) if found else None
    return (amount, currency) if amount is not None else None


def _plain(line: str) -> str:
    """The line without accents and case, each character in its place."""
    return line.lower() if line.isascii() else "".join(map(_plain_character, line))


def _plain_character(char: str) -> str:
    base = unicodedata.normalize("NFKD", char)[0].casefold()
    return base if len(base) == 1 else char
