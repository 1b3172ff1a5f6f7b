"""The names offered in a time zone picker, and where the rules of a zone come from."""

import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from recurrence import parse_rule, time_zones

NEXT_IN_LONDON = """
from datetime import UTC, datetime
from zoneinfo import ZoneInfo
early = ZoneInfo("Europe/London")
from recurrence import next_occurrence, parse_rule
rule = parse_rule("daily", {"hour": 12, "minute": 0}, "Europe/London")
after = datetime(2026, 7, 1, tzinfo=UTC)
print(early.utcoffset(after), next_occurrence(rule, after).isoformat(), ZoneInfo("Europe/London").utcoffset(after))
"""


def test_time_zones_are_sorted_places_and_utc() -> None:
    names = time_zones()
    assert names == sorted(set(names))
    assert {"Europe/London", "Europe/Oslo", "America/New_York", "Asia/Kolkata", "UTC"} <= set(names)
    assert not {"US/Eastern", "Asia/Calcutta", "GB", "Etc/GMT+5", "EST5EDT", "localtime", "Factory"} & set(names)
    assert len(names) > 400


def test_time_zones_are_all_accepted() -> None:
    for name in time_zones():
        parse_rule("daily", {"hour": 2, "minute": 0}, name)


def test_time_zones_cannot_be_changed_by_a_caller() -> None:
    time_zones().clear()
    assert time_zones()


@pytest.mark.parametrize("has_system_files", [True, False])
def test_zones_come_from_the_tzdata_package_whatever_the_system_has(tmp_path: Path, has_system_files: bool) -> None:
    """The system's London has Tokyo's rules here, and was even read before `recurrence` was imported."""
    if has_system_files:
        (tmp_path / "Europe").mkdir()
        tokyo = resources.files("tzdata") / "zoneinfo" / "Asia" / "Tokyo"
        with resources.as_file(tokyo) as file:
            shutil.copy(file, tmp_path / "Europe" / "London")
    found = subprocess.run(
        [sys.executable, "-c", NEXT_IN_LONDON],
        env=os.environ | {"PYTHONTZPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    before = "9:00:00" if has_system_files else "1:00:00"
    assert found.stdout.split() == [before, "2026-07-01T11:00:00+00:00", "1:00:00"]
