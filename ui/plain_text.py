"""Text from outside, shown as it is: it may not format our pages, put links on them, nor calculate in a table."""

import re

import pandas as pd

from exports.inert_text import inert

_MEANINGFUL = frozenset(r"\`*_{}[]<>()#+-.!|$~:")
# Markdown makes links of bare addresses, escaped or not, unless something stands inside them. This shows nothing.
_NOTHING = ":small[]"
_INSIDE_ADDRESSES = re.compile(r"(?<=http)(?=:)|(?<=https)(?=:)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)


def plain(text: str) -> str:
    """The text without Markdown meaning. Not for a badge, which shows what should show nothing."""
    return _NOTHING.join(_escape(part) for part in _INSIDE_ADDRESSES.split(text))


def code(text: str) -> str:
    """The text in code type; an address with a backtick stays an address, and stays inside."""
    return f"`{text.replace('`', '%60')}`"


def inert_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame for a table on a page, with every text inert.

    People copy from tables into spreadsheets, and a table's own toolbar writes what it shows to a CSV file.
    """
    texts = [name for name in frame.columns if pd.api.types.is_string_dtype(frame[name]) or frame[name].dtype == object]
    return frame.assign(**{name: frame[name].map(lambda v: inert(v) if isinstance(v, str) else v) for name in texts})


def _escape(text: str) -> str:
    return "".join(f"\\{c}" if c in _MEANINGFUL else c for c in text)
