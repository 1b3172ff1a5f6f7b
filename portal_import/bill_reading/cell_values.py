"""Reads dates and amounts from table cells. What could mean two things is read as nothing."""

import re
import unicodedata
from datetime import date
from decimal import Decimal, InvalidOperation

MAX_AMOUNT = Decimal("999999999999.99")  # what the bills table holds
DAY_FIRST, MONTH_FIRST = "day_first", "month_first"  # as a portal's date order says it
_MAX_CELL = 200

_MONTH_NAMES = (
    ("january", "januar", "janner", "janvier", "enero"),
    ("february", "februar", "feber", "fevrier", "febrero"),
    ("march", "marz", "maerz", "mars", "marzo", "mrz"),
    ("april", "avril", "abril", "avr", "abr"),
    ("may", "mai", "mayo"),
    ("june", "juni", "juin", "junio"),
    ("july", "juli", "juillet", "julio"),
    ("august", "aout", "agosto"),
    ("september", "septembre", "septiembre", "setiembre", "sept"),
    ("october", "oktober", "octobre", "octubre"),
    ("november", "novembre", "noviembre"),
    ("december", "dezember", "decembre", "diciembre"),
)
_YEARS = range(1970, 2101)

_ISO = re.compile(r"\b(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d)")
_NUMERIC = re.compile(r"\b(\d{1,2})([-/.]) ?(\d{1,2})\2 ?(\d{4}|\d{2})(?![\d])")
_DAY_MONTH = re.compile(
    r"\b(\d{1,2})(?:st|nd|rd|th|er|o)?[ .\-/]{1,3}(?:de |of )?([a-z]{3,10})\.?[ ,\-/]{1,2}(?:de |del )?(\d{4})\b"
)
_MONTH_DAY = re.compile(r"\b([a-z]{3,10})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})\b")

# What the symbols mean where nothing else is said; the portal's own code or column wins.
_SIGNS = (
    ("US$", "USD"), ("CA$", "CAD"), ("NZ$", "NZD"), ("HK$", "HKD"), ("MX$", "MXN"), ("C$", "CAD"), ("A$", "AUD"),
    ("S$", "SGD"), ("R$", "BRL"), ("€", "EUR"), ("£", "GBP"), ("$", "USD"), ("¥", "JPY"), ("₹", "INR"), ("₺", "TRY"),
    ("zł", "PLN"), ("Kč", "CZK"), ("₩", "KRW"), ("₪", "ILS"), ("₴", "UAH"), ("Fr.", "CHF"), ("Ft", "HUF"),
)  # fmt: skip
_NAMES = {"euro": "EUR", "euros": "EUR", "pounds": "GBP", "dollars": "USD"}
_CODES = (
    "AED ARS AUD BGN BHD BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JOD JPY KRW KWD MAD MXN"
    " MYR NOK NZD OMR PEN PHP PLN QAR RON RSD RUB SAR SEK SGD THB TND TRY TWD UAH USD VND ZAR"
)
CURRENCY_CODES = frozenset(_CODES.split())
_THREE_DECIMALS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"\d[\d.,'’ ]*\d|\d")
_CREDIT = re.compile(r"\b(CR|credit|Gutschrift|avoir|abono)\b", re.IGNORECASE)


def _strip_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _month_table() -> dict[str, int]:
    """Full names, and their beginnings of three and more letters where they mean one month."""
    months: dict[str, set[int]] = {}
    for number, names in enumerate(_MONTH_NAMES, start=1):
        for name in names:
            for length in range(3, len(name) + 1):
                months.setdefault(name[:length], set()).add(number)
    return {name: next(iter(numbers)) for name, numbers in months.items() if len(numbers) == 1}


_MONTHS = _month_table()


def parse_date(text: str, date_order: str | None = None) -> date | None:
    """The one date in the cell; None for none, for several, and for an ambiguous one such as 03/04/2026.

    Dots mean day.month.year; a day above 12 or equal to the month settles slashes and hyphens, and so does
    `date_order`.
    """
    plain = " ".join(_strip_accents(text[:_MAX_CELL]).split())
    found = [_date(int(y), int(m), int(d)) for y, _, m, d in _ISO.findall(plain)]
    rest = _ISO.sub(" ", plain)
    numeric = _NUMERIC.findall(rest)
    found += [_numeric_date(int(a), int(b), year, separator, date_order) for a, separator, b, year in numeric]
    found += [_date(int(y), _MONTHS.get(name, 0), int(d)) for d, name, y in _DAY_MONTH.findall(rest)]
    rest = _DAY_MONTH.sub(" ", rest)
    found += [_date(int(y), _MONTHS.get(name, 0), int(d)) for name, d, y in _MONTH_DAY.findall(rest)]
    return found[0] if len(found) == 1 else None


def is_ambiguous_date(text: str) -> bool:
    """Whether the cell holds one date that only the portal's date order can settle."""
    return (
        bool(text) and parse_date(text) is None and any(parse_date(text, order) for order in (DAY_FIRST, MONTH_FIRST))
    )


def _numeric_date(first: int, second: int, year: str, separator: str, date_order: str | None) -> date | None:
    full_year = int(year) if len(year) == 4 else 2000 + int(year)
    if separator == ".":
        return _date(full_year, second, first)
    if len(year) == 2 and date_order is None:
        return None  # which of the three is the year is open, too
    if first == second or first > 12:
        return _date(full_year, second, first)
    if second > 12:
        return _date(full_year, first, second)
    if date_order is None:
        return None
    month, day = (second, first) if date_order == DAY_FIRST else (first, second)
    return _date(full_year, month, day)


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day) if year in _YEARS else None
    except ValueError:
        return None


def find_currency(text: str) -> str | None:
    """The ISO 4217 code that the text names by code, sign or name; None for none or several."""
    text = text[:_MAX_CELL]
    words = _WORD.findall(text)
    codes = {word for word in words if word in CURRENCY_CODES}
    codes |= {_NAMES[word.casefold()] for word in words if word.casefold() in _NAMES}
    if codes:
        return codes.pop() if len(codes) == 1 else None
    for sign, code in _SIGNS:
        is_found = sign in words if sign.isalpha() else sign in text
        if is_found:
            return code
    return None


def parse_amount(text: str, currency: str | None = None) -> Decimal | None:
    """The one amount in the cell, in whichever of the usual notations; None for none or several.

    1.234,56 and 1,234.56 and 1'234.56 and 1 234,56 are the same; 1.234 and 1,234 are both one thousand
    and so many, except in a currency with three decimals. A minus, parentheses or CR make it negative.
    """
    plain = unicodedata.normalize("NFKC", text[:_MAX_CELL]).replace("−", "-").replace("–", "-")
    numbers = _NUMBER.findall(plain)
    if len(numbers) != 1:
        return None
    number = _plain_number(re.sub("[’ ]", "'", numbers[0]), currency or find_currency(plain))
    if number is None or abs(number) > MAX_AMOUNT:
        return None
    before, _, after = plain.partition(numbers[0])
    is_negative = "-" in before or after.lstrip().startswith("-") or ("(" in before and ")" in after)
    return -number if is_negative or _CREDIT.search(plain) else number


def _plain_number(digits: str, currency: str | None) -> Decimal | None:
    decimal_mark = _decimal_mark(digits, currency)
    whole, _, fraction = digits.rpartition(decimal_mark) if decimal_mark else (digits, "", "")
    groups = re.split("[.,']", whole)
    # Groups of three, or of two before the last as in India.
    if len(groups) > 1 and not (len(groups[-1]) == 3 and all(2 <= len(group) <= 3 for group in groups[1:])):
        return None
    try:
        return Decimal("".join(groups) + (f".{fraction}" if fraction else ""))
    except InvalidOperation:
        return None


def _decimal_mark(digits: str, currency: str | None) -> str:
    marks = {mark for mark in ".," if mark in digits}
    if len(marks) == 2:
        return max(".,", key=digits.rfind)
    if not marks:
        return ""
    mark = marks.pop()
    if digits.count(mark) > 1:
        return ""
    whole, _, fraction = digits.partition(mark)
    looks_grouped = len(fraction) == 3 and 1 <= len(whole) <= 3 and not whole.startswith("0")
    return "" if looks_grouped and currency not in _THREE_DECIMALS else mark
