"""The grammar of cron expressions, as Debian's crontab(5) has it, plus `L`, `LW`, `15W`, `#` and `5L`.

Turns text into a canonical expression or raises; knows nothing of dates. Canonical: five fields, single
blanks, names as numbers, aliases spelled out, `5-5` as `5`. A field's leading `*` is kept as written,
because Debian cron reads meaning into it.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from recurrence.errors import InvalidScheduleError, quoted

MAX_EXPRESSION_LENGTH = 500  # every field written out value by value stays below this

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    low: int
    high: int
    allowed: str
    names: tuple[str, ...] = ()


MINUTE = Field("minute", 0, 59, "0-59")
HOUR = Field("hour", 0, 23, "0-23")
DAY = Field("day of month", 1, 31, "1-31, L (the last day), 15W (the weekday nearest day 15) or LW (the last weekday)")
MONTH = Field("month", 1, 12, "1-12 or JAN-DEC", MONTHS)
WEEKDAY = Field(
    "day of week",
    0,
    7,
    "0-7 (0 and 7 = Sunday), SUN-SAT, 5L (the last Friday) or 1#2 (the second Monday)",
    WEEKDAYS,
)
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)

_VALUE = r"[0-9]+|[a-z]{3}"
_TERM = re.compile(rf"(?:\*|(?P<low>{_VALUE})(?:-(?P<high>{_VALUE}))?)(?P<slash>/(?P<step>[0-9]+))?")
_NEAREST_WEEKDAY = re.compile(r"(?P<day>[0-9]+)w")
_NTH_WEEKDAY = re.compile(rf"(?P<weekday>{_VALUE})(?:#(?P<nth>[0-9]+)|(?P<last>l))")

# What other schedulers have and this one does not, told by name so that it is not taken for a slip.
_RANDOM = re.compile(r"(?P<sign>[hr])(?:\(.*\))?(?:/.*)?|[0-9]*(?P<tilde>~)[0-9]*(?:/.*)?")
_WITH_SECONDS_OR_YEARS = (6, 7)
_AT_STARTUP = "@reboot"
_TORN = re.compile(r",.*|/[0-9]+|.*[,/-]")  # a token that a blank has cut off: "1," of "1, 3" and "mon" "-" "fri"


@lru_cache(maxsize=4096)
def canonical_expression(text: str) -> str:
    """The canonical form of a cron expression written by a person.

    Raises InvalidScheduleError naming the field and the token. Refuses what Debian cron refuses: seconds
    and years, reversed ranges, step 0, `5/15` (a step without a range); also `@reboot`, which is no time.
    """
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise InvalidScheduleError(f"cron_expression has {len(text)} characters: allowed up to {MAX_EXPRESSION_LENGTH}")
    stripped = text.strip()
    if not stripped:
        raise InvalidScheduleError('cron_expression is empty: write 5 fields, such as "0 12 * * 1,3,5"')
    if stripped.startswith("@"):
        if stripped.lower() not in ALIASES:
            why = "a start of the machine is not a time; " if stripped.lower() == _AT_STARTUP else ""
            raise InvalidScheduleError(f"cron_expression {quoted(stripped)}: {why}allowed {', '.join(ALIASES)}")
        return ALIASES[stripped.lower()]
    tokens = re.split(r"[ \t]+", stripped)
    if len(tokens) != len(FIELDS):
        count = "1 field" if len(tokens) == 1 else f"{len(tokens)} fields"
        why = ""
        if any(map(_TORN.fullmatch, tokens)):
            why = 'no blanks within a field, write "1,3,5" or "9-17/2"; '
        elif len(tokens) in _WITH_SECONDS_OR_YEARS:
            why = "seconds and years are not supported; "
        raise InvalidScheduleError(
            f"cron_expression {quoted(stripped)} has {count}: {why}allowed 5 (minute, hour, day of month, "
            "month, day of week)"
        )
    return " ".join(_canonical_field(field, token) for field, token in zip(FIELDS, tokens, strict=True))


def _canonical_field(field: Field, token: str) -> str:
    return ",".join(_canonical_term(field, token, term) for term in token.split(","))


def _canonical_term(field: Field, token: str, written: str) -> str:
    term = written.lower()
    if field is DAY and term in ("l", "lw"):
        return term.upper()
    if field is DAY and (nearest_weekday := _NEAREST_WEEKDAY.fullmatch(term)):
        if "," in token:
            raise _refused(DAY, token, "W goes with one day, not with a list")
        return f"{_number(DAY, token, nearest_weekday['day'])}W"
    if field is WEEKDAY and (nth_weekday := _NTH_WEEKDAY.fullmatch(term)):
        return _canonical_nth_weekday(token, nth_weekday)
    match = _TERM.fullmatch(term)
    if match is None:
        raise _refused(field, token, _why_no_term(written))
    if match["slash"] and int(match["step"]) == 0:
        raise _refused(field, token, "a step is at least 1")
    step = match["slash"] or ""
    if match["low"] is None:
        return "*" + step
    low = _number(field, token, match["low"])
    if match["high"] is None:
        if step:
            raise _refused(field, token, f'a step needs a range, such as "{low}-{field.high}{step}"')
        return str(low)
    high = _number(field, token, match["high"])
    if low > high:
        raise _refused(field, token, f"the range runs backwards, write {quoted(_around(field, low, high))}")
    return str(low) if low == high else f"{low}-{high}{step}"


def _why_no_term(written: str) -> str:
    if not written:
        return "a value is missing beside a comma"
    if written == "?":
        return 'for any value write "*"'
    if random := _RANDOM.fullmatch(written.lower()):
        return f"{quoted((random['sign'] or '~').upper())} is a random value, which is not supported"
    return f"{quoted(written)} is not a value, a range, * or a step"


def _around(field: Field, low: int, high: int) -> str:
    """What a range from a later to an earlier value means: on to the last value, and from the first."""
    if field is WEEKDAY:
        return f"{low}-7" + (f",1-{high}" if high > 1 else ",1" if high else "")
    return f"{low}-{field.high},{field.low}-{high}"


def _canonical_nth_weekday(token: str, match: re.Match[str]) -> str:
    weekday = _number(WEEKDAY, token, match["weekday"]) % 7
    if match["last"]:
        return f"{weekday}L"
    if not 1 <= int(match["nth"]) <= 5:
        raise _refused(WEEKDAY, token, "a month has at most five of a weekday, after # comes 1-5")
    return f"{weekday}#{int(match['nth'])}"


def _number(field: Field, token: str, value: str) -> int:
    if value in field.names:
        return field.names.index(value) + field.low
    if not value.isdigit() or not field.low <= int(value) <= field.high:
        raise _refused(field, token, "" if value == token.lower() else f"found {quoted(value)}")
    return int(value)


def _refused(field: Field, token: str, why: str) -> InvalidScheduleError:
    reason = f"{why}; " if why else ""
    return InvalidScheduleError(f"{field.name} {quoted(token)}: {reason}allowed {field.allowed}")
