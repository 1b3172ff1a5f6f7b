"""Takes a sample of the table that a billing page shows, whether or not its headers were recognised as those of bills.

For people who correct how a portal's bills are read: they see the texts as they stood.
"""

from itertools import islice

from portal_import.bill_reading.table_headers import map_headers
from portal_import.engine.page import Element, Page, text_of
from portal_import.outcomes import TableSample

SAMPLE_ROWS = 10
_MAX_TABLES = 50
_SURROUNDINGS = frozenset({"nav", "header", "footer", "aside"})
_MAX_COLUMNS = 60
_MAX_CELL = 200


def take_table_sample(page: Page) -> TableSample | None:
    """The table with the most headers that speak of bills, among equals the longest; None where there is none."""
    tables = [table for table in islice(page.root.iter("table"), _MAX_TABLES) if _is_candidate(table)]
    read = [(sample, len(table.xpath(".//tr"))) for table in tables for sample in [_read(table)] if sample]
    if not read:
        return None
    return max(read, key=lambda found: (len(map_headers(found[0].headers)), found[1]))[0]


def _is_candidate(table: Element) -> bool:
    """Not a layout around other tables, and no part of the page's surroundings."""
    is_beside = any(outer.tag in _SURROUNDINGS for outer in table.iterancestors())
    return not is_beside and next(table.iterdescendants("table"), None) is None


def _read(table: Element) -> TableSample | None:
    lines = [line for row in islice(table.iter("tr"), SAMPLE_ROWS + 5) for line in [_texts(row)] if any(line)]
    if not lines or max(map(len, lines)) < 2:
        return None
    # As for a run, the header may stand below a title.
    at = max(range(min(5, len(lines))), key=lambda position: len(map_headers(lines[position])))
    return TableSample(lines[at], tuple(lines[at + 1 : at + 1 + SAMPLE_ROWS]))


def _texts(row: Element) -> tuple[str, ...]:
    texts: list[str] = []
    for cell in row.iterchildren("td", "th"):
        span = cell.get("colspan") or ""
        width = int(span) if span.isascii() and span.isdigit() and len(span) < 3 else 1
        texts += [text_of(cell)[:_MAX_CELL]] * max(1, width)
    return tuple(texts[:_MAX_COLUMNS])
