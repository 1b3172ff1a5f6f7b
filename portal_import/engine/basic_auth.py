"""HTTP basic authentication (RFC 7617): reads a portal's challenge and makes the header that answers it."""

import re
from base64 import b64encode

from db.models import ResultStatus
from portal_import.engine.errors import VisitError
from portal_import.engine.page import Page
from portal_import.outcomes import AccountLogin

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_BASIC = re.compile(r"(?:^|,)\s*basic(?:\s|,|$)", re.IGNORECASE)
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)")


def asks_for_basic(page: Page) -> bool:
    """Whether the answer is a 401 that accepts basic authentication."""
    return page.status == 401 and any(_BASIC.search(_QUOTED.sub('""', value)) for value in page.challenges)


def list_schemes(page: Page) -> str:
    """The first scheme of each challenge, such as "Digest, NTLM", for a message."""
    matches = [_SCHEME.match(value) for value in page.challenges]
    return ", ".join(dict.fromkeys(match[1][:20] for match in matches if match))


def make_basic_header(login: AccountLogin) -> str:
    """The Authorization header. Raises VisitError for a username that it cannot hold."""
    if ":" in login.username:
        words = "the portal signs in by HTTP basic authentication, in which a username cannot hold a colon"
        raise VisitError(words, ResultStatus.FAILED)
    return f"Basic {b64encode(f'{login.username}:{login.password}'.encode()).decode()}"
