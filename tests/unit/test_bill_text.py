"""What a bill's own text says."""

import random
from datetime import date
from decimal import Decimal

import pytest

from portal_import.bill_reading.bill_text import BillText, read_bill_text

ENGLISH = """Northwind Energy Invoice
Ada Meyer
Invoice number 00172034313
Customer number 00417203
Issue date 2026-02-23
Due date 2026-04-04
Billing period 2026-01-21 to 2026-02-20
Electricity: 322.98 kWh at 0.2864 92.51
VAT 20% 21.06
Amount due EUR 126.34
"""
GERMAN = """Stadtwerke Musterstadt GmbH
Rechnungs-Nr.: RE-2026/0012 Kundennummer: 4711
Rechnungsdatum: 24.11.2026
Fällig am 8. Dezember 2026
Nettobetrag 1.037,46 €
MwSt. 19 % 197,12 €
Rechnungsbetrag 1.234,58 €
"""
FRENCH = """Facture n° FA-2026-018
Date d’émission : 3 août 2026
Date d’échéance : 17/08/2026
Total HT 83,33 €
TVA 20 % 16,67 €
Total TTC 1 100,00 €
"""
SPANISH = """Número de factura: F0042
Fecha de emisión: 24 de noviembre de 2026
Fecha de vencimiento: 24/12/2026
Importe total 1.234,50 €
"""
BELOW = """Invoice number
00042
Invoice date
24 Nov 2026
Due date
8 December 2026
Total
GBP 12.00
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ENGLISH, ("00172034313", date(2026, 2, 23), date(2026, 4, 4), "126.34", "EUR")),
        (GERMAN, ("RE-2026/0012", date(2026, 11, 24), date(2026, 12, 8), "1234.58", "EUR")),
        (FRENCH, ("FA-2026-018", date(2026, 8, 3), date(2026, 8, 17), "1100.00", "EUR")),
        (SPANISH, ("F0042", date(2026, 11, 24), date(2026, 12, 24), "1234.50", "EUR")),
        (BELOW, ("00042", date(2026, 11, 24), date(2026, 12, 8), "12.00", "GBP")),
    ],
    ids=["English", "German", "French", "Spanish", "values below"],
)
def test_bill_in_usual_wordings_is_read(text: str, expected: tuple[str, date, date, str, str]):
    number, issued_on, due_on, amount, currency = expected
    assert read_bill_text(text) == BillText(number, issued_on, due_on, Decimal(amount), currency)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("Total 10.00\nTotal VAT 2.00\nSubtotal 8.00", "10.00"),
        ("Total 10.00\nGrand total 12.00", "12.00"),
        ("Invoice total 10.00 2.00 12.00", "12.00"),
        ("Total: -12.50", "-12.50"),
        ("Total EUR -1,234.50", "-1234.50"),
        ("Balance due $1,234.50", "1234.50"),
        ("Total 10.00\nTotal 11.00", None),
        ("Total 12", None),
        ("Total 20.00 %", None),
        ("Totally 12.00", None),
        ("Total 1.2864", None),
        ("Total 2026.01.02", None),
        ("", None),
    ],
)
def test_total_is_read_for_certain_or_not_at_all(text: str, amount: str | None):
    assert read_bill_text(text).amount == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Invoice #: A-1/26.", "A-1/26"),
        ("Invoice: March", None),
        ("Invoice number Customer number\n1 2", None),
        ("Invoice number 2026-01-03", None),
        ("Invoice number 111\nInvoice number 222", None),
        ("Invoice number 111\npage 2\nInvoice number 111", "111"),
        ("INVOICE NO. ab12", "ab12"),
    ],
)
def test_number_is_read_for_certain_or_not_at_all(text: str, number: str | None):
    assert read_bill_text(text).number == number


@pytest.mark.parametrize(
    ("text", "order", "issued_on"),
    [
        ("Invoice date 03/04/2026", None, None),
        ("Invoice date 03/04/2026", "day_first", date(2026, 4, 3)),
        ("Invoice date 03/04/2026", "month_first", date(2026, 3, 4)),
        ("Date: 2026-04-03", None, date(2026, 4, 3)),
        ("Date d'échéance: 2026-04-03", None, None),
        ("Invoice date Due date\n2026-04-03 2026-05-03", None, None),
        ("Invoice date 2026-04-03 Due date 2026-05-03", None, date(2026, 4, 3)),
    ],
)
def test_date_is_read_for_certain_or_not_at_all(text: str, order: str | None, issued_on: date | None):
    assert read_bill_text(text, order).issued_on == issued_on


def test_nonsense_is_read_without_an_exception():
    chance = random.Random(20261124)
    bits = ["Total", "Invoice number", "Due date", "\r\n", " ", "1.234,56", "99.99.9999", "ß", "ﬁ", "-", "€", "½", "\0",
            "\ud800", "İ", "Datum:", "12/13", ".", "#", "n°"]  # fmt: skip
    for _ in range(2_000):
        read_bill_text("".join(chance.choice(bits) for _ in range(chance.randint(0, 40))))
