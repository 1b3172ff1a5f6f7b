"""Text from outside, shown as it is: portals, files and people may not format our pages, nor put links on them."""

import re

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


def _escape(text: str) -> str:
    return "".join(f"\\{c}" if c in _MEANINGFUL else c for c in text)
