"""Which instants fall on a day off, and where an occurrence moves, across time zones and weekends."""

from datetime import UTC, date, datetime

import pytest

from recurrence.country_holidays import country_weekend
from recurrence.days_off import Calendar, DayOff, day_off_at, next_working_time

CHRISTMAS = DayOff(date(2026, 12, 25), date(2026, 12, 25), "Christmas Day")
SHUTDOWN = DayOff(date(2026, 12, 28), date(2027, 1, 3), "Winter shutdown")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def one_day(text: str, name: str) -> DayOff:
    return DayOff(date.fromisoformat(text), date.fromisoformat(text), name)


@pytest.mark.parametrize(
    ("calendar_zone", "job_zone", "expected"),
    [
        pytest.param("Pacific/Auckland", "Europe/London", "Christmas Day", id="calendar-zone-is-ahead"),
        pytest.param("Europe/London", "Pacific/Auckland", None, id="calendar-zone-is-behind"),
        pytest.param(None, "Pacific/Auckland", "Christmas Day", id="no-zone-reads-in-the-zone-of-the-job-ahead"),
        pytest.param(None, "Europe/London", None, id="no-zone-reads-in-the-zone-of-the-job-behind"),
    ],
)
def test_day_off_is_read_in_the_zone_of_the_calendar(
    calendar_zone: str | None, job_zone: str, expected: str | None
) -> None:
    calendar = Calendar("bank", (CHRISTMAS,), calendar_zone)

    # 01:00 on 25 December in Auckland, noon on the 24th in London.
    assert day_off_at([calendar], utc("2026-12-24T12:00"), job_zone) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-12-27T23:59", None),
        ("2026-12-28T00:00", "Winter shutdown"),
        ("2026-12-31T23:59", "Winter shutdown"),
        ("2027-01-01T00:00", "Winter shutdown"),
        ("2027-01-03T23:59", "Winter shutdown"),
        ("2027-01-04T00:00", None),
    ],
)
def test_day_off_range_over_new_year_counts_from_its_first_to_its_last_moment(at: str, expected: str | None) -> None:
    assert day_off_at([Calendar("plant", (CHRISTMAS, SHUTDOWN))], utc(at), "UTC") == expected


def test_day_off_range_of_several_years_covers_the_years_between() -> None:
    closed = Calendar("closed", (DayOff(date(2024, 6, 1), date(2028, 2, 1), "Rebuilding"),))

    assert day_off_at([closed], utc("2026-07-15T10:00"), "UTC") == "Rebuilding"


def test_day_off_is_never_a_weekend_alone() -> None:
    assert day_off_at([Calendar("bank", (CHRISTMAS,))], utc("2026-12-26T10:00"), "UTC") is None  # a Saturday


def test_day_off_takes_the_name_of_the_first_calendar_and_its_first_entry() -> None:
    ours = Calendar("ours", (one_day("2026-12-24", "Party"), CHRISTMAS, one_day("2026-12-25", "Again")))
    theirs = Calendar("theirs", (one_day("2026-12-25", "Noel"), one_day("2026-12-26", "Boxing Day")))

    names = [day_off_at([ours, theirs], utc(f"2026-12-{day}T10:00"), "UTC") for day in (24, 25, 26, 27)]

    assert names == ["Party", "Christmas Day", "Boxing Day", None]
    assert day_off_at([theirs, ours], utc("2026-12-25T10:00"), "UTC") == "Noel"


def test_day_off_of_a_country_yields_to_a_listed_name() -> None:
    england = Calendar("england", (one_day("2026-12-25", "Closed"),), country="GB", subdivision="ENG")

    assert day_off_at([england], utc("2026-12-25T10:00"), "Europe/London") == "Closed"
    assert day_off_at([england], utc("2026-12-28T10:00"), "Europe/London") == "Boxing Day (observed)"
    assert day_off_at([england], utc("2026-11-30T10:00"), "Europe/London") is None
    scotland = Calendar("scotland", country="GB", subdivision="SCT")
    assert day_off_at([scotland], utc("2026-11-30T10:00"), "Europe/London") == "Saint Andrew's Day"


def test_day_off_follows_a_changed_calendar_that_has_the_same_name_and_size() -> None:
    before = Calendar("bank", (CHRISTMAS,))
    after = Calendar("bank", (one_day("2026-12-24", "Christmas Eve"),))

    assert hash(before) == hash(Calendar("bank", (CHRISTMAS,)))
    assert day_off_at([before], utc("2026-12-25T10:00"), "UTC") == "Christmas Day"
    assert day_off_at([after], utc("2026-12-25T10:00"), "UTC") is None
    assert day_off_at([after], utc("2026-12-24T10:00"), "UTC") == "Christmas Eve"


def test_day_off_lookups_read_the_listed_days_once_a_year() -> None:
    reads = 0

    class Counted(tuple[DayOff, ...]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal reads
            reads += 1
            return super().__iter__()

    calendar = Calendar("counted", Counted([CHRISTMAS, SHUTDOWN]))
    for hour in range(24):
        for day in range(1, 32):
            day_off_at([calendar], datetime(2026, 12, day, hour, tzinfo=UTC), "UTC")

    assert reads == 1


def test_day_off_refuses_a_naive_time() -> None:
    naive = datetime(2026, 12, 25, 10)  # noqa: DTZ001
    with pytest.raises(ValueError, match="at 2026-12-25T10:00:00 is naive"):
        day_off_at([], naive, "UTC")
    with pytest.raises(ValueError, match="is naive"):
        next_working_time([], naive, "UTC")


def test_next_working_time_after_a_friday_holiday_is_monday() -> None:
    # Christmas 2026 is a Friday.
    moved = next_working_time([Calendar("bank", (CHRISTMAS,))], utc("2026-12-25T09:30"), "UTC")

    assert moved == utc("2026-12-28T09:30")
    assert moved.tzinfo is UTC


def test_next_working_time_passes_over_days_off_and_weekends_in_turn() -> None:
    # 28 December to 3 January follow the weekend after Christmas; the 4th is a Monday.
    moved = next_working_time([Calendar("plant", (CHRISTMAS, SHUTDOWN))], utc("2026-12-25T09:30"), "UTC")

    assert moved == utc("2027-01-04T09:30")


def test_next_working_time_in_the_gulf_is_sunday() -> None:
    riyadh = Calendar("riyadh", (one_day("2026-02-26", "Training"),), weekend=country_weekend("SA"), country="SA")

    # Thursday 26 February; Friday and Saturday are the weekend.
    moved = next_working_time([riyadh], utc("2026-02-26T06:00"), "Asia/Riyadh")

    assert moved == utc("2026-03-01T06:00")
    assert moved.strftime("%A") == "Sunday"


def test_next_working_time_of_several_calendars_avoids_the_weekends_of_all() -> None:
    riyadh = Calendar("riyadh", weekend=frozenset({5, 6}))
    london = Calendar("london", (one_day("2026-06-15", "Audit"),))

    # From Thursday: Friday and Saturday are off in Riyadh, Saturday and Sunday in London, Monday is the audit.
    assert next_working_time([riyadh, london], utc("2026-06-11T10:00"), "UTC") == utc("2026-06-16T10:00")
    assert next_working_time([riyadh], utc("2026-06-11T10:00"), "UTC") == utc("2026-06-14T10:00")
    assert next_working_time([london], utc("2026-06-11T10:00"), "UTC") == utc("2026-06-12T10:00")
    assert next_working_time([], utc("2026-06-12T10:00"), "UTC") == utc("2026-06-13T10:00")


def test_next_working_time_reads_the_weekend_in_the_zone_of_the_job() -> None:
    calendar = Calendar("bank")

    # 23:30Z on Thursday is Friday 08:30 in Tokyo: the next working day there is Monday, in UTC's eyes a Sunday.
    assert next_working_time([calendar], utc("2026-06-11T23:30"), "Asia/Tokyo") == utc("2026-06-14T23:30")
    assert next_working_time([calendar], utc("2026-06-11T23:30"), "UTC") == utc("2026-06-12T23:30")


def test_next_working_time_checks_days_off_at_the_instant_in_the_zone_of_the_calendar() -> None:
    auckland = Calendar("auckland", (one_day("2026-06-18", "Matariki"),), "Pacific/Auckland")

    # Wednesday 17 June 20:00 in London is already the 18th in Auckland, and Thursday 20:00 is the 19th.
    assert next_working_time([auckland], utc("2026-06-16T19:00"), "Europe/London") == utc("2026-06-18T19:00")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        # Berlin, Friday 27 March 2026 02:30 CET to Sunday 29 March, when 02:00 becomes 03:00 CEST.
        pytest.param("2026-03-27T01:30", "2026-03-29T01:00", id="gap-runs-right-after-it"),
        # Berlin, Friday 23 October 2026 02:30 CEST to Sunday the 25th, when 02:30 passes twice.
        pytest.param("2026-10-23T00:30", "2026-10-25T00:30", id="overlap-runs-the-first-time"),
    ],
)
def test_next_working_time_keeps_the_wall_time_across_daylight_saving(at: str, expected: str) -> None:
    saturdays_off = Calendar("saturdays", weekend=frozenset({6}))

    assert next_working_time([saturdays_off], utc(at), "Europe/Berlin") == utc(expected)


def test_next_working_time_keeps_the_wall_time_when_the_offset_changes() -> None:
    # Friday 09:00 GMT, Monday 09:00 BST.
    assert next_working_time([Calendar("bank")], utc("2026-03-27T09:00"), "Europe/London") == utc("2026-03-30T08:00")


def test_next_working_time_passes_over_a_date_that_a_zone_skipped() -> None:
    # Apia had no Friday 30 December 2011; its 10:00 resolves to Saturday 00:00, which is no working day.
    moved = next_working_time([Calendar("bank")], utc("2011-12-29T20:00"), "Pacific/Apia")  # Thursday 10:00

    assert moved == utc("2012-01-01T20:00")  # Monday 2 January 10:00 at +14


def test_next_working_time_is_none_without_a_working_day_within_400_days() -> None:
    def closed_until(text: str) -> Calendar:
        return Calendar("closed", (DayOff(date(2026, 1, 1), date.fromisoformat(text), "Closed"),), weekend=frozenset())

    at = utc("2026-01-01T10:00")
    assert next_working_time([closed_until("2027-02-04")], at, "UTC") == utc("2027-02-05T10:00")
    assert next_working_time([closed_until("2027-02-05")], at, "UTC") is None
    assert next_working_time([Calendar("never", weekend=frozenset(range(7)))], at, "UTC") is None


def test_next_working_time_is_none_at_the_end_of_time() -> None:
    assert next_working_time([Calendar("bank")], utc("9998-12-31T10:00"), "UTC") is None
