"""From what a person or a script sent to a job draft that can be stored, or to errors by field.

Used by the pages and the API alike, so that both accept and refuse the same.
"""

from collections.abc import Mapping, Sequence

from db.accounts import NewAccount
from db.jobs import JobDraft
from db.models import MAX_ATTEMPTS, MAX_MISFIRE_GRACE_SECONDS, MAX_RETRY_DELAY_SECONDS
from db.retries import DEFAULT_RETRY_POLICY, RetryPolicy
from db.schedules import DEFAULT_POLICY, MAX_CALENDARS, RunPolicy, Schedule
from portal_import.accounts_csv import AccountsFile, InvalidAccountsFileError, read_accounts_csv
from portal_import.url_templates import InvalidUrlError, check_url, portal_host, template_fields
from recurrence import InvalidScheduleError, parse_rule

MAX_NAME_CHARACTERS = 120
MAX_TIMEOUT_SECONDS = 24 * 3600


class InvalidJobError(ValueError):
    """Some fields of the job cannot be used; `fields` says which and why."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in fields.items()))
        self.fields = dict(fields)


def draft_job(
    *,
    name: str,
    login_url: str,
    billing_url: str,
    csv: bytes | None,
    schedule: Schedule | None,
    policy: RunPolicy = DEFAULT_POLICY,
    retries: RetryPolicy = DEFAULT_RETRY_POLICY,
    timeout_seconds: int = 3600,
) -> JobDraft:
    """The draft of a new job. Raises InvalidJobError with every field at fault, not only the first."""
    problems: dict[str, str] = {}
    accounts: AccountsFile | None = None
    if csv is None:
        problems["csv"] = "choose a CSV file with the portal accounts"
    else:
        try:
            accounts = read_accounts_csv(csv)
        except InvalidAccountsFileError as error:
            problems["csv"] = str(error)
    columns = accounts.extra_columns if accounts else None
    problems |= check_job_urls(login_url, billing_url, columns)
    problems |= _check_schedule(schedule) | check_policy(policy) | check_retries(retries)
    problems |= check_timeout(timeout_seconds)
    clean_name = " ".join(name.split())
    problems |= check_name(clean_name)
    if problems or accounts is None:
        raise InvalidJobError(problems)
    return JobDraft(
        name=clean_name,
        login_url=login_url.strip(),
        billing_url=billing_url.strip(),
        portal_host=portal_host(login_url.strip()),
        schedule=schedule,
        accounts=new_accounts(accounts),
        policy=policy,
        retries=retries,
        timeout_seconds=timeout_seconds,
    )


def new_accounts(accounts: AccountsFile) -> list[NewAccount]:
    """The rows of a file as the database takes them."""
    return [NewAccount(r.row_number, r.username, r.password, r.extra) for r in accounts.rows]


def draft_accounts(csv: bytes, *, login_url: str, billing_url: str) -> list[NewAccount]:
    """The accounts of a file that is to replace a job's, whose addresses must still find their columns.

    Raises InvalidJobError.
    """
    try:
        accounts = read_accounts_csv(csv)
    except InvalidAccountsFileError as error:
        raise InvalidJobError({"csv": str(error)}) from None
    problems = check_job_urls(login_url, billing_url, accounts.extra_columns)
    if problems:
        raise InvalidJobError(problems)
    return new_accounts(accounts)


def check_name(name: str) -> dict[str, str]:
    """The problem of a job's name, if it has one, by field."""
    if not name:
        return {"name": "give the job a name"}
    if len(name) > MAX_NAME_CHARACTERS:
        return {"name": f"found {len(name)} characters; at most {MAX_NAME_CHARACTERS}"}
    if not name.isprintable():
        return {"name": "contains a character that cannot be shown"}
    return {}


def check_job_urls(login_url: str, billing_url: str, columns: Sequence[str] | None) -> dict[str, str]:
    """The problems of the two addresses, by field; `columns` are the CSV's extra columns, None when unknown."""
    problems: dict[str, str] = {}
    for field, url in (("login_url", login_url), ("billing_url", billing_url)):
        label = field.replace("_url", " URL")
        if not url.strip():
            problems[field] = f"enter the portal's {label}, starting with https:// or http://"
            continue
        try:
            check_url(url, template_fields(url) if columns is None else columns, name=label)
        except InvalidUrlError as error:
            problems[field] = str(error)
    return problems


def check_timeout(seconds: int) -> dict[str, str]:
    """The problem of a run's time limit, if it has one, by field."""
    if 1 <= seconds <= MAX_TIMEOUT_SECONDS:
        return {}
    return {"timeout_seconds": f"found {seconds}; allowed 1 to {MAX_TIMEOUT_SECONDS} (24 hours)"}


def check_policy(policy: RunPolicy) -> dict[str, str]:
    """The problems of how late and colliding occurrences and days off are treated, by field."""
    problems: dict[str, str] = {}
    grace = policy.misfire_grace_seconds
    if grace is not None and not 1 <= grace <= MAX_MISFIRE_GRACE_SECONDS:
        problems["misfire_grace_seconds"] = (
            f"found {grace}; allowed 1 to {MAX_MISFIRE_GRACE_SECONDS} (31 days), or nothing for no limit"
        )
    if len(policy.calendar_ids) > MAX_CALENDARS:
        problems["calendar_ids"] = f"found {len(policy.calendar_ids)} calendars; at most {MAX_CALENDARS}"
    return problems


def check_retries(retries: RetryPolicy) -> dict[str, str]:
    """The problems of how often and how soon failures are tried again, by field."""
    problems: dict[str, str] = {}
    if not 1 <= retries.max_attempts <= MAX_ATTEMPTS:
        problems["max_attempts"] = f"found {retries.max_attempts}; allowed 1 (no retry) to {MAX_ATTEMPTS}"
    if not 0 <= retries.retry_delay_seconds <= MAX_RETRY_DELAY_SECONDS:
        problems["retry_delay_seconds"] = (
            f"found {retries.retry_delay_seconds}; allowed 0 to {MAX_RETRY_DELAY_SECONDS} (6 hours)"
        )
    return problems


def _check_schedule(schedule: Schedule | None) -> dict[str, str]:
    if schedule is None:
        return {}
    try:
        parse_rule(schedule.schedule_type, schedule.schedule_config, schedule.time_zone)
    except InvalidScheduleError as error:
        return {"schedule": str(error)}
    return {}
