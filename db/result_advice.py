"""What helps an account that ended in a run as it did, in a sentence for people: by its cause, else by its status."""

from db.models import ResultCause, ResultStatus

_GO_ON = "then press Try again next run on the job's page"

_BY_STATUS: dict[str, str] = {
    ResultStatus.SUCCESS: "",
    ResultStatus.NO_BILLS: "Nothing to do: the portal has none.",
    ResultStatus.WRONG_CREDENTIALS: "Correct the password in the CSV and replace the accounts. Until then "
    "this account is left alone.",
    ResultStatus.NEEDS_ATTENTION: f"Put it right at the portal or in the CSV, {_GO_ON}.",
    ResultStatus.PORTAL_ERROR: "Usually passes by itself: the account is tried again, or press Retry failed accounts.",
    ResultStatus.PORTAL_CHANGED: "Check the job's two addresses; the portal's pages look different from what was "
    "expected.",
    ResultStatus.NOT_TRIED: "Press Retry failed accounts once what kept the run from it is over.",
    ResultStatus.FAILED: "See the error and the run's log.",
}
_BY_CAUSE: dict[str, str] = {
    ResultCause.ONE_TIME_CODE: "Nobody can enter the code during a run: turn the second step off for this account at "
    f"the portal, or ask it for an account that has none, {_GO_ON}.",
    ResultCause.CAPTCHA: "CAPTCHAs are not solved here. Sign in yourself once, which often ends them, or ask the "
    f"portal for access without one, {_GO_ON}.",
    ResultCause.LOCKED: f"Have the account unlocked at the portal and check the password in the CSV, {_GO_ON}.",
    ResultCause.NEW_TERMS: f"Sign in at the portal yourself and accept its terms if you agree, {_GO_ON}.",
    ResultCause.EXPIRED_PASSWORD: "Choose a new password at the portal, put it into the CSV and replace the accounts.",
    ResultCause.LEFT_ALONE: "Replace the account's row in the CSV, or press Try again next run on the job's page.",
    ResultCause.UNREACHABLE: "The portal is down or cannot be reached from here. The account is tried again; if it "
    "lasts, check the job's addresses and this machine's network.",
    ResultCause.TIMEOUT: "The portal is slow. The account is tried again; if it lasts, run the job at a quieter hour.",
    ResultCause.SERVER_ERROR: "The portal has a fault of its own. The account is tried again; if it lasts, tell the "
    "portal.",
    ResultCause.BUSY: "The portal asks for fewer requests. The account is tried again; if it lasts, lower the portal's "
    "accounts at once or lengthen the pause between its requests.",
    ResultCause.INSECURE: "The portal's certificate does not hold, so nothing was sent. Open the address in a browser; "
    "if that warns as well, tell the portal.",
    ResultCause.FORBIDDEN_ADDRESS: "The portal's name, or where it redirects to, leads to an address that nothing is "
    "sent to. If it is an internal portal, have private networks allowed; else correct the job's addresses.",
    ResultCause.NO_FORM: "Open the sign-in page yourself. If its form is built by a script, choose the browser engine "
    "for this portal; if the page is another one, correct the job's login address.",
    ResultCause.UNSAFE_FORM: "The password was kept back. Check with the portal that the page is genuine, and use the "
    "login address of the site that really asks for the password.",
    ResultCause.SELECTOR: "A selector set for this portal finds nothing any more: correct it or clear it, and test the "
    "sign-in.",
    ResultCause.PAGE_GONE: "An address does not exist at the portal any more: correct the job's login or billing "
    "address.",
    ResultCause.NOT_LET_IN: "Sign in at the portal yourself and open the billing address: it may belong to another "
    "site, or need another way to sign in.",
    ResultCause.NO_BILLS_FOUND: "Open the billing address yourself. If it shows bills, set the portal's selectors or "
    "columns; if another page does, correct the address.",
    ResultCause.BILLS_GONE: "Open the billing page yourself. If its bills are elsewhere now, correct the billing "
    "address; if there are really none any more, take the account out of the CSV.",
    ResultCause.BREAKER: "Correct the passwords that were refused; the account is tried again after the cool-down, or "
    "press Retry failed accounts then.",
}


def advise(status: str, cause: str | None) -> str:
    """What helps; empty where there is nothing to do."""
    return _BY_CAUSE[cause] if cause is not None else _BY_STATUS[status]
