"""Reads where an HTTP answer redirects to. Follows nothing itself."""

from dataclasses import dataclass

import aiohttp

from portal_import.engine.addresses import MAX_LENGTH, resolve
from portal_import.engine.errors import VisitError, describe_status

REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Redirect:
    """Where the portal wants its visitor next, and `how` it says so, such as "(302 Found)"."""

    url: str
    how: str


def read_redirect(response: aiohttp.ClientResponse) -> Redirect:
    """The redirect of a 30x answer. Raises VisitError where it leads nowhere."""
    location = response.headers.get("Location", "")
    url = resolve(str(response.url), location) if location else None
    if url is None:
        found = "without an address" if not location else "to something that is no web address"
        if len(location) > MAX_LENGTH:
            found = f"to an address of more than {MAX_LENGTH:,} characters"
        raise VisitError(f"the portal redirected {found}", detail=describe_status(response.status))
    return Redirect(url, f"({describe_status(response.status)})")
