"""Refuses markup that would take more memory or time than any page of bills does, before a tree is built of it.

lxml's tree takes 100 to 300 bytes an element however short its markup, and adds the attributes of an element in the
square of their number, in C, where nothing can interrupt it. So the markup is counted first, by the same parser
without a tree, which is linear.
"""

from collections.abc import Mapping

import lxml.etree

from portal_import.engine.errors import VisitError

MAX_NODES = 500_000
MAX_ATTRIBUTES = 1_000
MAX_PIECE_BYTES = 1024 * 1024  # of one tag or comment; images inside addresses are smaller
COUNTED_FROM_BYTES = 32 * 1024  # what is smaller can do no harm
_CHUNK_BYTES = 64 * 1024


def check_markup(source: bytes) -> None:
    """Return if a tree may be built of this HTML in UTF-8. Raises VisitError."""
    if len(source) < COUNTED_FROM_BYTES:
        return
    counter = _Counter()
    parser = lxml.etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, target=counter)
    try:
        for position in range(0, len(source), _CHUNK_BYTES):
            parser.feed(source[position : position + _CHUNK_BYTES])
            counter.check_progress()
    except lxml.etree.LxmlError:
        return  # whoever parses it in earnest will say what that means


def check_is_whole(parser: lxml.etree.HTMLParser) -> None:
    """Raise VisitError, or MemoryError, if the parser gave up midway: half a page must not be read as a whole one."""
    for entry in parser.error_log:
        if entry.type == lxml.etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError("the page does not fit into memory")
        if entry.type == lxml.etree.ErrorTypes.ERR_RESOURCE_LIMIT:
            message = "the page is nested too deeply, or a part of it is too large, to be read"
            raise VisitError(message, detail=entry.message)


class _Counter:
    """What lxml calls for each piece of markup instead of building a tree."""

    def __init__(self) -> None:
        self.nodes = 0
        self._has_progress = False
        self._stuck_bytes = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._has_progress = True
        self.nodes += 1 + len(attributes)
        if len(attributes) > MAX_ATTRIBUTES:
            raise VisitError(f"the page has an element of more than {MAX_ATTRIBUTES:,} attributes, too many to be read")
        if self.nodes > MAX_NODES:
            raise VisitError(f"the page has more than {MAX_NODES:,} elements and attributes, too many to be read")

    def end(self, tag: str) -> None:
        self._has_progress = True

    def data(self, text: str) -> None:
        self._has_progress = True

    def close(self) -> None:
        """Nothing comes of it."""

    def check_progress(self) -> None:
        """Called after each chunk: a tag is read when it is there as a whole, and may hold any number of attributes."""
        self._stuck_bytes = 0 if self._has_progress else self._stuck_bytes + _CHUNK_BYTES
        self._has_progress = False
        if self._stuck_bytes >= MAX_PIECE_BYTES:
            raise VisitError(
                f"the page has a tag or comment of more than {MAX_PIECE_BYTES:,} bytes, too large to be read"
            )
