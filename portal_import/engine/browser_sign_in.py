"""Signs one account in with a browser and opens its billing page. The password is typed, and sent, at most once.

The pages are read and judged as the http engine does; what is found is then done with the browser's own elements.
"""

from playwright.async_api import ElementHandle

from db.models import LogLevel, ResultCause, ResultStatus
from portal_import.engine.addresses import is_same_page, origin, resolve, show
from portal_import.engine.billing_page import read_billing_page
from portal_import.engine.browser_errors import explained
from portal_import.engine.buttons import find_button
from portal_import.engine.errors import VisitError, cause_of_status, describe_status
from portal_import.engine.forms import (
    NEEDS_BROWSER,
    SignInForm,
    asks_for_captcha,
    find_sign_in_form,
    has_sign_in_form,
)
from portal_import.engine.page import Element, Page
from portal_import.engine.password_watch import PasswordWatch
from portal_import.engine.repetition import PASSING_STATUSES
from portal_import.engine.sign_in_answers import find_obstacle
from portal_import.engine.signin import BY_GET, check_login_page, check_signed_in
from portal_import.engine.tab import Snapshot, Tab
from portal_import.engine.visits import VisitRules
from portal_import.outcomes import PortalProfile

_SENT_WITHIN_SECONDS = 5.0


async def open_billing_page(tab: Tab, watch: PasswordWatch, rules: VisitRules) -> Page:
    """The billing page of the signed-in account. Raises VisitError when the portal doesn't let it in."""
    login, report = rules.login, rules.report
    report(LogLevel.INFO, f"opening the sign-in page {show(login.login_url)}")
    opened = await tab.open(login.login_url, is_complete=_has_what_signs_in)
    rules.observe("sign-in page", opened.page)
    if not is_same_page(opened.page.url, login.login_url):
        report(LogLevel.INFO, f"the sign-in page is at {show(opened.page.url)}")
    answer = await _sign_in(tab, watch, opened, rules)
    rules.observe("answer to the sign-in", answer)
    report(LogLevel.INFO, f"opening the billing page {show(login.billing_url)}")
    billing = await tab.open(login.billing_url, referer=answer.url, is_complete=shows_bills)
    rules.observe("billing page", billing.page)
    check_signed_in(login, opened.page, answer, billing.page, rules.redact)
    report(LogLevel.INFO, "signed in")
    return billing.page


async def _sign_in(tab: Tab, watch: PasswordWatch, opened: Snapshot, rules: VisitRules) -> Page:
    """Fill in the form, press its button once; what the page shows then."""
    page = opened.page
    check_login_page(page, rules.login)
    form = _find_form(page, rules)
    if asks_for_captcha(form.form):
        # Not even tried: without the CAPTCHA the attempt would only count against the account.
        words = "the sign-in form asks to solve a CAPTCHA"
        raise VisitError(words, ResultStatus.NEEDS_ATTENTION, cause=ResultCause.CAPTCHA)
    submit = find_button(form, rules.profile.submit_selector)
    _check_target(form, submit)
    await watch.start(page.url)
    await rules.gate.wait_for_turn()
    await rules.gate.begin_sign_in()
    seen = tab.traffic.count
    await _type_and_press(tab, opened, form, submit, rules)
    rules.report(LogLevel.INFO, f"sent the sign-in form of {show(page.url)}")
    await tab.traffic.wait_for_more_than(seen, _SENT_WITHIN_SECONDS)
    answer = (await tab.look(_is_any)).page
    if watch.refusal is not None:
        raise watch.refusal
    failure = tab.explain_failed_post()
    if failure is not None:
        words = f"the sign-in failed and was not sent a second time: {failure}"
        raise VisitError(words, failure.status, detail=failure.detail, cause=failure.cause)
    if tab.traffic.count == seen:
        raise VisitError(
            "the sign-in form sent nothing when its button was pressed; set a selector for the button",
            ResultStatus.PORTAL_CHANGED,
            cause=ResultCause.SELECTOR,
        )
    if watch.is_in_address:
        rules.report(LogLevel.WARNING, BY_GET)
    sent = await tab.find_answer_to_post(watch.sent_to)
    status = sent or answer.status
    if status >= 500 or status in PASSING_STATUSES:
        raise VisitError(
            f"the portal answered {describe_status(status)} to the sign-in, which was not sent a second time",
            detail=f"POST {show(watch.sent_to or page.url)}: {describe_status(status)}",
            cause=cause_of_status(status),
        )
    return answer


def _find_form(page: Page, rules: VisitRules) -> SignInForm:
    try:
        return find_sign_in_form(page, rules.profile)
    except VisitError as error:
        said = str(error).replace(f"; {NEEDS_BROWSER}", ", even after its scripts have run")
        raise VisitError(said, error.status, detail=error.detail, cause=error.cause) from None


def _check_target(form: SignInForm, submit: Element | None) -> None:
    """Raise VisitError (`portal_changed`) if the form itself says that it goes to another site."""
    override = submit.get("formaction") if submit is not None else None
    target = resolve(form.page.base_url, override or form.form.get("action") or "")
    if target is not None and (override or form.form.get("action")) and origin(target) != origin(form.page.url):
        raise VisitError(
            f"the sign-in form would send the password to another site ({show(target)}) than the page's own, so it was"
            " not typed",
            ResultStatus.PORTAL_CHANGED,
            cause=ResultCause.UNSAFE_FORM,
        )


async def _type_and_press(
    tab: Tab, opened: Snapshot, form: SignInForm, submit: Element | None, rules: VisitRules
) -> None:
    async with explained(rules.limits):
        username = await _require(opened, form.username)
        password = await _require(opened, form.password)
        await username.fill(rules.login.username)
        await password.fill(rules.login.password)
        button = await opened.find(submit) if submit is not None else None
        if button is None:
            await password.press("Enter", no_wait_after=True)
        else:
            await button.click(no_wait_after=True)


async def _require(opened: Snapshot, element: Element) -> ElementHandle:
    found = await opened.find(element)
    if found is None:
        raise VisitError(
            "a field of the sign-in form could not be filled in", ResultStatus.PORTAL_CHANGED, cause=ResultCause.NO_FORM
        )
    return found


def _has_what_signs_in(page: Page) -> bool:
    return has_sign_in_form(page) or not page.is_ok or find_obstacle(page) is not None


def shows_bills(page: Page) -> bool:
    """Whether scripts have built what a billing page is for."""
    if not page.is_ok or has_sign_in_form(page):
        return True
    found = read_billing_page(page, PortalProfile(), max_documents=1)
    return bool(found.bills or found.loose or found.has_table or found.says_none) or find_obstacle(page) is not None


def _is_any(page: Page) -> bool:
    return True
