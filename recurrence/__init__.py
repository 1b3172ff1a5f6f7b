"""Calendar maths of schedules: parse a rule, find its occurrences, put it into words.

Pure: no clock, no database, no project imports. Semantics are Debian cron's, in the rule's own time zone.
"""

from recurrence.occurrences import Occurrence, next_occurrence, occurrences
from recurrence.rules import InvalidScheduleError, Rule, parse_rule
from recurrence.words import describe
from recurrence.zones import time_zones

__all__ = [
    "InvalidScheduleError",
    "Occurrence",
    "Rule",
    "describe",
    "next_occurrence",
    "occurrences",
    "parse_rule",
    "time_zones",
]
