"""One run, in a process of its own: sign in to every account, store the bills, record the outcomes.

The process is started by scheduler_service with a claim. It ends by itself when its parent is gone or
its lease is lost, and it never writes over what another worker wrote.
"""

import asyncio
import logging
import os
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from db.encryption import SecretBox, WrongSecretKeyError, open_secret_box
from db.engine import create_database_engine
from db.errors import LeaseLostError, PunctualError
from db.models import SUCCEEDED_RESULTS, Account, AccountStatus, Engine, LogLevel, ResultCause, ResultStatus, RunStatus
from db.result_words import count_accounts, describe_failures
from portal_import.breaker import Breaker
from portal_import.child import EXIT_LEASE_LOST, RunOrder
from portal_import.engine.http_engine import import_account, try_sign_in
from portal_import.engine.repetition import Report
from portal_import.engine.storage import DocumentStore
from portal_import.ledger import PortalSlot, RunLedger, RunPlan, decrypt_password
from portal_import.outcomes import AccountLogin, AccountOutcome, Limits
from portal_import.url_templates import InvalidUrlError, fill_url
from settings import read_settings

BREAKER_COOL_DOWN = timedelta(minutes=30)
LOG_FLUSH_SECONDS = 1.0
SLOT_POLL_SECONDS = 0.25
NO_ACCOUNTS = "the job has no accounts; upload its accounts CSV"
NO_ACCOUNT_LEFT = "the accounts that were to be tried again are no longer in the job"
NO_TESTED_ACCOUNT = "the account whose sign-in was to be tested is no longer in the job"
STILL_LEFT_ALONE = (
    "the sign-in works, but runs still leave this account alone; to let them use it, press Try again next run on the"
    " job's page"
)
TEST_SECONDS = 120  # somebody waits for it, and the job's runs as well

T = TypeVar("T")

logger = logging.getLogger(__name__)


def execute_run(order: RunOrder, started_at: datetime) -> None:
    """Do the run that was ordered, and end the process when its claim is lost. It began at `started_at`."""
    settings = read_settings()
    logging.basicConfig(level=settings.log_level, format=f"%(asctime)s run {order.run_id} %(levelname)s %(message)s")
    engine = create_database_engine(make_url(order.database_url), application=f"run {order.run_id}", pool_size=2)
    ledger = RunLedger(engine, order.run_id, order.lease_token, started_at=started_at)
    work = ImportRun(
        ledger,
        open_secret_box(settings),
        DocumentStore(settings.effective_storage_url),
        Limits(
            max_file_bytes=settings.max_file_mb * 1024 * 1024,
            allows_private_networks=settings.private_networks == "allow",
        ),
    )
    try:
        asyncio.run(work.run())
    except* LeaseLostError:
        logger.warning("the claim was lost; leaving the run to its new worker")
        os._exit(EXIT_LEASE_LOST)
    finally:
        ledger.close()


class ImportRun:
    """The work of one run: accounts side by side within the portal's limits."""

    def __init__(self, ledger: RunLedger, box: SecretBox, store: DocumentStore, limits: Limits) -> None:
        self._ledger = ledger
        self._box = box
        self._store = store
        self._limits = limits
        self._breaker = Breaker()

    async def run(self) -> None:
        """Do everything that is left of the run and end it. Raises LeaseLostError."""
        plan = await self._in_ledger(self._ledger.load_plan)
        if plan.accounts_total == 0:
            without = NO_TESTED_ACCOUNT if plan.is_test else NO_ACCOUNT_LEFT if plan.is_retry else NO_ACCOUNTS
            await self._finish(RunStatus.FAILED, without)
            return
        if plan.engine == Engine.BROWSER:
            await self._finish(RunStatus.FAILED, "the browser engine is not available in this version")
            return
        await self._import_accounts(plan)
        counts = await self._in_ledger(self._ledger.count_results)
        if plan.is_test:
            await self._finish(*await self._judge_test(counts))
            return
        ours = await self._in_ledger(self._ledger.get_shared_error, ResultStatus.FAILED)
        await self._finish(*self._judge(counts, ours))

    async def _import_accounts(self, plan: RunPlan) -> None:
        self._log_start(plan)
        waiting = iter(plan.accounts)
        workers = min(plan.max_concurrent_accounts, len(plan.accounts))
        async with asyncio.TaskGroup() as outer:
            flusher = outer.create_task(self._flush_log_forever())
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work_through(plan, waiting))
            flusher.cancel()

    async def _work_through(self, plan: RunPlan, waiting: Iterator[Account]) -> None:
        for account in waiting:
            refusal = self._refuse(plan, account)
            if refusal is not None:
                await self._record(plan, account, refusal, None)
                continue
            slot = await self._take_slot(plan)
            try:
                started_at = datetime.now(UTC)
                outcome = await self._import(plan, account)
            finally:
                if slot is not None and plan.portal_id is not None:
                    await self._in_ledger(self._ledger.free_slot, plan.portal_id, slot)
            await self._record(plan, account, outcome, started_at)
            if not plan.is_test:
                await self._watch_breaker(plan, outcome)

    def _refuse(self, plan: RunPlan, account: Account) -> AccountOutcome | None:
        """The outcome of an account that must not be signed in to now."""
        if account.status == AccountStatus.NEEDS_ATTENTION and not plan.is_test:
            why = account.status_reason or "an earlier run could not sign in"
            advice = "replace its row in the CSV, or press Try again next run on the job's page"
            words = f"left alone since an earlier run: {why}; to go on, {advice}"
            return _refused(ResultStatus.NEEDS_ATTENTION, words, ResultCause.LEFT_ALONE)
        if plan.breaker_open_until is not None and plan.breaker_open_until > datetime.now(UTC):
            why = f"{plan.portal_host} is left alone until {plan.breaker_open_until:%d %b %H:%M} UTC"
            return _refused(ResultStatus.NOT_TRIED, f"{why}: {plan.breaker_reason}", ResultCause.BREAKER)
        if self._breaker.reason is not None:
            return _refused(ResultStatus.NOT_TRIED, f"not tried, because {self._breaker.reason}", ResultCause.BREAKER)
        return None

    async def _import(self, plan: RunPlan, account: Account) -> AccountOutcome:
        def report(level: LogLevel, message: str) -> None:
            self._ledger.log(level, f"{account.username}: {message}", account.id)

        try:
            login = AccountLogin(
                username=account.username,
                password=decrypt_password(account, self._box),
                login_url=fill_url(plan.login_url, account.username, account.extra),
                billing_url=fill_url(plan.billing_url, account.username, account.extra),
                bills_before=plan.bills_before.get(account.id, 0),
            )
        except WrongSecretKeyError as error:
            return _refused(ResultStatus.FAILED, f"the stored password cannot be read: {error}")
        except InvalidUrlError as error:
            return _refused(ResultStatus.FAILED, str(error))
        try:
            return await self._visit(plan, account, login, report)
        except OSError as error:
            return _refused(ResultStatus.FAILED, f"a bill could not be stored: {error.strerror or error}")
        except (PunctualError, SQLAlchemyError):
            raise  # about the whole run
        except Exception as error:  # noqa: BLE001
            # One account must not take the others down, nor be signed in to again by a repeated attempt.
            where = "".join(traceback.format_tb(error.__traceback__))  # its message might quote what the portal sent
            logger.error("account %s failed unexpectedly: %s\n%s", account.id, type(error).__name__, where)
            return _refused(ResultStatus.FAILED, f"the import failed unexpectedly ({type(error).__name__})")

    async def _visit(self, plan: RunPlan, account: Account, login: AccountLogin, report: Report) -> AccountOutcome:
        before_request = self._spacer(plan)
        if not plan.is_test:
            return await import_account(
                login, plan.profile, self._limits, self._store, report=report, before_request=before_request
            )
        limits = replace(self._limits, account_timeout_seconds=TEST_SECONDS)
        test = await try_sign_in(login, plan.profile, limits, report=report, before_request=before_request)
        if test.sample is not None:
            await self._in_ledger(self._ledger.record_sample, account, test.sample)
        if test.outcome.status in SUCCEEDED_RESULTS and account.status == AccountStatus.NEEDS_ATTENTION:
            report(LogLevel.WARNING, STILL_LEFT_ALONE)
        return test.outcome

    async def _record(
        self, plan: RunPlan, account: Account, outcome: AccountOutcome, started_at: datetime | None
    ) -> None:
        await self._in_ledger(self._ledger.record_outcome, account, outcome, started_at)
        level = LogLevel.INFO if outcome.status in SUCCEEDED_RESULTS else LogLevel.WARNING
        words = outcome.status.value.replace("_", " ")
        found = ", the sign-in works" if plan.is_test else f", {len(outcome.bills)} bills"
        detail = f": {outcome.error}" if outcome.error else found
        self._ledger.log(level, f"{account.username}: {words}{detail}", account.id)

    async def _watch_breaker(self, plan: RunPlan, outcome: AccountOutcome) -> None:
        was_open = self._breaker.reason is not None
        if outcome.status in (*SUCCEEDED_RESULTS, ResultStatus.WRONG_CREDENTIALS, ResultStatus.NEEDS_ATTENTION):
            self._breaker.record(refused=outcome.status not in SUCCEEDED_RESULTS)
        reason = self._breaker.reason
        if reason is not None and not was_open and plan.portal_id is not None:
            minutes = int(BREAKER_COOL_DOWN.total_seconds() // 60)
            self._ledger.log(LogLevel.ERROR, f"{reason}; {plan.portal_host} is left alone for {minutes} minutes")
            await self._in_ledger(self._ledger.open_breaker, plan.portal_id, reason, BREAKER_COOL_DOWN)

    async def _take_slot(self, plan: RunPlan) -> PortalSlot | None:
        """Wait for one of the portal's places, shared with all other runs."""
        if plan.portal_id is None:
            return None
        while True:
            slot = await self._in_ledger(self._ledger.try_slot, plan.portal_id, plan.max_concurrent_accounts)
            if slot is not None:
                return slot
            await asyncio.sleep(SLOT_POLL_SECONDS)

    def _spacer(self, plan: RunPlan) -> Callable[[], Awaitable[None]]:
        async def wait_for_turn() -> None:
            if plan.has_request_spacing and plan.portal_id is not None:
                await asyncio.sleep(await self._in_ledger(self._ledger.reserve_request, plan.portal_id))

        return wait_for_turn

    def _judge(self, counts: dict[ResultStatus, int], our_fault: str | None) -> tuple[RunStatus, str | None]:
        """The run's outcome and its reason in words; a fault on this side, such as a full disk, is named."""
        reason = describe_failures(counts, our_fault)
        if not reason:
            return RunStatus.COMPLETED, None
        return (RunStatus.PARTIAL if set(counts) & set(SUCCEEDED_RESULTS) else RunStatus.FAILED), reason

    async def _judge_test(self, counts: dict[ResultStatus, int]) -> tuple[RunStatus, str | None]:
        """The test's outcome is that of its one account."""
        [status] = counts
        if status in SUCCEEDED_RESULTS:
            return RunStatus.COMPLETED, None
        return RunStatus.FAILED, await self._in_ledger(self._ledger.get_shared_error, status)

    async def _finish(self, outcome: RunStatus, reason: str | None) -> None:
        await self._in_ledger(self._ledger.finish, outcome, reason)

    async def _flush_log_forever(self) -> None:
        while True:
            await asyncio.sleep(LOG_FLUSH_SECONDS)
            await self._in_ledger(self._ledger.flush_log)

    def _log_start(self, plan: RunPlan) -> None:
        left = len(plan.accounts)
        done = plan.accounts_total - left
        resumed = f", {done} were done before" if done else ""
        retried = f" that run {plan.retries_run_id} left undone" if plan.retries_run_id is not None else ""
        if plan.is_test:
            self._ledger.log(LogLevel.INFO, f"started: a test of the sign-in at {plan.portal_host}; it stores no bill")
            return
        self._ledger.log(LogLevel.INFO, f"started: {count_accounts(left)}{retried} at {plan.portal_host}{resumed}")

    async def _in_ledger(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._ledger.thread, function, *args)


def _refused(status: ResultStatus, error: str, cause: ResultCause | None = None) -> AccountOutcome:
    return AccountOutcome(status, cause=cause, error=error)
