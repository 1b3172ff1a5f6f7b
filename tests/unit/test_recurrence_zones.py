"""The names offered in a time zone picker."""

from recurrence import parse_rule, time_zones


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
