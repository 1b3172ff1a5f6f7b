"""Arrays as one literal. The driver writes an element at a time, and the server parses each: five times the cost.

Only for what is written by the hundred; SQL casts the literal: `CAST(:ids AS text[])`.
"""

from collections.abc import Iterable


def text_array(values: Iterable[str]) -> str:
    """The literal of a `text[]`, whatever the texts hold (Postgres manual, 8.15.6)."""
    return "{" + ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "}"


def int_array(values: Iterable[int | None]) -> str:
    """The literal of an `int[]` or `bigint[]`."""
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


def bool_array(values: Iterable[bool]) -> str:
    """The literal of a `boolean[]`."""
    return "{" + ",".join("t" if value else "f" for value in values) + "}"
