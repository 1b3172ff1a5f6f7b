"""Text from outside, shown as it is: portals, files and people may not format our pages."""

_MEANINGFUL = frozenset(r"\`*_{}[]<>()#+-.!|$~:")


def plain(text: str) -> str:
    """The text without Markdown meaning."""
    return "".join(f"\\{c}" if c in _MEANINGFUL else c for c in text)


def code(text: str) -> str:
    """The text in code type; an address with a backtick stays an address, and stays inside."""
    return f"`{text.replace('`', '%60')}`"
