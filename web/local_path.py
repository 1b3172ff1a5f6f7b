"""Where a browser may be sent after signing in: only to a path of this site."""

from urllib.parse import urlsplit

MAX_LENGTH = 2000
HOME = "/"
_NEVER = ("/account/login", "/account/logout")


def local_path(target: str | None) -> str:
    """The target if it is a path of this site, query included, or `/`.

    Refused are other hosts in every spelling that browsers read as one: `//host`, `/\\host`, `https:…`, and
    control characters, which browsers drop (WHATWG URL, "remove all ASCII tab or newline").
    """
    if not target or len(target) > MAX_LENGTH or not target.startswith("/"):
        return HOME
    if target.startswith("//") or "\\" in target or any(ord(c) <= 0x20 or ord(c) == 0x7F for c in target):
        return HOME
    try:
        parts = urlsplit(target)
    except ValueError:
        return HOME
    if parts.scheme or parts.netloc or parts.path.startswith(_NEVER):
        return HOME
    return target
