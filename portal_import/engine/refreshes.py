"""Where a page passes its visitor on to, by `<meta http-equiv="refresh">` or a Refresh header, as a redirect would."""

import re

from portal_import.engine.addresses import resolve
from portal_import.engine.page import Element, Page

# What comes later is for people who look on: a session that ends, figures that are brought up to date.
MAX_DELAY_SECONDS = 10
_MAY_REFRESH = re.compile(r"http-equiv\s*=\s*[\"']?\s*refresh", re.IGNORECASE)
_REFRESH = re.compile(r"\s*(\d{1,6})(?:\.\d*)?\s*[;,]?\s*(?:url\s*=\s*)?(.*)", re.IGNORECASE | re.DOTALL)


def find_refresh(page: Page, header: str = "") -> str | None:
    """The absolute URL of another page that this one passes on to; None where it stays, or only reloads itself."""
    if not header and not _MAY_REFRESH.search(page.text):
        return None  # most pages; they need not be parsed for this
    wanted = _read(header) if header else next(filter(None, map(_read_element, page.root.iter("meta"))), None)
    if wanted is None or wanted[0] > MAX_DELAY_SECONDS or not wanted[1]:
        return None
    url = resolve(page.base_url, wanted[1])
    return url if url != page.url else None


def _read_element(meta: Element) -> tuple[int, str] | None:
    if (meta.get("http-equiv") or "").strip().lower() != "refresh":
        return None
    # What is in <noscript> is meant for browsers that run no scripts, and leads to a page that says so.
    is_for_scriptless = next(meta.iterancestors("noscript"), None) is not None
    return None if is_for_scriptless else _read(meta.get("content") or "")


def _read(content: str) -> tuple[int, str] | None:
    match = _REFRESH.fullmatch(content)
    if match is None:
        return None
    reference = match[2].strip()
    if reference[:1] in ("'", '"'):
        reference = reference[1:].partition(reference[0])[0]
    return int(match[1]), reference.strip()
