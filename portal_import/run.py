"""One run, in a process of its own: sign in to every account, store the bills, record the outcomes.

The process is started by scheduler_service with a claim. It ends by itself when its parent is gone or
its lease is lost, and it never writes over what another worker wrote.
"""

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, NoReturn

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from db.breaker import COOL_DOWN
from db.encryption import WrongSecretKeyError, open_secret_box
from db.engine import create_database_engine
from db.errors import LeaseLostError, PortalNotAuthorisedError, PunctualError
from db.models import SUCCEEDED_RESULTS, Account, AccountStatus, LogLevel, ResultCause, ResultStatus, RunStatus
from db.result_words import count_accounts, describe_failures
from portal_import.batches import Batches
from portal_import.child import EXIT_CUT_SHORT, EXIT_LEASE_LOST, RunOrder
from portal_import.engine.engines import AccountEngine, limit_accounts_at_once, open_engine
from portal_import.engine.errors import EngineUnavailableError
from portal_import.engine.pdf_reader import PdfReader
from portal_import.engine.repetition import Report
from portal_import.engine.storage import DocumentStore
from portal_import.ledger import EndedAccount, RunLedger, RunPlan
from portal_import.outcomes import AccountLogin, AccountOutcome, Limits
from portal_import.passwords import PasswordReader
from portal_import.portal_gate import AccountGate, RunGate, SignInForbiddenError
from portal_import.portal_places import KeptPlace, PortalPlaces
from portal_import.teams import Team, count_processes, fork_team
from portal_import.url_templates import InvalidUrlError, fill_url
from portal_import.waiting_accounts import WaitingAccounts
from settings import read_settings

TICK_SECONDS = 1.0
# Where so many accounts are visited at once, a success is recorded while its worker goes on with the next account;
# elsewhere nothing is gained by it, and an interruption would cut off more.
MANY_AT_ONCE = 16
RECORDING_LINGER_SECONDS = 0.05
NO_ACCOUNTS = "the job has no accounts; upload its accounts CSV"
NO_ACCOUNT_LEFT = "the accounts that were to be tried again are no longer in the job"
NO_TESTED_ACCOUNT = "the account whose sign-in was to be tested is no longer in the job"
STILL_LEFT_ALONE = (
    "the sign-in works, but runs still leave this account alone; to let them use it, press Try again next run on the"
    " job's page"
)
TEST_SECONDS = 120  # somebody waits for it, and the job's runs as well

logger = logging.getLogger(__name__)


def execute_run(
    order: RunOrder, started_at: datetime, *, in_other_processes: Callable[[], object] = lambda: None
) -> None:
    """Do the run that was ordered, and end the process when its claim is lost. It began at `started_at`.

    SIGTERM cuts it short: the accounts that are being visited are finished, and no other is begun. A run that is
    shared by several processes calls `in_other_processes` in each but this one.
    """
    settings = read_settings()
    logging.basicConfig(level=settings.log_level, format=f"%(asctime)s run {order.run_id} %(levelname)s %(message)s")
    engine = create_database_engine(make_url(order.database_url), application=f"run {order.run_id}", pool_size=2)

    def work_on(plan: RunPlan, team: Team) -> int:
        """Do this process's part; returns its exit code."""
        with closing(RunLedger(engine, order.run_id, order.lease_token)) as ledger:
            run = ImportRun(
                ledger,
                PasswordReader(lambda: open_secret_box(settings)),
                DocumentStore(settings.effective_storage_url),
                Limits(
                    max_file_bytes=settings.max_file_mb * 1024 * 1024,
                    allows_private_networks=settings.private_networks == "allow",
                ),
            )
            is_done = False
            try:
                is_done = asyncio.run(run.run(plan, team))
            except* LeaseLostError:
                _leave()
        return 0 if is_done else EXIT_CUT_SHORT

    def help_along(plan: RunPlan, team: Team) -> int:
        in_other_processes()
        return work_on(plan, team)

    plan = _load_plan(engine, order, started_at)
    if plan is None:
        return
    processes = count_processes(plan.max_concurrent_accounts, len(plan.account_ids))
    code = work_on(plan, fork_team(processes, partial(help_along, plan)))
    if code:
        sys.exit(code)


def _load_plan(engine: Engine, order: RunOrder, started_at: datetime) -> RunPlan | None:
    """What is to be done; None when the run could be ended at once. Leaves no connection open."""
    with closing(RunLedger(engine, order.run_id, order.lease_token)) as ledger:
        try:
            plan = ledger.load_plan(started_at)
        except PortalNotAuthorisedError as error:
            ledger.finish(RunStatus.FAILED, str(error))
            return None
        except LeaseLostError:
            _leave()
        if plan.accounts_total:
            ledger.log(LogLevel.INFO, _describe_start(plan))  # stored before another process stores a line
    at_once = limit_accounts_at_once(plan.engine, plan.max_concurrent_accounts)
    return replace(plan, max_concurrent_accounts=at_once)


def _leave() -> NoReturn:
    logger.warning("the claim was lost; leaving the run to its new worker")
    os._exit(EXIT_LEASE_LOST)


class Work(NamedTuple):
    """What the accounts of a run that are visited side by side share."""

    plan: RunPlan
    engine: AccountEngine
    gate: RunGate
    places: PortalPlaces
    waiting: WaitingAccounts
    endings: Batches[EndedAccount, None]
    recordings: asyncio.TaskGroup | None  # for those that nobody waits for


class ImportRun:
    """The work of one run: accounts side by side within the portal's limits."""

    def __init__(self, ledger: RunLedger, passwords: PasswordReader, store: DocumentStore, limits: Limits) -> None:
        self._ledger = ledger
        self._passwords = passwords
        self._store = store
        self._limits = limits
        self._pdfs = PdfReader()
        self._is_ending = self._is_cut_short = False

    async def run(self, plan: RunPlan, team: Team) -> bool:
        """Do this process's part of all that is left of the run; who leads the team ends the run as well.

        False when SIGTERM cut it short, and it goes on later. Raises LeaseLostError.
        """
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._wind_up, team)
        await self._carry_out(plan, team)
        return not self._is_cut_short

    async def _carry_out(self, plan: RunPlan, team: Team) -> None:
        if plan.accounts_total == 0:
            without = NO_TESTED_ACCOUNT if plan.is_test else NO_ACCOUNT_LEFT if plan.is_retry else NO_ACCOUNTS
            await self._finish(RunStatus.FAILED, without)
            return
        try:
            async with self._pdfs, open_engine(plan.engine) as engine:
                await self._import_accounts(plan, engine, team)
        except EngineUnavailableError as error:
            await self._finish(RunStatus.FAILED, str(error))
            return
        if not await team.wait_for_others():
            self._is_cut_short = True
        if self._is_cut_short or team.is_led_elsewhere:
            return
        counts = await self._ledger.in_thread(self._ledger.count_results)
        if plan.is_test:
            await self._finish(*await self._judge_test(counts))
            return
        ours = await self._ledger.in_thread(self._ledger.get_shared_error, ResultStatus.FAILED)
        await self._finish(*self._judge(counts, ours))

    async def _import_accounts(self, plan: RunPlan, engine: AccountEngine, team: Team) -> None:
        account_ids = team.share_of(plan.account_ids)
        gate = RunGate(self._ledger, plan, max_rest_seconds=self._limits.max_retry_wait_seconds)
        at_once = plan.max_concurrent_accounts
        workers = min(team.share_of_places(at_once), len(account_ids))
        places = PortalPlaces(self._ledger, plan.portal_id, at_once, is_ending=lambda: self._is_ending)
        async with asyncio.TaskGroup() as outer:
            ticker = outer.create_task(self._tick_forever(gate, places))
            async with asyncio.TaskGroup() as group:
                work = Work(
                    plan,
                    engine,
                    gate,
                    places,
                    WaitingAccounts(self._ledger, account_ids),
                    Batches(
                        partial(self._record_all, plan, gate),
                        linger=RECORDING_LINGER_SECONDS if workers >= MANY_AT_ONCE else 0,
                    ),
                    group if workers >= MANY_AT_ONCE else None,
                )
                for _ in range(workers):
                    group.create_task(self._work_through(work))
            ticker.cancel()

    async def _work_through(self, work: Work) -> None:
        place = KeptPlace(work.places)
        try:
            while (account := await work.waiting.take()) is not None:
                if self._is_ending:
                    self._is_cut_short = True
                    return
                refusal = (None if work.plan.is_test else _leave_alone(account)) or work.gate.refuse()
                if refusal is not None:
                    ended = EndedAccount(account, refusal, None, datetime.now(UTC))
                elif not await place.take():
                    self._is_cut_short = True
                    return
                else:
                    started_at = datetime.now(UTC)
                    outcome = await self._import(work.plan, work.engine, work.gate, account)
                    ended = EndedAccount(account, outcome, started_at, datetime.now(UTC))
                    await place.offer()
                self._tell(work.plan, ended)
                if work.recordings is not None and ended.outcome.status in SUCCEEDED_RESULTS:
                    work.recordings.create_task(work.endings.ask(ended))
                else:
                    await work.endings.ask(ended)  # it may open the breaker, and then nobody is to go on
        finally:
            await place.give_back()

    async def _import(self, plan: RunPlan, engine: AccountEngine, gate: RunGate, account: Account) -> AccountOutcome:
        def report(level: LogLevel, message: str) -> None:
            self._ledger.log(level, f"{account.username}: {message}", account.id)

        try:
            login = AccountLogin(
                username=account.username,
                password=self._passwords.read(account.secret),
                login_url=fill_url(plan.login_url, account.username, account.extra),
                billing_url=fill_url(plan.billing_url, account.username, account.extra),
                bills_before=plan.bills_before.get(account.id, 0),
            )
        except WrongSecretKeyError as error:
            return _refused(ResultStatus.FAILED, f"the stored password cannot be read: {error}")
        except InvalidUrlError as error:
            return _refused(ResultStatus.FAILED, str(error))
        try:
            return await self._visit(plan, engine, AccountGate(gate, account.id), account, login, report)
        except SignInForbiddenError as error:
            return error.outcome
        except EngineUnavailableError as error:
            return _refused(ResultStatus.FAILED, str(error))
        except OSError as error:
            return _refused(ResultStatus.FAILED, f"a bill could not be stored: {error.strerror or error}")
        except (PunctualError, SQLAlchemyError):
            raise  # about the whole run
        except Exception as error:  # noqa: BLE001
            # One account must not take the others down, nor be signed in to again by a repeated attempt.
            where = "".join(traceback.format_tb(error.__traceback__))  # its message might quote what the portal sent
            logger.error("account %s failed unexpectedly: %s\n%s", account.id, type(error).__name__, where)
            return _refused(ResultStatus.FAILED, f"the import failed unexpectedly ({type(error).__name__})")

    async def _visit(
        self,
        plan: RunPlan,
        engine: AccountEngine,
        gate: AccountGate,
        account: Account,
        login: AccountLogin,
        report: Report,
    ) -> AccountOutcome:
        if not plan.is_test:
            if plan.bills_before:
                known = await self._ledger.in_thread(self._ledger.load_known_documents, plan.job_id, account)
                login = replace(login, known_documents=known)
            return await engine.import_account(
                login, plan.profile, self._limits, self._store, report=report, gate=gate, pdfs=self._pdfs
            )
        limits = replace(self._limits, account_timeout_seconds=TEST_SECONDS)
        test = await engine.try_sign_in(login, plan.profile, limits, report=report, gate=gate)
        if test.sample is not None:
            await self._ledger.in_thread(self._ledger.record_sample, account, test.sample)
        if test.outcome.status in SUCCEEDED_RESULTS and account.status == AccountStatus.NEEDS_ATTENTION:
            report(LogLevel.WARNING, STILL_LEFT_ALONE)
        return test.outcome

    async def _record_all(self, plan: RunPlan, gate: RunGate, ended: list[EndedAccount]) -> list[None]:
        counting_at = None if plan.is_test else plan.portal_id
        opened = await self._ledger.in_thread(self._ledger.record_outcomes, ended, counting_at)
        if opened is not None:
            minutes = int(COOL_DOWN.total_seconds() // 60)
            self._ledger.log(LogLevel.ERROR, f"{opened}; {plan.portal_host} is left alone for {minutes} minutes")
            await gate.refresh()  # before anybody goes on
        return [None] * len(ended)

    def _tell(self, plan: RunPlan, ended: EndedAccount) -> None:
        account, outcome = ended.account, ended.outcome
        level = LogLevel.INFO if outcome.status in SUCCEEDED_RESULTS else LogLevel.WARNING
        words = outcome.status.value.replace("_", " ")
        found = ", the sign-in works" if plan.is_test else f", {len(outcome.bills)} bills"
        detail = f": {outcome.error}" if outcome.error else found
        self._ledger.log(level, f"{account.username}: {words}{detail}", account.id)

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
        return RunStatus.FAILED, await self._ledger.in_thread(self._ledger.get_shared_error, status)

    async def _finish(self, outcome: RunStatus, reason: str | None) -> None:
        await self._ledger.in_thread(self._ledger.finish, outcome, reason)

    def _wind_up(self, team: Team) -> None:
        self._is_ending = True
        team.wind_up()

    async def _tick_forever(self, gate: RunGate, places: PortalPlaces) -> None:
        """Store the log, and learn what other runs have found out about the portal."""
        while True:
            await places.look_around()
            await asyncio.sleep(TICK_SECONDS)
            await self._ledger.in_thread(self._ledger.flush_log)
            await gate.refresh()


def _describe_start(plan: RunPlan) -> str:
    if plan.is_test:
        return f"started: a test of the sign-in at {plan.portal_host}; it stores no bill"
    left = len(plan.account_ids)
    done = plan.accounts_total - left
    resumed = f", {done} were done before" if done else ""
    retried = f" that run {plan.retries_run_id} left undone" if plan.retries_run_id is not None else ""
    return f"started: {count_accounts(left)}{retried} at {plan.portal_host}{resumed}"


def _leave_alone(account: Account) -> AccountOutcome | None:
    """The outcome of an account that waits for a person."""
    if account.status != AccountStatus.NEEDS_ATTENTION:
        return None
    why = account.status_reason or "an earlier run could not sign in"
    advice = "replace its row in the CSV, or press Try again next run on the job's page"
    words = f"left alone since an earlier run: {why}; to go on, {advice}"
    return _refused(ResultStatus.NEEDS_ATTENTION, words, ResultCause.LEFT_ALONE)


def _refused(status: ResultStatus, error: str, cause: ResultCause | None = None) -> AccountOutcome:
    return AccountOutcome(status, cause=cause, error=error)
