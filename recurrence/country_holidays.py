"""Public holidays and weekends of countries, as the `holidays` package has them.

The package is imported when a country is first asked for, so that a scheduler without such calendars never
pays for it. Names are English where the package offers it. No clock, no network: the tables are in the package.
"""

import re
from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from functools import cache, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from recurrence.errors import InvalidScheduleError, quoted

if TYPE_CHECKING:
    from holidays import HolidayBase

ENGLISH = "en_US"
MAX_CACHED_YEARS = 1024  # a year of a country takes about 5 kB
MAX_CODE_LENGTH = 3  # an alias this short is another code, such as "Bgld" is not and "KTN" is
HINT = 'allowed a code of ISO 3166, such as "GB"'
SUBDIVISIONS_IN_MESSAGE = 12

# The package has names only as Python identifiers; these read wrong when merely split into words.
NAMES = {
    "AX": "Åland Islands",
    "BL": "Saint Barthélemy",
    "BQ": "Bonaire, Sint Eustatius and Saba",
    "CD": "Democratic Republic of the Congo",
    "CW": "Curaçao",
    "GW": "Guinea-Bissau",
    "HM": "Heard Island and McDonald Islands",
    "RE": "Réunion",
    "SH": "Saint Helena, Ascension and Tristan da Cunha",
    "ST": "São Tomé and Príncipe",
    "SY": "Syria",
    "TL": "Timor-Leste",
}
SMALL_WORDS = re.compile(r"\b(And|Of|The)\b")
WORD_STARTS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def countries() -> dict[str, str]:
    """The English name of every known country by its ISO 3166 alpha-2 code, sorted by name."""
    return dict(_countries())


def subdivisions(country: str) -> dict[str, str]:
    """The names of a country's states, provinces or regions with holidays of their own, sorted by name.

    Names are in the country's language where the package has no other; a code without a name is its own.
    Raises InvalidScheduleError when the country is unknown.
    """
    return dict(_subdivisions(checked_country(country, None)[0]))


def checked_country(country: object, subdivision: object) -> tuple[str, str | None]:
    """Both as given if they are known; `subdivision` None is the whole country. Otherwise InvalidScheduleError."""
    if not isinstance(country, str):
        raise InvalidScheduleError(f"country {quoted(country)} is not text: {HINT}")
    if not country:
        raise InvalidScheduleError(f"country is empty: {HINT}")
    if country not in _countries():
        near = _nearest_country(country)
        raise InvalidScheduleError(f"unknown country {quoted(country)}; {near or HINT}")
    if subdivision is None:
        return country, None
    if not isinstance(subdivision, str) or subdivision not in _subdivisions(country):
        raise InvalidScheduleError(
            f"unknown subdivision {quoted(subdivision)} of {_countries()[country]}: {_allowed_subdivisions(country)}"
        )
    return country, subdivision


@lru_cache(maxsize=MAX_CACHED_YEARS)
def country_days_off(country: str, subdivision: str | None, year: int) -> Mapping[date, str]:
    """The public holidays of one year, those observed on another day included; read-only.

    Empty for years that the package does not cover. Raises InvalidScheduleError when the place is unknown.
    """
    checked_country(country, subdivision)
    from holidays import country_holidays
    from holidays.constants import HOLIDAY_NAME_DELIMITER

    table = _table(country)
    if not table.start_year <= year <= table.end_year:
        return MappingProxyType({})
    # Without a language the package would ask the environment for one.
    language = ENGLISH if ENGLISH in table.supported_languages else table.default_language
    found = country_holidays(country, subdiv=subdivision, years=year, expand=False, language=language)
    return MappingProxyType(
        {day: _listed(found[day].split(HOLIDAY_NAME_DELIMITER)) for day in sorted(found) if day.year == year}
    )


@cache
def country_weekend(country: str) -> frozenset[int]:
    """Today's weekend days, 0 = Sunday as in cron. Raises InvalidScheduleError when the country is unknown."""
    checked_country(country, None)
    return frozenset((weekday + 1) % 7 for weekday in _table(country).weekend)


@cache
def _countries() -> Mapping[str, str]:
    from holidays.registry import COUNTRIES

    names = {code: NAMES.get(code) or _words(identifier) for identifier, code, *_ in COUNTRIES.values()}
    return MappingProxyType(dict(sorted(names.items(), key=lambda item: _sort_key(item[1]))))


@cache
def _subdivisions(country: str) -> Mapping[str, str]:
    table = _table(country)
    aliases: dict[str, list[str]] = {code: [] for code in table.subdivisions}
    for alias, code in table.subdivisions_aliases.items():
        aliases[code].append(alias)
    names = {
        code: next((name for name in found if len(name) > MAX_CODE_LENGTH), code) for code, found in aliases.items()
    }
    return MappingProxyType(dict(sorted(names.items(), key=lambda item: _sort_key(item[1]))))


def _table(country: str) -> "type[HolidayBase]":
    import holidays

    table: type[HolidayBase] = getattr(holidays, country)  # stands for the class and loads it when first asked
    return table


def _words(identifier: str) -> str:
    return SMALL_WORDS.sub(lambda match: match[0].lower(), WORD_STARTS.sub(" ", identifier))


def _sort_key(name: str) -> str:
    """Å beside A, as readers of English look for it."""
    return name.casefold().translate(str.maketrans("åãéíôç", "aaeioc"))


def _nearest_country(text: str) -> str:
    from holidays.registry import COUNTRIES

    aliases = {alias.casefold(): code for _, code, *others in COUNTRIES.values() for alias in (code, *others)}
    by_name = {name.casefold(): code for code, name in _countries().items()}
    wanted = text[:60].strip().casefold()
    code = aliases.get(wanted)
    if code is None and len(wanted) > MAX_CODE_LENGTH:
        near = get_close_matches(wanted, by_name, n=1)
        code = by_name[near[0]] if near else None
    return f'did you mean "{code}" ({_countries()[code]})?' if code else ""


def _allowed_subdivisions(country: str) -> str:
    known = _subdivisions(country)
    if not known:
        return "it has none, leave it out"
    shown = [f'"{code}"' + (f" ({name})" if name != code else "") for code, name in known.items()]
    more = ", ..." if len(shown) > SUBDIVISIONS_IN_MESSAGE else ""
    return f"allowed {', '.join(shown[:SUBDIVISIONS_IN_MESSAGE])}{more}"


def _listed(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
