"""Finds the way from one page of bills to the next. Follows nothing itself."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from portal_import.engine.addresses import is_same_page, origin, resolve
from portal_import.engine.page import Element, Page, is_hidden, select, text_of

_NEXT_WORDS = frozenset(
    {
        *("next", "next page", "older", "older bills", "older invoices"),
        *("weiter", "nächste", "nächste seite", "ältere", "ältere rechnungen"),
        *("suivant", "suivante", "page suivante", "siguiente", "página siguiente"),
        *("avanti", "successiva", "volgende", "następna"),
    }
)
_ARROWS = ("›", ">", "→", "❯", "▶")
_LAST_ARROWS = ("»", ">>", "≫")  # next where there is no single arrow, else the last page
_WORDS, _ARROW, _NUMBER, _LAST_ARROW = range(4)
_PAGER = re.compile(r"pag(er|in|es\b)|seiten|blätter", re.IGNORECASE)
_DISABLED = re.compile(r"\bdisabled\b|\binactive\b", re.IGNORECASE)
_MAX_LABEL = 40
_MAX_ANCHORS = 20_000


@dataclass(frozen=True)
class NextPage:
    """Where the list of bills goes on; without a `url` only a script leads there."""

    url: str | None


def find_next_page(page: Page, next_selector: str | None, number: int) -> NextPage | None:
    """The page after this one, which is page `number`; only on the page's own site. None after the last.

    Raises VisitError for a selector that isn't valid CSS.
    """
    if next_selector:
        picked = next((anchor for element in select(page, next_selector) for anchor in _anchors_in(element)), None)
        return _lead_to(page, picked) if picked is not None else None
    best: tuple[int, NextPage] | None = None
    for anchor in _short_anchors(page):
        if "next" in (anchor.get("rel") or "").lower().split():
            found = _lead_to(page, anchor)
            if found:
                return found
        rank = _rank(anchor, number)
        if rank is not None and (best is None or rank < best[0]) and _is_in_pager(page, anchor):
            found = _lead_to(page, anchor)
            best = (rank, found) if found else best
    return best[1] if best else None


def _short_anchors(page: Page) -> Iterator[Element]:
    for count, anchor in enumerate(page.root.iter("a", "link")):
        if count > _MAX_ANCHORS:
            return
        if len(anchor) <= 3 and len(anchor.text or "") <= 2 * _MAX_LABEL:
            yield anchor


def _anchors_in(element: Element) -> Iterator[Element]:
    return iter((element,)) if element.get("href") else element.iter("a")


def _rank(anchor: Element, number: int) -> int | None:
    """How surely the anchor means the next page: the lower, the surer."""
    if anchor.tag != "a":
        return None
    label = text_of(anchor)[:_MAX_LABEL]
    words = label.strip(" .…›»→>❯▶").casefold()
    hint = (anchor.get("aria-label") or anchor.get("title") or "").strip().casefold()
    if words in _NEXT_WORDS or (not words and hint in _NEXT_WORDS):
        return _WORDS
    if label in _ARROWS:
        return _ARROW
    if label == str(number + 1):
        return _NUMBER
    return _LAST_ARROW if label in _LAST_ARROWS else None


def _is_in_pager(page: Page, anchor: Element) -> bool:
    """Whether the anchor leads to another view of this page, or stands where page numbers do."""
    url = resolve(page.base_url, anchor.get("href") or "")
    if url and is_same_page(url, page.url) and urlsplit(url).query:
        return True
    return any(
        _PAGER.search(f"{outer.get('class') or ''} {outer.get('id') or ''} {outer.get('aria-label') or ''}")
        for outer in (anchor, *_nearest(anchor, 4))
    )


def _nearest(element: Element, count: int) -> Iterator[Element]:
    for number, outer in enumerate(element.iterancestors()):
        if number == count or outer.tag in ("body", "main"):
            return
        yield outer


def _lead_to(page: Page, anchor: Element) -> NextPage | None:
    if _is_disabled(anchor) or is_hidden(anchor):
        return None
    href = (anchor.get("href") or "").strip()
    if href.lower().startswith("javascript:"):
        return NextPage(None) if _does_something(href) else None
    url = resolve(page.base_url, href) if href and not href.startswith("#") else None
    if url is None or url == page.url or origin(url) != origin(page.url):
        return None
    return NextPage(url)


def _does_something(script: str) -> bool:
    return script[len("javascript:") :].strip(" ;") not in ("", "void(0)", "void 0")


def _is_disabled(anchor: Element) -> bool:
    outer = anchor.getparent()
    names = " ".join(element.get("class") or "" for element in (anchor, outer) if element is not None)
    return anchor.get("aria-disabled") == "true" or bool(_DISABLED.search(names))
