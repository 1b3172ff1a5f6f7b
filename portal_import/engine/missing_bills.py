"""What it means when a signed-in account's billing page shows no bill."""

import re

from db.models import ResultCause, ResultStatus
from portal_import.engine.addresses import show
from portal_import.engine.billing_page import BillingPage
from portal_import.engine.errors import VisitError
from portal_import.engine.page import Page
from portal_import.engine.secrecy import Redactor
from portal_import.engine.sign_in_answers import quote_error_text, require_no_obstacle

# Portals that list only what is to be paid: none of these is no surprise, whatever there was before.
_NONE_LEFT = re.compile(
    r"\bno (\w+ ){0,2}(open|new|current|outstanding|unpaid|due)\b|\b(is|are) (all )?paid\b|\bnothing (is )?due\b"
    r"|\bkeine (\w+ )?(offenen|neuen|aktuellen|fälligen)\b|\baucune facture (en attente|impayée)"
    r"|\bno hay facturas pendientes",
    re.IGNORECASE,
)


def require_no_bills(page: Page, found: BillingPage, redact: Redactor, *, bills_before: int) -> None:
    """Return if the account simply has no bills now, else raise VisitError.

    `bills_before` is how many bills earlier runs found for the account.
    """
    if found.says_none and (not bills_before or _NONE_LEFT.search(page.seen_text)):
        return
    if not found.says_none:
        require_no_obstacle(page)
    if bills_before:
        said = "the portal says that there are no bills" if found.says_none else "the billing page shows no bills"
        raise _changed(
            f"{said}, though earlier runs found {bills_before:,}{quote_error_text(page, redact)}",
            ResultCause.BILLS_GONE,
            page,
        )
    if not found.has_table:
        raise _changed(
            "signed in, but no bill documents or billing table were recognised on the billing page"
            + quote_error_text(page, redact),
            ResultCause.NO_BILLS_FOUND,
            page,
        )


def _changed(message: str, cause: ResultCause, page: Page) -> VisitError:
    detail = f"{show(page.url)}: {page.content_type or 'no content type'}, {len(page.text):,} characters"
    return VisitError(message, ResultStatus.PORTAL_CHANGED, detail=detail, cause=cause)
