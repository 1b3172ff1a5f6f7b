"""What `parse_rule` accepts, and the message for everything that it does not."""

import pytest

from recurrence import InvalidScheduleError, Rule, parse_rule

DAILY = {"hour": 2, "minute": 0}
WEEKLY = {"day_of_week": 1, "hour": 9, "minute": 0}
MONTHLY = {"day": 1, "hour": 6, "minute": 0}


def cron(expression: str) -> dict[str, object]:
    return {"cron_expression": expression}


@pytest.mark.parametrize(
    ("schedule_type", "config", "expression"),
    [
        ("daily", DAILY, "0 2 * * *"),
        ("weekly", WEEKLY, "0 9 * * 1"),
        ("weekly", WEEKLY | {"day_of_week": 7}, "0 9 * * 0"),
        ("weekly", WEEKLY | {"day_of_week": 0}, "0 9 * * 0"),
        ("weekly", WEEKLY | {"day_of_week": [5, 1, 3, 1]}, "0 9 * * 1,3,5"),
        ("weekly", WEEKLY | {"day_of_week": [0, 7]}, "0 9 * * 0"),
        ("monthly", MONTHLY, "0 6 1 * *"),
        ("monthly", MONTHLY | {"day": 28}, "0 6 28 * *"),
        ("monthly", MONTHLY | {"day": 31}, "0 6 ~31 * *"),
        ("monthly", MONTHLY | {"day": "last"}, "0 6 L * *"),
        ("custom", cron("0 12 * * 1,3,5"), "0 12 * * 1,3,5"),
        ("custom", cron("  0\t12 *   * MON,wed,Fri \n"), "0 12 * * 1,3,5"),
        ("custom", cron("05 08 * JAN-mar/2 *"), "5 8 * 1-3/2 *"),
        ("custom", cron("5-5 1 * * 7"), "5 1 * * 7"),
        ("custom", cron("0 0 l * *"), "0 0 L * *"),
        ("custom", cron("0 0 lw * *"), "0 0 LW * *"),
        ("custom", cron("0 0 15,Lw * *"), "0 0 15,LW * *"),
        ("custom", cron("0 0 05w * *"), "0 0 5W * *"),
        ("custom", cron("0 0 * * fril"), "0 0 * * 5L"),
        ("custom", cron("0 0 * * 7#2"), "0 0 * * 0#2"),
        ("custom", cron("0 0 * * mon#1,5"), "0 0 * * 1#1,5"),
        ("custom", cron("0 0 * * SUN-sat"), "0 0 * * 0-6"),
        ("custom", cron("0 0 * * Fri-7"), "0 0 * * 5-7"),
        ("custom", cron("0 0 * * 5L,FRIL,sun#1"), "0 0 * * 5L,5L,0#1"),
        ("custom", cron("00005 0 * * *"), "5 0 * * *"),
        ("custom", cron("*/10000 *,5 * * *"), "*/10000 *,5 * * *"),
        ("custom", cron("@Hourly"), "0 * * * *"),
        ("custom", cron("@daily"), "0 0 * * *"),
        ("custom", cron("@midnight"), "0 0 * * *"),
        ("custom", cron("@weekly"), "0 0 * * 0"),
        ("custom", cron("@monthly"), "0 0 1 * *"),
        ("custom", cron("@yearly"), "0 0 1 1 *"),
        ("custom", cron(" @annually "), "0 0 1 1 *"),
    ],
)
def test_rule_is_made_canonical(schedule_type: str, config: dict[str, object], expression: str) -> None:
    assert parse_rule(schedule_type, config, "Europe/London") == Rule(schedule_type, expression, "Europe/London")


def test_rule_is_a_cache_key() -> None:
    one = parse_rule("custom", cron("0 9 * * MON"), "UTC")
    other = parse_rule("custom", cron(" 0  9 * * 1"), "UTC")
    assert {one: "seen"}[other] == "seen"


DAYS_ALLOWED = "0-7 (0 and 7 = Sunday) or a list of them"


@pytest.mark.parametrize(
    ("schedule_type", "config", "message"),
    [
        ("hourly", DAILY, 'unknown schedule_type "hourly": allowed daily, weekly, monthly, custom'),
        (None, DAILY, 'unknown schedule_type "null": allowed daily, weekly, monthly, custom'),
        (["daily"], DAILY, 'unknown schedule_type "[\\"daily\\"]": allowed daily, weekly, monthly, custom'),
        ("daily", {}, "schedule_config is empty: daily needs hour, minute"),
        ("daily", [], 'schedule_config "[]" is not an object: daily needs hour, minute'),
        ("daily", None, 'schedule_config "null" is not an object: daily needs hour, minute'),
        ("daily", "x", 'schedule_config "x" is not an object: daily needs hour, minute'),
        ("daily", {"hour": 2}, "minute is missing; allowed 0-59"),
        ("daily", {"minute": 2}, "hour is missing; allowed 0-23"),
        (
            "daily",
            DAILY | {"minutes": 5},
            'unknown key "minutes" in schedule_config: daily allows hour, minute',
        ),
        ("daily", DAILY | {5: 5}, 'unknown key "5" in schedule_config: daily allows hour, minute'),
        ("daily", DAILY | {"hour": 25}, 'hour "25": allowed 0-23'),
        ("daily", DAILY | {"hour": -1}, 'hour "-1": allowed 0-23'),
        ("daily", DAILY | {"minute": 60}, 'minute "60": allowed 0-59'),
        ("daily", DAILY | {"hour": True}, 'hour "true" is a boolean, not a whole number: allowed 0-23'),
        ("daily", DAILY | {"hour": "2"}, 'hour "2" is text, not a whole number: allowed 0-23'),
        ("daily", DAILY | {"hour": 2.0}, 'hour "2.0" is a fraction, not a whole number: allowed 0-23'),
        ("daily", DAILY | {"minute": None}, 'minute "null" is nothing, not a whole number: allowed 0-59'),
        ("weekly", DAILY, f"day_of_week is missing; allowed {DAYS_ALLOWED}"),
        ("weekly", WEEKLY | {"day_of_week": []}, f"day_of_week is an empty list; allowed {DAYS_ALLOWED}"),
        ("weekly", WEEKLY | {"day_of_week": 8}, f'day_of_week "8": allowed {DAYS_ALLOWED}'),
        ("weekly", WEEKLY | {"day_of_week": [1, 9]}, f'day_of_week "9": allowed {DAYS_ALLOWED}'),
        (
            "weekly",
            WEEKLY | {"day_of_week": [[1]]},
            f'day_of_week "[1]" is a list, not a whole number: allowed {DAYS_ALLOWED}',
        ),
        (
            "weekly",
            WEEKLY | {"day_of_week": "mon"},
            f'day_of_week "mon" is text, not a whole number: allowed {DAYS_ALLOWED}',
        ),
        ("monthly", MONTHLY | {"day": 0}, 'day "0": allowed 1-31 or "last"'),
        ("monthly", MONTHLY | {"day": 32}, 'day "32": allowed 1-31 or "last"'),
        ("monthly", MONTHLY | {"day": "first"}, 'day "first" is text, not a whole number: allowed 1-31 or "last"'),
        ("custom", {}, "schedule_config is empty: custom needs cron_expression"),
        ("custom", {"cron_expression": 5}, 'cron_expression "5" is not text: allowed 5 fields as in crontab(5)'),
    ],
)
def test_rule_refuses_config(schedule_type: str, config: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        parse_rule(schedule_type, config, "UTC")
    assert str(caught.value) == message


MINUTES = "allowed 0-59"
DATES = "allowed 1-31, L (the last day), 15W (the weekday nearest day 15) or LW (the last weekday)"
WEEKDAYS = "allowed 0-7 (0 and 7 = Sunday), SUN-SAT, 5L (the last Friday) or 1#2 (the second Monday)"
FIVE = "allowed 5 (minute, hour, day of month, month, day of week)"

TORN = 'no blanks within a field, write "1,3,5" or "9-17/2"'
TOO_MANY = "seconds and years are not supported"
RANDOM = "is a random value, which is not supported"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", 'cron_expression is empty: write 5 fields, such as "0 12 * * 1,3,5"'),
        ("   ", 'cron_expression is empty: write 5 fields, such as "0 12 * * 1,3,5"'),
        ("*", f'cron_expression "*" has 1 field: {FIVE}'),
        ("0 12 * *", f'cron_expression "0 12 * *" has 4 fields: {FIVE}'),
        ("0 0 12 * * 1", f'cron_expression "0 0 12 * * 1" has 6 fields: {TOO_MANY}; {FIVE}'),
        ("0 0 12 * * 1 2030", f'cron_expression "0 0 12 * * 1 2030" has 7 fields: {TOO_MANY}; {FIVE}'),
        ("0 12 * * 1, 3", f'cron_expression "0 12 * * 1, 3" has 6 fields: {TORN}; {FIVE}'),
        ("0 12 * * mon - fri", f'cron_expression "0 12 * * mon - fri" has 7 fields: {TORN}; {FIVE}'),
        ("*/ 5 * * * *", f'cron_expression "*/ 5 * * * *" has 6 fields: {TORN}; {FIVE}'),
        (
            "@reboot",
            'cron_expression "@reboot": a start of the machine is not a time; '
            "allowed @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually",
        ),
        (
            "@every 5m",
            'cron_expression "@every 5m": allowed @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually',
        ),
        ("0 12 * * *" + " " * 500, "cron_expression has 510 characters: allowed up to 500"),
        ("61 0 * * *", f'minute "61": {MINUTES}'),
        ("0,61 0 * * *", f'minute "0,61": found "61"; {MINUTES}'),
        ("0 24 * * *", 'hour "24": allowed 0-23'),
        ("0 0 0 * *", f'day of month "0": {DATES}'),
        ("0 0 32 * *", f'day of month "32": {DATES}'),
        ("0 0 * 13 *", 'month "13": allowed 1-12 or JAN-DEC'),
        ("0 0 * MON *", 'month "MON": allowed 1-12 or JAN-DEC'),
        ("0 0 * * 8", f'day of week "8": {WEEKDAYS}'),
        ("0 0 * * JAN", f'day of week "JAN": {WEEKDAYS}'),
        ("0 0 * * 5-1", f'day of week "5-1": the range runs backwards, write "5-7,1"; {WEEKDAYS}'),
        ("0 0 * * fri-sun", f'day of week "fri-sun": the range runs backwards, write "5-7"; {WEEKDAYS}'),
        ("0 0 * * sat-TUE", f'day of week "sat-TUE": the range runs backwards, write "6-7,1-2"; {WEEKDAYS}'),
        ("0 22-6 * * *", 'hour "22-6": the range runs backwards, write "22-23,0-6"; allowed 0-23'),
        ("0 0 * NOV-2 *", 'month "NOV-2": the range runs backwards, write "11-12,1-2"; allowed 1-12 or JAN-DEC'),
        ("*/0 * * * *", f'minute "*/0": a step is at least 1; {MINUTES}'),
        ("5/15 * * * *", f'minute "5/15": a step needs a range, such as "5-59/15"; {MINUTES}'),
        ("1-70 * * * *", f'minute "1-70": found "70"; {MINUTES}'),
        ("5-64/30 * * * *", f'minute "5-64/30": found "64"; {MINUTES}'),
        ("*-5 * * * *", f'minute "*-5": "*-5" is not a value, a range, * or a step; {MINUTES}'),
        ("1,,2 * * * *", f'minute "1,,2": a value is missing beside a comma; {MINUTES}'),
        ("-1 * * * *", f'minute "-1": "-1" is not a value, a range, * or a step; {MINUTES}'),
        ("1.5 * * * *", f'minute "1.5": "1.5" is not a value, a range, * or a step; {MINUTES}'),
        ("H * * * *", f'minute "H": "H" {RANDOM}; {MINUTES}'),
        ("H/15 * * * *", f'minute "H/15": "H" {RANDOM}; {MINUTES}'),
        ("R(0-9) * * * *", f'minute "R(0-9)": "R" {RANDOM}; {MINUTES}'),
        ("0 H(0-7) * * *", f'hour "H(0-7)": "H" {RANDOM}; allowed 0-23'),
        ("R R * * *", f'minute "R": "R" {RANDOM}; {MINUTES}'),
        ("0 0 ? * 1", f'day of month "?": for any value write "*"; {DATES}'),
        ("0 0 15W,20 * *", f'day of month "15W,20": W goes with one day, not with a list; {DATES}'),
        ("0 0 32W * *", f'day of month "32W": found "32"; {DATES}'),
        ("0 0 0W * *", f'day of month "0W": found "0"; {DATES}'),
        ("0 0 W * *", f'day of month "W": "W" is not a value, a range, * or a step; {DATES}'),
        ("0 0 1-15W * *", f'day of month "1-15W": "1-15W" is not a value, a range, * or a step; {DATES}'),
        ("0 0 LW/2 * *", f'day of month "LW/2": "LW/2" is not a value, a range, * or a step; {DATES}'),
        ("0 0 * * 1W", f'day of week "1W": "1W" is not a value, a range, * or a step; {WEEKDAYS}'),
        ("0 25 * * *", 'hour "25": allowed 0-23'),
        ("0 0 ~30 * *", f'day of month "~30": "~" {RANDOM}; {DATES}'),
        ("0~29/5 * * * *", f'minute "0~29/5": "~" {RANDOM}; {MINUTES}'),
        ("0 0 * * Monday", f'day of week "Monday": "Monday" is not a value, a range, * or a step; {WEEKDAYS}'),
        ("L 0 * * *", f'minute "L": "L" is not a value, a range, * or a step; {MINUTES}'),
        ("0 0 * * L", f'day of week "L": "L" is not a value, a range, * or a step; {WEEKDAYS}'),
        ("0 0 * * L5", f'day of week "L5": "L5" is not a value, a range, * or a step; {WEEKDAYS}'),
        (
            "0 0 * * 1#6",
            f'day of week "1#6": a month has at most five of a weekday, after # comes 1-5; {WEEKDAYS}',
        ),
        ("0 0 * * 9L", f'day of week "9L": found "9"; {WEEKDAYS}'),
        ("0\n0 * * * *", f'minute "0\\n0": "0\\n0" is not a value, a range, * or a step; {MINUTES}'),
        ("0 ٣ * * *", 'hour "٣": "٣" is not a value, a range, * or a step; allowed 0-23'),
        ("0 0 31 2 *", 'never fires: "0 0 31 2 *" names days that none of its months has'),
        ("0 0 30,31 FEB *", 'never fires: "0 0 30,31 2 *" names days that none of its months has'),
        ("0 0 31 2,4,6,9,11 *", 'never fires: "0 0 31 2,4,6,9,11 *" names days that none of its months has'),
        ("0 0 */20 * 1#4", 'never fires: "0 0 */20 * 1#4" names days that none of its months has'),
    ],
)
def test_cron_expression_refused(expression: str, message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        parse_rule("custom", cron(expression), "UTC")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "expression", ["0 0 29 2 *", "0 0 29 2 0#5", "0 0 31 2 1", "0 0 31 1,2 *", "*/90 */99 */99 * *"]
)
def test_rare_cron_expression_accepted(expression: str) -> None:
    parse_rule("custom", cron(expression), "UTC")


@pytest.mark.parametrize(
    ("time_zone", "message"),
    [
        ("Europe/Londn", 'unknown time zone "Europe/Londn"; did you mean "Europe/London"?'),
        ("europe/london", 'unknown time zone "europe/london"; did you mean "Europe/London"?'),
        ("America/New York", 'unknown time zone "America/New York"; did you mean "America/New_York"?'),
        ("", 'time zone is empty: allowed an IANA name, such as "Europe/London"'),
        (None, 'time zone "null" is not text: allowed an IANA name, such as "Europe/London"'),
        ("../etc/passwd", 'unknown time zone "../etc/passwd"; allowed an IANA name, such as "Europe/London"'),
        ("localtime", 'unknown time zone "localtime"; allowed an IANA name, such as "Europe/London"'),
        ("\ud800", 'unknown time zone "\\\\ud800"; allowed an IANA name, such as "Europe/London"'),
    ],
)
def test_time_zone_refused(time_zone: str, message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        parse_rule("daily", DAILY, time_zone)
    assert str(caught.value) == message


def test_time_zone_alias_accepted() -> None:
    assert parse_rule("daily", DAILY, "US/Eastern").time_zone == "US/Eastern"
