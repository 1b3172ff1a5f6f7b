"""Signs one account in and opens its billing page. The password is sent at most once.

What the sign-in form answers only explains: whether the account is in is decided at the billing page.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from db.models import LogLevel, ResultStatus
from portal_import.engine.addresses import is_same_page, show
from portal_import.engine.client import PortalClient
from portal_import.engine.errors import VisitError, describe_status
from portal_import.engine.forms import asks_for_captcha, fill_sign_in_form, find_sign_in_form, has_sign_in_form
from portal_import.engine.page import Page
from portal_import.engine.repetition import PASSING_STATUSES, Report
from portal_import.engine.secrecy import Redactor
from portal_import.engine.sign_in_answers import explain_refusal, quote_error_text, require_no_obstacle
from portal_import.outcomes import AccountLogin, PortalProfile


async def open_billing_page(
    client: PortalClient,
    login: AccountLogin,
    profile: PortalProfile,
    *,
    report: Report,
    redact: Redactor,
    observe: Callable[[str, Page], None],
) -> Page:
    """The billing page of the signed-in account. Raises VisitError when the portal doesn't let it in.

    `observe` is shown each page on the way, under the name that people know it by.
    """
    report(LogLevel.INFO, f"opening the sign-in page {show(login.login_url)}")
    login_page = await client.get_page(login.login_url)
    observe("sign-in page", login_page)
    if not is_same_page(login_page.url, login.login_url):
        report(LogLevel.INFO, f"the sign-in page is at {show(login_page.url)}")
    answer = await _sign_in(client, login, login_page, profile, report=report)
    report(LogLevel.INFO, f"opening the billing page {show(login.billing_url)}")
    if answer is not None:
        observe("answer to the sign-in", answer)
    billing = await client.get_page(login.billing_url, referer=answer.url if answer else login_page.url)
    observe("billing page", billing)
    _check_signed_in(login, login_page, answer, billing, redact)
    report(LogLevel.INFO, "signed in")
    return billing


async def _sign_in(
    client: PortalClient, login: AccountLogin, login_page: Page, profile: PortalProfile, *, report: Report
) -> Page | None:
    """Send the form once; its answer after redirects, or None if the page it leads to can't be read."""
    _check_login_page(login_page, login)
    form = find_sign_in_form(login_page, profile)
    if asks_for_captcha(form.form):
        # Not even tried: without the CAPTCHA the attempt would only count against the account.
        raise VisitError("the sign-in form asks to solve a CAPTCHA", ResultStatus.NEEDS_ATTENTION)
    submission = fill_sign_in_form(form, login)
    report(LogLevel.INFO, f"sending the sign-in form to {show(submission.url)}")
    try:
        answer = await client.post_once(submission, referer=login_page.url)
    except VisitError as error:
        raise VisitError(
            f"the sign-in failed and was not sent a second time: {error}", error.status, detail=error.detail
        ) from error
    if isinstance(answer, str):
        return await _follow(client, answer, login_page.url, report)
    if answer.status >= 500 or answer.status in PASSING_STATUSES:
        raise VisitError(
            f"the portal answered {describe_status(answer.status)} to the sign-in, which was not sent a second time",
            detail=f"POST {show(submission.url)}: {describe_status(answer.status)}",
        )
    return answer


async def _follow(client: PortalClient, url: str, referer: str, report: Report) -> Page | None:
    try:
        return await client.get_page(url, referer=referer)
    except VisitError as error:
        # The account may be signed in all the same; the billing page will tell.
        report(LogLevel.WARNING, f"the page after the sign-in could not be read: {error}")
        return None


def _check_login_page(page: Page, login: AccountLogin) -> None:
    if urlsplit(login.login_url).scheme == "https" and urlsplit(page.url).scheme != "https":
        raise VisitError(
            f"the sign-in page moved to an unencrypted address ({show(page.url)}), so the password was not sent",
            ResultStatus.PORTAL_CHANGED,
        )
    if page.is_ok or (page.status in (401, 403) and has_sign_in_form(page)):
        return
    if page.status < 500:
        require_no_obstacle(page, detail=describe_status(page.status))
    raise _failed_page("the sign-in page", page)


def _check_signed_in(
    login: AccountLogin, login_page: Page, answer: Page | None, billing: Page, redact: Redactor
) -> None:
    if billing.status >= 500:
        raise _failed_page("the billing page", billing)
    sent_back = is_same_page(billing.url, login_page.url) and not is_same_page(login.billing_url, login_page.url)
    is_refused = billing.status == 401 or (billing.status == 403 and answer is not None and has_sign_in_form(answer))
    if sent_back or is_refused or has_sign_in_form(billing):
        explain_refusal(answer, billing, redact)
    if not billing.is_ok:
        require_no_obstacle(billing, detail=describe_status(billing.status))
        error = _failed_page("the billing page", billing)
        raise VisitError(f"{error}{quote_error_text(billing, redact)}", error.status, detail=error.detail)


def _failed_page(name: str, page: Page) -> VisitError:
    status = ResultStatus.PORTAL_CHANGED if page.status in (404, 410) else ResultStatus.PORTAL_ERROR
    answered = describe_status(page.status)
    return VisitError(f"{name}: the portal answered {answered}", status, detail=f"GET {show(page.url)}: {answered}")
