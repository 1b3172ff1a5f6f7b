"""URLs as pages write them: resolving, comparing, and showing them without what may be secret."""

import re
from functools import lru_cache
from urllib.parse import quote, urldefrag, urljoin, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_LENGTH = 8_000  # what the usual web servers take in a request line
_LEGAL = "%/:=&?~#+!$,;'@()*[]"
# Takes every address whole, with a query or without: one that is tried again from each "http://" within it would
# take the square of its length.
_QUERY_IN_TEXT = re.compile(r"(https?://[^\s?#;'\"<>]*+)(?:[?#;][^\s'\"<>)\]]*+)?", re.IGNORECASE)
_USERINFO_IN_TEXT = re.compile(r"(https?://)[^\s/?#@'\"<>]*@", re.IGNORECASE)
_BEFORE_QUERY = re.compile(r"^[^?#]+")  # where browsers read a backslash as a slash
_IGNORED_IN_ATTRIBUTES = re.compile(r"[\t\r\n]")


@lru_cache(maxsize=2_000)  # a page's links are looked at by several readers, and all accounts see the same ones
def resolve(base: str, reference: str) -> str | None:
    """The absolute http(s) URL that `reference` means on a page at `base`, without its fragment.

    None when it means anything else (`mailto:`, `javascript:`), is no URL or is longer than servers take.
    Escapes stay as they are, since re-quoting would break signed links; only illegal characters are quoted.
    """
    if len(reference) > MAX_LENGTH:
        return None
    try:
        reference = _BEFORE_QUERY.sub(
            lambda part: part[0].replace("\\", "/"), _IGNORED_IN_ATTRIBUTES.sub("", reference)
        )
        url = urldefrag(urljoin(base, reference.strip())).url
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or (parts.port or 1) < 1:
            return None
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
        absolute = parts._replace(
            netloc=quote(host, _LEGAL), path=quote(parts.path or "/", _LEGAL), query=quote(parts.query, _LEGAL)
        ).geturl()
    except (ValueError, UnicodeError):
        return None
    return absolute if len(absolute) <= MAX_LENGTH else None


@lru_cache(maxsize=256)
def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what must be equal for a password to be sent."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or ""), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def is_same_page(one: str, other: str) -> bool:
    """Whether both URLs are the same page, whatever their queries."""
    paths = [urlsplit(url).path.split(";")[0].rstrip("/") for url in (one, other)]
    return origin(one) == origin(other) and paths[0] == paths[1]


def show(url: str) -> str:
    """The URL for a log line: without user, query, parameters and fragment, where tokens travel."""
    return hide_queries(url)


def hide_queries(text: str) -> str:
    """`text` with every URL in it cut down as in `show`."""
    if "://" not in text:
        return text
    return _QUERY_IN_TEXT.sub(r"\1", _USERINFO_IN_TEXT.sub(r"\1", text))
