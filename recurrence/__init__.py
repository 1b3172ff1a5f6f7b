"""Calendar maths of schedules: parse a rule, find its occurrences, put it into words.

Pure: no clock, no database, no project imports. Semantics are Debian cron's, in the rule's own time zone.
"""

from recurrence.clock_changes import ClockChange, clock_changes, effect_of
from recurrence.coming import Coming, coming, next_on_ordinary_day
from recurrence.counting import count_occurrences, last_occurrences
from recurrence.country_holidays import checked_country, countries, country_days_off, country_weekend, subdivisions
from recurrence.days_off import Calendar, DayOff, day_off_at, next_working_time
from recurrence.impact import Impact, Moved, compare_instants, summarise
from recurrence.occurrences import Occurrence, next_occurrence, occurrences
from recurrence.rules import InvalidScheduleError, Rule, parse_rule
from recurrence.words import describe
from recurrence.zones import checked_time_zone, time_zones, zone_rules_version

__all__ = [
    "Calendar",
    "ClockChange",
    "Coming",
    "DayOff",
    "Impact",
    "InvalidScheduleError",
    "Moved",
    "Occurrence",
    "Rule",
    "checked_country",
    "checked_time_zone",
    "clock_changes",
    "coming",
    "compare_instants",
    "count_occurrences",
    "countries",
    "country_days_off",
    "country_weekend",
    "day_off_at",
    "describe",
    "effect_of",
    "last_occurrences",
    "next_occurrence",
    "next_on_ordinary_day",
    "next_working_time",
    "occurrences",
    "parse_rule",
    "subdivisions",
    "summarise",
    "time_zones",
    "zone_rules_version",
]
