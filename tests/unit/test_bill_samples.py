"""A sample of a bill table is read as a run would read it."""

from datetime import date
from decimal import Decimal

import pytest

from portal_import.bill_reading.rows import judge_columns
from portal_import.bill_reading.samples import read_sample, unread_cells

HEADERS = ["Réf.", "Date", "Montant TTC", "", "État"]
ROWS = [
    ["F-0001", "03/04/2026", "1 234,56 €", "PDF", "Payée"],
    ["F-0002", "13/04/2026", "bientôt", "PDF", "Ouverte"],
    ["Total", "", "1 234,56 €", "", ""],
]


def test_rows_are_read_by_wording_and_totals_are_no_bills() -> None:
    reading = read_sample(HEADERS, ROWS, column_mapping={}, date_order=None)
    assert reading.columns == {"number": 0, "issued_on": 1, "amount": 2, "portal_status": 4}
    first, second, total = reading.rows
    assert first is not None
    assert second is not None
    assert total is None
    assert (first.number, first.issued_on, first.amount, first.currency) == ("F-0001", None, Decimal("1234.56"), "EUR")
    assert (second.issued_on, second.amount, second.portal_status) == (date(2026, 4, 13), None, "Ouverte")


def test_what_stays_unread_is_told_by_field() -> None:
    reading = read_sample(HEADERS, ROWS, column_mapping={}, date_order=None)
    assert unread_cells(reading, ROWS) == {"issued_on": ["03/04/2026"], "amount": ["bientôt"]}


def test_choices_are_followed() -> None:
    reading = read_sample(HEADERS, ROWS, column_mapping={"due_on": "Date", "number": "État"}, date_order="day_first")
    assert (reading.columns["due_on"], "issued_on" in reading.columns) == (1, False)
    # Hardly a cell of the chosen column holds a digit, so it is no number.
    assert "number" not in reading.columns
    assert reading.rows[0] is not None
    assert reading.rows[0].due_on == date(2026, 4, 3)


@pytest.mark.parametrize(
    ("headers", "mapping", "verdict"),
    [
        (["Invoice no", "Amount"], {}, True),
        (["Date", "Amount"], {}, None),
        (["Date", "Status"], {}, False),
        (["Invoice no", "What"], {}, False),
        (["Wat", "Hoeveel"], {}, False),
        (["Wat", "Hoeveel"], {"amount": "Hoeveel"}, False),
        (["Wat", "Hoeveel"], {"portal_status": "Wat", "amount": "Hoeveel"}, True),
    ],
)
def test_table_is_one_of_bills_when_enough_of_it_is_known(
    headers: list[str], mapping: dict[str, str], verdict: bool | None
) -> None:
    reading = read_sample(headers, [["1", "2.00"]], column_mapping=mapping, date_order=None)
    assert judge_columns(reading.columns, mapping) is verdict
