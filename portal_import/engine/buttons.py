"""Which button of a sign-in form a person would press, whatever a script has made it of."""

from db.models import ResultCause, ResultStatus
from portal_import.engine.addresses import show
from portal_import.engine.errors import VisitError
from portal_import.engine.forms import REGISTER_WORD, SIGN_IN_WORD, label_of
from portal_import.engine.page import Element, Page, is_hidden, select
from portal_import.engine.submission import type_of


def find_button(page: Page, form: Element, selector: str | None) -> Element | None:
    """The element to press; None where Enter in the password field has to do. A disabled one counts: scripts enable
    it once the fields are filled in. Raises VisitError when the portal's selector finds none."""
    if selector is not None:
        found = select(page, selector)
        if not found:
            message = f'the submit selector "{selector}" finds nothing at {show(page.url)}'
            raise VisitError(message, ResultStatus.PORTAL_CHANGED, cause=ResultCause.SELECTOR)
        return found[0]
    controls = [control for control in page.controls_by_form[form] if not is_hidden(control)]
    submits = [control for control in controls if type_of(control) in ("submit", "image")]
    others = [control for control in controls if type_of(control) == "button"]
    others += [element for element in form.iter() if element.get("role") == "button" and not is_hidden(element)]
    named = [button for button in [*submits, *others] if _speaks_of_signing_in(button)]
    return next(iter([*named, *submits]), None)


def _speaks_of_signing_in(button: Element) -> bool:
    label = f"{label_of(button)} {button.get('aria-label') or ''}"
    return bool(SIGN_IN_WORD.search(label)) and not REGISTER_WORD.search(label)
