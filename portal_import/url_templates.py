"""Checks and fills in login and billing URLs with `{username}` and `{column}` placeholders.

A value never changes which host is addressed, and a password never becomes part of a URL.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from urllib.parse import quote

import idna

from portal_import.accounts_csv import PASSWORD_NAMES, normalise_name

MAX_URL_LENGTH = 2000
_MAX_SHOWN_LENGTH = 120

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_START = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?")
_HOST_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_CREDENTIALS = re.compile(r"((?:[a-z][a-z0-9+.-]*://)?)(.*)@", re.IGNORECASE | re.DOTALL)


class InvalidUrlError(ValueError):
    """The URL can't be used."""


def template_fields(url: str) -> set[str]:
    """The names of the placeholders in `url`. Raises InvalidUrlError for an unpaired brace."""
    return _fields(url.strip(), "URL")


def check_url(template: str, columns: Collection[str], *, name: str = "URL") -> None:
    """Raise InvalidUrlError unless `template` is an http(s) URL that these columns can fill in.

    `columns` are the extra columns of the accounts file; `{username}` always works. `name` is what
    messages call the URL, such as "billing URL".
    """
    url = template.strip()
    _split(url, name)
    for field in sorted(_fields(url, name)):
        _check_field(field, columns, url, name)


def fill_url(template: str, username: str, extra: Mapping[str, str]) -> str:
    """`template` with every placeholder replaced by the account's value, percent-quoted whole.

    Raises InvalidUrlError for what `check_url` would refuse, and for a value of "." or "..", which
    would address another page of the portal however it is quoted.
    """
    url = template.strip()
    check_url(url, extra)

    def value(match: re.Match[str]) -> str:
        field = match[1].strip()
        text = username if field == "username" else extra[field]
        if text in (".", ".."):
            raise _invalid("URL", url, f'the value of {{{field}}} is "{text}"')
        return quote(text, safe="")

    return _PLACEHOLDER.sub(value, url)


def portal_host(url: str) -> str:
    """`host` or `host:port` of a URL or template: lower case, ASCII (UTS 46), no default port."""
    scheme, host, port = _split(url.strip(), "URL")
    return host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"


@lru_cache(maxsize=256)  # the accounts of a run share their URLs
def _split(url: str, name: str) -> tuple[str, str, int | None]:
    """Scheme, host and port. Raises InvalidUrlError."""
    if not url:
        raise InvalidUrlError(f"{name} is empty")
    if len(url) > MAX_URL_LENGTH:
        reason = f"it has {len(url):,} characters; at most {MAX_URL_LENGTH:,} are accepted"
        raise _invalid(name, url, reason)
    fixed_text = _PLACEHOLDER.sub("", url)
    if any(char.isspace() or not char.isprintable() or char == "\\" for char in fixed_text):
        raise _invalid(name, url, "blanks, backslashes and control characters are not accepted")
    start = _START.match(url)
    before_path = start[0] if start else re.split("[/?#]", url, maxsplit=1)[0]
    if "{" in before_path or "}" in before_path:
        raise _invalid(name, url, "placeholders work only after the host, not in it")
    if start is None or start[1].lower() not in _DEFAULT_PORTS:
        raise _invalid(name, url, "only http:// and https:// addresses work")
    return start[1].lower(), *_split_authority(start[2], url, name)


def _split_authority(authority: str, url: str, name: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise _invalid(name, url, "a user name or password before the host is not accepted")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise _invalid(name, url, "its host or port is not valid")
    if not match[1]:
        raise _invalid(name, url, "it has no host")
    host = _ascii_host(match[1])
    if host is None:
        raise _invalid(name, url, "its host is not valid")
    port = int(match[2]) if match[2] else None
    if port is not None and not 1 <= port <= 65535:
        raise _invalid(name, url, "its port is not between 1 and 65535")
    return host, port


def _ascii_host(host: str) -> str | None:
    """The host as it is looked up, None when it can't be one."""
    try:
        if host.startswith("["):
            address = ipaddress.IPv6Address(host[1:-1])
            return None if address.scope_id else f"[{address.compressed}]"
        if not host.isascii():
            host = idna.encode(host, uts46=True).decode("ascii")
    except ValueError:
        return None
    host = host.removesuffix(".").lower()
    is_valid = len(host) <= 253 and all(map(_HOST_LABEL.fullmatch, host.split(".")))
    return host if is_valid else None


def _fields(url: str, name: str) -> set[str]:
    fixed_text = _PLACEHOLDER.sub("", url)
    if "{" in fixed_text or "}" in fixed_text:
        raise _invalid(name, url, "every { needs its } and the other way round")
    return {field.strip() for field in _PLACEHOLDER.findall(url)}


def _check_field(field: str, columns: Collection[str], url: str, name: str) -> None:
    if normalise_name(field) in PASSWORD_NAMES:
        raise _invalid(name, url, f"{{{field}}} is not accepted: a password never goes into a URL")
    if field != "username" and field not in columns:
        known = dict.fromkeys(("username", *columns))
        accepted = ", ".join(f"{{{column}}}" for column in known)
        raise _invalid(name, url, f"unknown placeholder {{{field}}}; these work: {accepted}")


def _invalid(name: str, url: str, reason: str) -> InvalidUrlError:
    return InvalidUrlError(f'{name} "{_shown(url)}": {reason}')


def _shown(url: str) -> str:
    """The URL for a message: printable, not too long, and without credentials before an "@"."""
    match = _CREDENTIALS.match(url)
    if match and (":" in match[2] or not re.search("[/?#]", match[2])):
        url = f"{match[1]}…@{url[match.end() :]}"
    url = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in url)
    return url if len(url) <= _MAX_SHOWN_LENGTH else f"{url[:_MAX_SHOWN_LENGTH]}…"
