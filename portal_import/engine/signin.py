"""Signs one account in and opens its billing page. The password is sent at most once, whichever way it is asked for.

By a form, in two steps with a page of its own for each, or by HTTP basic authentication. What the portal answers only
explains: whether the account is in is decided at the billing page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from db.models import LogLevel, ResultCause, ResultStatus
from portal_import.engine.addresses import is_same_page, origin, resolve, show
from portal_import.engine.basic_auth import asks_for_basic, list_schemes, make_basic_header
from portal_import.engine.client import PortalClient
from portal_import.engine.errors import VisitError, cause_of_status, describe_status
from portal_import.engine.form_filling import fill_form, fill_sign_in_form, find_submit, picks_submit
from portal_import.engine.forms import asks_for_captcha, asks_for_password, find_sign_in_form, has_sign_in_form
from portal_import.engine.page import Element, Page
from portal_import.engine.repetition import PASSING_STATUSES, Report
from portal_import.engine.secrecy import Redactor
from portal_import.engine.sign_in_answers import (
    explain_refusal,
    explain_username_refusal,
    quote_error_text,
    require_no_obstacle,
)
from portal_import.engine.stepwise_forms import PasswordForm, UsernameForm, find_password_form, find_username_form
from portal_import.engine.submission import Submission
from portal_import.outcomes import AccountLogin, PortalProfile

BY_GET = (
    "the sign-in form is sent by GET, which puts the password into an address: it is kept out of everything here, but"
    " the portal may write it into its own logs"
)


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
    return await _SignIn(client, login, profile, report, redact, observe).open_billing_page()


@dataclass
class _SignIn:
    """One account's only attempt. It `landed_on` the page that the answer to the sign-in redirected to."""

    client: PortalClient
    login: AccountLogin
    profile: PortalProfile
    report: Report
    redact: Redactor
    observe: Callable[[str, Page], None]
    landed_on: Page | None = None

    async def open_billing_page(self) -> Page:
        login_url = self.login.login_url
        self.report(LogLevel.INFO, f"opening the sign-in page {show(login_url)}")
        login_page = await self.client.get_page(login_url)
        self.observe("sign-in page", login_page)
        if not is_same_page(login_page.url, login_url):
            self.report(LogLevel.INFO, f"the sign-in page is at {show(login_page.url)}")
        answer = await self._sign_in(login_page)
        if answer is not None:
            self.observe("answer to the sign-in", answer)
        billing = self._landed_on_billing() or await self._open_billing(answer.url if answer else login_page.url)
        check_signed_in(self.login, login_page, answer, billing, self.redact)
        self.report(LogLevel.INFO, "signed in")
        return billing

    def _landed_on_billing(self) -> Page | None:
        """The billing page, where the sign-in led there by itself: it need not be fetched a second time."""
        page, url = self.landed_on, self.login.billing_url
        if page is None or not page.is_ok or page.url != resolve(url, url):
            return None
        self.report(LogLevel.INFO, f"the sign-in led to the billing page {show(url)}")
        self.observe("billing page", page)
        return page

    async def _open_billing(self, referer: str) -> Page:
        self.report(LogLevel.INFO, f"opening the billing page {show(self.login.billing_url)}")
        billing = await self.client.get_page(self.login.billing_url, referer=referer)
        self.observe("billing page", billing)
        return billing

    async def _sign_in(self, page: Page) -> Page | None:
        """Sign in the way that the page asks for; its answer, None where the page it leads to can't be read."""
        if asks_for_basic(page) and not has_sign_in_form(page):
            return await self._sign_in_by_basic(page)
        check_login_page(page, self.login)
        if asks_for_password(page, self.profile):
            return await self._send_form(page)
        first_step = find_username_form(page, self.profile)
        if first_step is not None:
            return await self._sign_in_by_steps(first_step)
        challenge = await self._find_challenge(page)
        if challenge is not None:
            return await self._sign_in_by_basic(challenge)
        return await self._send_form(page)  # which says what is missing

    async def _send_form(self, page: Page) -> Page | None:
        found = find_sign_in_form(page, self.profile)
        _require_no_captcha(found.form)
        return await self._send(page, fill_sign_in_form(found, self.login, self.profile.submit_selector))

    async def _sign_in_by_steps(self, first: UsernameForm) -> Page | None:
        _require_no_captcha(first.form)
        selector = self.profile.submit_selector  # may be meant for either step's button
        is_for_first = picks_submit(first.page, first.form, selector)
        submit = find_submit(first.page, first.form, selector if is_for_first else None)
        submission = fill_form(first.page, first.form, {first.username: self.login.username}, submit)
        self.report(LogLevel.INFO, f"sending the username to {show(submission.url)}")
        page = await self._send_once(submission, first.page.url)
        if isinstance(page, str):
            page = await self.client.get_page(page, referer=first.page.url)
        self.observe("page after the username", page)
        check_login_page(page, self.login)
        if not asks_for_password(page, self.profile):
            explain_username_refusal(page, self.redact)
        second = find_password_form(page, self.profile)
        _require_no_captcha(second.form)
        is_for_second = not is_for_first or picks_submit(page, second.form, selector)
        submit = find_submit(page, second.form, selector if is_for_second else None)
        return await self._send(page, fill_form(page, second.form, self._values(second), submit))

    def _values(self, second: PasswordForm) -> dict[Element, str]:
        values = {second.password: self.login.password}
        return values if second.username is None else values | {second.username: self.login.username}

    async def _find_challenge(self, login_page: Page) -> Page | None:
        """The billing page, where that asks for HTTP authentication and the sign-in page holds no form."""
        billing = await self.client.get_page(self.login.billing_url, referer=login_page.url)
        if not asks_for_basic(billing):
            return None
        self.report(LogLevel.INFO, "the sign-in page has no form, and the billing page asks for HTTP authentication")
        return billing

    async def _sign_in_by_basic(self, challenge: Page) -> Page | None:
        if origin(challenge.url) not in (origin(self.login.login_url), origin(self.login.billing_url)):
            words = f"another site than the job's asks for the password ({show(challenge.url)}), so it was not sent"
            raise VisitError(words, ResultStatus.PORTAL_CHANGED, cause=ResultCause.UNSAFE_FORM)
        self.client.authorise(challenge.url, make_basic_header(self.login))
        self.report(LogLevel.INFO, f"sending the username and password to {show(challenge.url)} (HTTP authentication)")
        answer = await self._follow_answer(Submission(challenge.url), challenge.url)
        if answer is not None and answer.status == 401:
            self.client.withdraw_authorisation()
            words = f"the portal refused the username or the password{quote_error_text(answer, self.redact)}"
            raise VisitError(words, ResultStatus.WRONG_CREDENTIALS)
        if answer is not None and has_sign_in_form(answer):
            words = "the portal asks to sign in twice, by HTTP authentication and by a form; the password was sent once"
            raise VisitError(words, ResultStatus.PORTAL_CHANGED, cause=ResultCause.NOT_LET_IN)
        return answer

    async def _send(self, page: Page, submission: Submission) -> Page | None:
        if submission.body is None:
            self.report(LogLevel.WARNING, BY_GET)
        self.report(LogLevel.INFO, f"sending the sign-in form to {show(submission.url)}")
        return await self._follow_answer(submission, page.url)

    async def _follow_answer(self, submission: Submission, referer: str) -> Page | None:
        answer = await self._send_once(submission, referer)
        if isinstance(answer, Page):
            return answer
        try:
            self.landed_on = await self.client.get_page(answer, referer=referer)
        except VisitError as error:
            # The account may be signed in all the same; the billing page will tell.
            self.report(LogLevel.WARNING, f"the page after the sign-in could not be read: {error}")
        return self.landed_on

    async def _send_once(self, submission: Submission, referer: str) -> Page | str:
        """The answer, or where it redirects to. Raises VisitError where that is no answer at all."""
        try:
            answer = await self.client.send_once(submission, referer=referer)
        except VisitError as error:
            words = f"the sign-in failed and was not sent a second time: {error}"
            raise VisitError(words, error.status, detail=error.detail, cause=error.cause) from error
        if isinstance(answer, str):
            is_by_get = submission.body is None
            if is_by_get and self.login.password in (value for _, value in parse_qsl(urlsplit(answer).query)):
                words = "the portal asked for the password to be sent a second time, in an address"
                raise VisitError(words, detail=f"redirected to {show(answer)}")
        elif answer.status >= 500 or answer.status in PASSING_STATUSES:
            status = describe_status(answer.status)
            raise VisitError(
                f"the portal answered {status} to the sign-in, which was not sent a second time",
                detail=f"{submission.method} {show(submission.url)}: {status}",
                cause=cause_of_status(answer.status),
            )
        return answer


def check_login_page(page: Page, login: AccountLogin) -> None:
    """Raise VisitError if what was opened is no page to sign in at."""
    if urlsplit(login.login_url).scheme == "https" and urlsplit(page.url).scheme != "https":
        words = f"the sign-in page moved to an unencrypted address ({show(page.url)}), so the password was not sent"
        raise VisitError(words, ResultStatus.PORTAL_CHANGED, cause=ResultCause.UNSAFE_FORM)
    if page.is_ok or (page.status in (401, 403) and has_sign_in_form(page)):
        return
    if page.status == 401 and page.challenges:
        words = f"the portal asks for HTTP authentication of a kind that is not supported ({list_schemes(page)})"
        raise VisitError(words, ResultStatus.PORTAL_CHANGED, cause=ResultCause.NO_FORM)
    if page.status < 500:
        require_no_obstacle(page, detail=describe_status(page.status))
    raise _failed_page("the sign-in page", page)


def check_signed_in(
    login: AccountLogin, login_page: Page, answer: Page | None, billing: Page, redact: Redactor
) -> None:
    """Raise VisitError unless the billing page is shown to somebody who is signed in."""
    if billing.status >= 500:
        raise _failed_page("the billing page", billing)
    sent_back = is_same_page(billing.url, login_page.url) and not is_same_page(login.billing_url, login_page.url)
    is_refused = billing.status == 401 or (billing.status == 403 and answer is not None and has_sign_in_form(answer))
    if sent_back or is_refused or has_sign_in_form(billing):
        explain_refusal(answer, billing, redact)
    if not billing.is_ok:
        require_no_obstacle(billing, detail=describe_status(billing.status))
        error = _failed_page("the billing page", billing)
        words = f"{error}{quote_error_text(billing, redact)}"
        raise VisitError(words, error.status, detail=error.detail, cause=error.cause)


def _require_no_captcha(form: Element) -> None:
    if asks_for_captcha(form):
        # Not even tried: without the CAPTCHA the attempt would only count against the account.
        words = "the sign-in form asks to solve a CAPTCHA"
        raise VisitError(words, ResultStatus.NEEDS_ATTENTION, cause=ResultCause.CAPTCHA)


def _failed_page(name: str, page: Page) -> VisitError:
    status = ResultStatus.PORTAL_CHANGED if page.status in (404, 410) else ResultStatus.PORTAL_ERROR
    answered = describe_status(page.status)
    return VisitError(
        f"{name}: the portal answered {answered}",
        status,
        detail=f"GET {show(page.url)}: {answered}",
        cause=cause_of_status(page.status),
    )
