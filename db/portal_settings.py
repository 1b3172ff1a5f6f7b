"""What a person may say of a portal: how it is visited, how gently, and how its bills are read. Values and checks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite

from cssselect import HTMLTranslator
from cssselect.parser import SelectorSyntaxError
from cssselect.xpath import ExpressionError

from db.errors import PunctualError
from db.models import DateOrder, Engine, Portal
from db.storable_text import storable
from recurrence.errors import quoted

MAX_SELECTOR_CHARACTERS = 500
MAX_HEADER_CHARACTERS = 200
MAX_CONCURRENT_ACCOUNTS = 64
MAX_SECONDS_BETWEEN_REQUESTS = 60
SELECTORS = ("username_selector", "password_selector", "submit_selector", "link_selector", "next_selector")
BILL_FIELDS = ("number", "issued_on", "due_on", "amount", "currency", "portal_status")

_EXAMPLE = "write it as in input[name=login], #password or form.login button"
_POSITION = re.compile(r" at (\d+)>")
_STRING = re.compile(r"""\"[^\"]*\"|'[^']*'""")
_PREFIX = re.compile(r"[\w-]\|[\w*]")


class InvalidPortalError(PunctualError):
    """Some settings of the portal cannot be used; `fields` says which and why."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in fields.items()))
        self.fields = dict(fields)


@dataclass(frozen=True)
class PortalSettings:
    """None, and a field that `column_mapping` lacks, means that it is found by itself.

    `column_mapping` names the header of a field's column, as it stands on the portal's page.
    """

    engine: Engine = Engine.HTTP
    username_selector: str | None = None
    password_selector: str | None = None
    submit_selector: str | None = None
    link_selector: str | None = None
    next_selector: str | None = None
    max_concurrent_accounts: int = 2
    min_seconds_between_requests: float = 0.05
    date_order: DateOrder | None = None
    column_mapping: Mapping[str, str] = field(default_factory=dict[str, str])


def settings_of(portal: Portal) -> PortalSettings:
    """What was said of the portal so far."""
    return PortalSettings(
        engine=Engine(portal.engine),
        **{name: getattr(portal, name) for name in SELECTORS},
        max_concurrent_accounts=portal.max_concurrent_accounts,
        min_seconds_between_requests=portal.min_seconds_between_requests,
        date_order=DateOrder(portal.date_order) if portal.date_order else None,
        column_mapping=dict(portal.column_mapping or {}),
    )


def checked_settings(settings: PortalSettings) -> PortalSettings:
    """The settings as they are stored, blanks taken away. Raises InvalidPortalError with every field at fault."""
    selectors = {name: (getattr(settings, name) or "").strip() or None for name in SELECTORS}
    mapping = {name: " ".join(header.split()) for name, header in settings.column_mapping.items()}
    clean = replace(settings, **selectors, column_mapping=mapping)
    problems = {name: why for name, css in selectors.items() if css and (why := explain_selector(css))}
    concurrent = settings.max_concurrent_accounts
    if not 1 <= concurrent <= MAX_CONCURRENT_ACCOUNTS:
        problems["max_concurrent_accounts"] = f"found {concurrent}; allowed 1 to {MAX_CONCURRENT_ACCOUNTS}"
    spacing = settings.min_seconds_between_requests
    if not isfinite(spacing) or not 0 <= spacing <= MAX_SECONDS_BETWEEN_REQUESTS:
        problems["min_seconds_between_requests"] = (
            f"found {spacing:g}; allowed 0 to {MAX_SECONDS_BETWEEN_REQUESTS} seconds"
        )
    problems |= _check_mapping(mapping)
    if problems:
        raise InvalidPortalError(problems)
    return clean


def explain_selector(css: str) -> str:
    """What is wrong with a CSS selector, in words; empty when nothing is."""
    if len(css) > MAX_SELECTOR_CHARACTERS:
        return f"found {len(css)} characters; at most {MAX_SELECTOR_CHARACTERS}"
    if storable(css) != css or not css.isprintable():
        return f"contains a character that cannot be shown; {_EXAMPLE}"
    try:
        HTMLTranslator().css_to_xpath(css)
    except SelectorSyntaxError as error:
        place = _POSITION.search(str(error))
        where = f" from character {int(place[1]) + 1} on" if place else ""
        return f"found {quoted(css)}, which is no CSS selector{where}; {_EXAMPLE}"
    except ExpressionError as error:
        return f"found {quoted(css)}, which cannot be used: {str(error).rstrip('.')}; {_EXAMPLE}"
    if _PREFIX.search(_STRING.sub("", css)):
        return f"found {quoted(css)}, whose prefix before | no page declares; {_EXAMPLE}"
    return ""


def _check_mapping(mapping: Mapping[str, str]) -> dict[str, str]:
    problems: dict[str, str] = {}
    for name, header in mapping.items():
        if name not in BILL_FIELDS:
            problems["column_mapping"] = f'there is no field "{name}" of a bill; allowed: {", ".join(BILL_FIELDS)}'
        elif not header:
            problems[f"column_mapping.{name}"] = "the header is empty; leave the field out to have it found by itself"
        elif len(header) > MAX_HEADER_CHARACTERS:
            problems[f"column_mapping.{name}"] = f"found {len(header)} characters; at most {MAX_HEADER_CHARACTERS}"
        elif storable(header) != header or not header.isprintable():
            problems[f"column_mapping.{name}"] = "the header has a character that cannot be shown"
    return problems
