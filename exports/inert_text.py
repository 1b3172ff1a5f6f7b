"""Text from outside that a spreadsheet must show and never run.

Excel, LibreOffice and Google Sheets take a cell that begins with one of a few characters for a formula, and a formula
may call programs or send cells to another site. An apostrophe in front makes it a text in all of them. Numbers and
dates are typed and never come here: a negative amount stays a number.
"""

import re

# Full-width forms count as their plain ones in East Asian editions.
_STARTS = "=+\\-@＝＋－＠"
# What an import may drop before it looks at the first character; what is invisible may be among it.
_SKIPPED = r"[\s\x00-\x1f\x7f\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u2069\ufeff\"']*"
_FORMULA = re.compile(rf"{_SKIPPED}[{_STARTS}]|[\t\r\n]")
# Where half of the world's editions, whose separator is the semicolon, begin a new cell.
_SECOND_FORMULA = re.compile(rf"([;\t\r\n]{_SKIPPED})([{_STARTS}])")


def inert(text: str) -> str:
    """The text, with an apostrophe wherever a spreadsheet would see the beginning of a formula."""
    safe = _SECOND_FORMULA.sub(r"\1'\2", text)
    return f"'{safe}" if _FORMULA.match(safe) else safe
