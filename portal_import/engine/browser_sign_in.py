"""Signs one account in with a browser and opens its billing page. The password is typed, and sent, at most once.

The pages are read and judged as the http engine does; what is found is then done with the browser's own elements.
"""

from collections.abc import Callable
from dataclasses import dataclass

from db.models import LogLevel, ResultCause, ResultStatus
from portal_import.engine.addresses import is_same_page, origin, resolve, show
from portal_import.engine.billing_page import read_billing_page
from portal_import.engine.browser_errors import explained
from portal_import.engine.buttons import find_button
from portal_import.engine.errors import VisitError, cause_of_status, describe_status
from portal_import.engine.forms import (
    NEEDS_BROWSER,
    asks_for_captcha,
    asks_for_password,
    find_sign_in_form,
    has_sign_in_form,
)
from portal_import.engine.page import Element, Page
from portal_import.engine.password_watch import PasswordWatch
from portal_import.engine.repetition import PASSING_STATUSES
from portal_import.engine.sign_in_answers import explain_username_refusal, find_error_text, find_obstacle
from portal_import.engine.signin import BY_GET, check_login_page, check_signed_in
from portal_import.engine.stepwise_forms import find_password_form, find_username_form
from portal_import.engine.tab import Snapshot, Tab
from portal_import.engine.visits import VisitRules
from portal_import.outcomes import PortalProfile

_PRESSED_WITHIN_MS = 10_000


async def open_billing_page(tab: Tab, watch: PasswordWatch, rules: VisitRules) -> Page:
    """The billing page of the signed-in account. Raises VisitError when the portal doesn't let it in."""
    return await _BrowserSignIn(tab, watch, rules).open_billing_page()


def shows_bills(page: Page) -> bool:
    """Whether scripts have built what a billing page is for."""
    if not page.is_ok or has_sign_in_form(page):
        return True
    found = read_billing_page(page, PortalProfile(), max_documents=1)
    return bool(found.bills or found.loose or found.has_table or found.says_none) or find_obstacle(page) is not None


@dataclass(frozen=True)
class _Filling:
    """What to type where in a form, and the form."""

    page: Page
    form: Element
    values: dict[Element, str]


@dataclass
class _BrowserSignIn:
    """One account's only attempt."""

    tab: Tab
    watch: PasswordWatch
    rules: VisitRules

    async def open_billing_page(self) -> Page:
        login, report = self.rules.login, self.rules.report
        report(LogLevel.INFO, f"opening the sign-in page {show(login.login_url)}")
        opened = await self.tab.open(login.login_url, is_complete=self._shows_what_signs_in)
        self.rules.observe("sign-in page", opened.page)
        if not is_same_page(opened.page.url, login.login_url):
            report(LogLevel.INFO, f"the sign-in page is at {show(opened.page.url)}")
        answer = await self._sign_in(opened)
        self.rules.observe("answer to the sign-in", answer)
        report(LogLevel.INFO, f"opening the billing page {show(login.billing_url)}")
        billing = await self.tab.open(login.billing_url, referer=answer.url, is_complete=shows_bills)
        self.rules.observe("billing page", billing.page)
        check_signed_in(login, opened.page, answer, billing.page, self.rules.redact)
        report(LogLevel.INFO, "signed in")
        return billing.page

    async def _sign_in(self, opened: Snapshot) -> Page:
        """What the page shows after its form was filled in and sent, in one step or in two."""
        check_login_page(opened.page, self.rules.login)
        if not asks_for_password(opened.page, self.rules.profile):
            first = find_username_form(opened.page, self.rules.profile)
            if first is not None:
                filling = _Filling(first.page, first.form, {first.username: self.rules.login.username})
                opened = await self._give_username(opened, filling)
        filling = self._find_password_form(opened.page)
        await self.watch.start(opened.page.url)
        await self.rules.gate.begin_sign_in()
        traffic = self.tab.traffic
        before = traffic.count
        answer = (await self._send(opened, filling, lambda page: traffic.count > before)).page
        if traffic.count == before:
            words = "the sign-in form sent nothing when its button was pressed; set a selector for the button"
            raise VisitError(words, ResultStatus.PORTAL_CHANGED, cause=ResultCause.SELECTOR)
        await self._check_answer(answer)
        return answer

    async def _give_username(self, opened: Snapshot, filling: _Filling) -> Snapshot:
        second = await self._send(opened, filling, self._shows_second_step)
        self.rules.observe("page after the username", second.page)
        check_login_page(second.page, self.rules.login)
        if not asks_for_password(second.page, self.rules.profile):
            explain_username_refusal(second.page, self.rules.redact)
        return second

    def _find_password_form(self, page: Page) -> _Filling:
        login, profile = self.rules.login, self.rules.profile
        try:
            if self.tab.forms_sent:
                second = find_password_form(page, profile)
                names = {} if second.username is None else {second.username: login.username}
                return _Filling(page, second.form, names | {second.password: login.password})
            found = find_sign_in_form(page, profile)
        except VisitError as error:
            said = str(error).replace(f"; {NEEDS_BROWSER}", ", even after its scripts have run")
            raise VisitError(said, error.status, detail=error.detail, cause=error.cause) from None
        return _Filling(page, found.form, {found.username: login.username, found.password: login.password})

    async def _send(self, opened: Snapshot, filling: _Filling, is_complete: Callable[[Page], bool]) -> Snapshot:
        """Type, press the button once, and wait for what comes of it."""
        if asks_for_captcha(filling.form):
            # Not even tried: without the CAPTCHA the attempt would only count against the account.
            words = "the sign-in form asks to solve a CAPTCHA"
            raise VisitError(words, ResultStatus.NEEDS_ATTENTION, cause=ResultCause.CAPTCHA)
        submit = find_button(filling.page, filling.form, self.rules.profile.submit_selector)
        _check_target(filling, submit)
        await self.rules.gate.wait_for_turn()
        await self._type_and_press(opened, filling, submit)
        self.rules.report(LogLevel.INFO, f"sent the sign-in form of {show(filling.page.url)}")
        self.tab.forms_sent += 1
        answer = await self.tab.look(is_complete)
        if self.watch.refusal is not None:
            raise self.watch.refusal
        failure = self.tab.explain_failed_post()
        if failure is not None:
            words = f"the sign-in failed and was not sent a second time: {failure}"
            raise VisitError(words, failure.status, detail=failure.detail, cause=failure.cause)
        return answer

    async def _check_answer(self, answer: Page) -> None:
        """Raise VisitError if the portal could not deal with the sign-in."""
        if self.watch.is_in_address:
            self.rules.report(LogLevel.WARNING, BY_GET)
        sent_to = self.watch.sent_to
        status = await self.tab.find_answer_to_post(sent_to) or answer.status
        if status >= 500 or status in PASSING_STATUSES:
            answered = describe_status(status)
            raise VisitError(
                f"the portal answered {answered} to the sign-in, which was not sent a second time",
                detail=f"POST {show(sent_to or answer.url)}: {answered}",
                cause=cause_of_status(status),
            )

    async def _type_and_press(self, opened: Snapshot, filling: _Filling, submit: Element | None) -> None:
        async with explained(self.rules.limits, "the sign-in form could not be filled in, or its button not pressed"):
            field = None
            for element, value in filling.values.items():
                field = await opened.find(element)
                await field.fill(value, timeout=_PRESSED_WITHIN_MS)
            if submit is not None:
                button = await opened.find(submit)
                await button.click(no_wait_after=True, timeout=_PRESSED_WITHIN_MS)
            elif field is not None:
                await field.press("Enter", no_wait_after=True, timeout=_PRESSED_WITHIN_MS)

    def _shows_what_signs_in(self, page: Page) -> bool:
        if has_sign_in_form(page) or not page.is_ok or find_obstacle(page) is not None:
            return True
        return find_username_form(page, self.rules.profile) is not None

    def _shows_second_step(self, page: Page) -> bool:
        is_refused = find_error_text(page) is not None or find_obstacle(page) is not None
        return asks_for_password(page, self.rules.profile) or is_refused or not page.is_ok


def _check_target(filling: _Filling, submit: Element | None) -> None:
    """Raise VisitError (`portal_changed`) if the form itself says that it goes to another site."""
    override = submit.get("formaction") if submit is not None else None
    action = override or filling.form.get("action") or ""
    target = resolve(filling.page.base_url, action) if action else None
    if target is not None and origin(target) != origin(filling.page.url):
        raise VisitError(
            f"the sign-in form would send what is typed to another site ({show(target)}) than the page's own, so"
            " nothing was typed",
            ResultStatus.PORTAL_CHANGED,
            cause=ResultCause.UNSAFE_FORM,
        )
