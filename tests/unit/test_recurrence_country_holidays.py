"""Public holidays of countries: names, places, observed days, weekends and messages."""

import subprocess
import sys
from datetime import date

import pytest

from recurrence.country_holidays import (
    checked_country,
    countries,
    country_days_off,
    country_weekend,
    subdivisions,
)
from recurrence.errors import InvalidScheduleError


def test_countries_are_named_in_english_and_sorted_by_name() -> None:
    found = countries()

    assert len(found) > 200
    assert {code: found[code] for code in ("GB", "DE", "BA", "CI", "GW", "VC", "CD", "IM")} == {
        "GB": "United Kingdom",
        "DE": "Germany",
        "BA": "Bosnia and Herzegovina",
        "CI": "Ivory Coast",
        "GW": "Guinea-Bissau",
        "VC": "Saint Vincent and the Grenadines",
        "CD": "Democratic Republic of the Congo",
        "IM": "Isle of Man",
    }
    assert list(found)[:3] == ["AF", "AX", "AL"]  # Åland beside Albania, not after Zimbabwe
    assert list(found)[-1] == "ZW"


def test_countries_are_iso_codes_without_aliases() -> None:
    assert all(len(code) == 2 and code.isupper() for code in countries())
    assert "UK" not in countries()


def test_subdivisions_have_readable_names() -> None:
    assert subdivisions("GB") == {"ENG": "England", "NIR": "Northern Ireland", "SCT": "Scotland", "WLS": "Wales"}
    assert subdivisions("IN")["TS"] == "Telangana"  # not "TG", another code of it
    assert subdivisions("NL") == {"Midden": "Midden", "Noord": "Noord", "Zuid": "Zuid"}
    assert subdivisions("SG") == {}


@pytest.mark.parametrize(
    ("country", "subdivision", "message"),
    [
        (None, None, 'country "null" is not text: allowed a code of ISO 3166, such as "GB"'),
        ("", None, 'country is empty: allowed a code of ISO 3166, such as "GB"'),
        ("ZZ", None, 'unknown country "ZZ"; allowed a code of ISO 3166, such as "GB"'),
        ("gb", None, 'unknown country "gb"; did you mean "GB" (United Kingdom)?'),
        ("UK", None, 'unknown country "UK"; did you mean "GB" (United Kingdom)?'),
        ("Germny", None, 'unknown country "Germny"; did you mean "DE" (Germany)?'),
        (
            "GB",
            "Wales",
            'unknown subdivision "Wales" of United Kingdom: allowed "ENG" (England), "NIR" (Northern Ireland), '
            '"SCT" (Scotland), "WLS" (Wales)',
        ),
        ("SG", "", 'unknown subdivision "" of Singapore: it has none, leave it out'),
        ("GB", ["ENG"], 'unknown subdivision "[\\"ENG\\"]" of United Kingdom: allowed "ENG" (England)'),
    ],
)
def test_checked_country_says_what_is_wrong(country: object, subdivision: object, message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        checked_country(country, subdivision)
    assert str(caught.value).startswith(message)


def test_checked_country_returns_what_is_known() -> None:
    assert checked_country("GB", "SCT") == ("GB", "SCT")
    assert checked_country("GB", None) == ("GB", None)


def test_country_days_off_are_the_public_ones_with_those_observed() -> None:
    assert country_days_off("GB", "ENG", 2022) == {
        date(2022, 1, 1): "New Year's Day",
        date(2022, 1, 3): "New Year's Day (observed)",
        date(2022, 4, 15): "Good Friday",
        date(2022, 4, 18): "Easter Monday",
        date(2022, 5, 2): "May Day",
        date(2022, 6, 2): "Spring Bank Holiday",
        date(2022, 6, 3): "Platinum Jubilee of Elizabeth II",
        date(2022, 8, 29): "Late Summer Bank Holiday",
        date(2022, 9, 19): "State Funeral of Queen Elizabeth II",
        date(2022, 12, 25): "Christmas Day",
        date(2022, 12, 26): "Boxing Day",
        date(2022, 12, 27): "Christmas Day (observed)",
    }


def test_country_days_off_observed_in_the_old_year_belong_to_it() -> None:
    # 1 January 2022 was a Saturday.
    assert country_days_off("US", None, 2021)[date(2021, 12, 31)] == "New Year's Day (observed)"
    assert date(2021, 12, 31) not in country_days_off("US", None, 2022)


def test_country_days_off_differ_by_subdivision() -> None:
    assert country_days_off("DE", "BY", 2026)[date(2026, 1, 6)] == "Epiphany"
    assert date(2026, 1, 6) not in country_days_off("DE", "BE", 2026)
    assert date(2026, 1, 6) not in country_days_off("DE", None, 2026)


def test_country_days_off_of_one_date_are_joined_in_words() -> None:
    assert country_days_off("CZ", None, 2024)[date(2024, 5, 8)] == "Victory Day"
    assert country_days_off("IR", None, 2024)[date(2024, 4, 1)] == "Martyrdom of Imam Ali and Nature's Day"
    for country in countries():
        assert not [name for name in country_days_off(country, None, 2026).values() if ";" in name]


def test_country_days_off_are_in_english_whatever_the_environment_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "de")
    country_days_off.cache_clear()

    assert country_days_off("DE", None, 2026)[date(2026, 10, 3)] == "German Unity Day"
    assert country_days_off("JP", None, 2026)[date(2026, 5, 5)] == "Children's Day"


@pytest.mark.parametrize("year", [-5, 0, 1, 1500, 2101, 9999, 123456])
def test_country_days_off_are_none_in_years_that_are_not_known(year: int) -> None:
    assert country_days_off("GB", "ENG", year) == {}


def test_country_days_off_refuse_an_unknown_place_and_cannot_be_changed() -> None:
    with pytest.raises(InvalidScheduleError, match="unknown country"):
        country_days_off("XX", None, 2026)
    with pytest.raises(TypeError):
        country_days_off("GB", None, 2026)[date(2026, 1, 2)] = "Mine"  # type: ignore[index]


@pytest.mark.parametrize(
    ("country", "expected"),
    [("GB", {0, 6}), ("SA", {5, 6}), ("AE", {0, 6}), ("IR", {5}), ("BN", {0, 5}), ("HK", {0})],
)
def test_country_weekend_counts_as_cron_does(country: str, expected: set[int]) -> None:
    assert country_weekend(country) == expected


def test_country_weekend_refuses_an_unknown_country() -> None:
    with pytest.raises(InvalidScheduleError, match="unknown country"):
        country_weekend("XX")


def test_looking_up_listed_days_never_imports_the_holidays_package() -> None:
    program = """
import sys
from datetime import UTC, date, datetime
from recurrence.days_off import Calendar, DayOff, day_off_at, next_working_time
calendar = Calendar("bank", (DayOff(date(2026, 12, 25), date(2026, 12, 25), "Christmas Day"),))
assert day_off_at([calendar], datetime(2026, 12, 25, tzinfo=UTC), "UTC")
assert next_working_time([calendar], datetime(2026, 12, 25, tzinfo=UTC), "UTC")
import recurrence.ical
loaded = {"holidays", "icalendar", "recurring_ical_events"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True)
