"""What a run holds of its accounts: a few of them at a time, however many the job has."""

import asyncio
import gc
from uuid import uuid4

import pytest
from sqlalchemy import Engine, delete, text

from db.engine import transaction
from db.models import Account, Job, Run
from portal_import.ledger import RunLedger
from portal_import.waiting_accounts import ACCOUNTS_AT_ONCE, WaitingAccounts
from tests.claimed_runs import add_run, take
from tests.factories import NOW, make_portal

ACCOUNTS = 2_000


@pytest.fixture
def ledger(engine: Engine) -> RunLedger:
    """Of a run of that many accounts."""
    run_id = add_run(engine)
    with transaction(engine) as session:
        job_id = session.get_one(Run, run_id).session_id
        session.execute(delete(Account).where(Account.session_id == job_id))
        session.execute(
            text(
                "INSERT INTO accounts (session_id, row_number, username, secret, fingerprint, extra)"
                " SELECT :job, n, 'user' || n, 'secret', 'print', '{}' FROM generate_series(2, :last) n"
            ),
            {"job": job_id, "last": ACCOUNTS + 1},
        )
        job = session.get_one(Job, job_id)
        job.portal_id = make_portal(session).id
        job.accounts_count = ACCOUNTS
    return RunLedger(engine, run_id, take(engine, run_id).lease_token or uuid4())


def test_accounts_are_in_memory_a_few_at_a_time(ledger: RunLedger) -> None:
    most = 0

    async def take_all() -> list[int]:
        nonlocal most
        plan = ledger.load_plan(NOW)
        waiting, rows = WaitingAccounts(ledger, plan.account_ids), list[int]()

        async def work() -> None:
            nonlocal most
            while (account := await waiting.take()) is not None:
                rows.append(account.row_number)
                if len(rows) % 50 == 0:
                    gc.collect()
                    most = max(most, len([a for a in gc.get_objects() if isinstance(a, Account)]))
                await asyncio.sleep(0)

        await asyncio.gather(*(work() for _ in range(8)))
        return rows

    rows = asyncio.run(take_all())
    assert rows == list(range(2, ACCOUNTS + 2))
    assert 0 < most <= 2 * ACCOUNTS_AT_ONCE + 8


def test_account_that_was_removed_meanwhile_is_passed_over(ledger: RunLedger, engine: Engine) -> None:
    async def take_all() -> list[int]:
        waiting = WaitingAccounts(ledger, ledger.load_plan(NOW).account_ids)
        first = await waiting.take()
        assert first
        with transaction(engine) as session:
            session.execute(delete(Account).where(Account.row_number > ACCOUNTS_AT_ONCE + 1))
        rows = [first.row_number]
        while (account := await waiting.take()) is not None:
            rows.append(account.row_number)
        return rows

    assert asyncio.run(take_all()) == list(range(2, ACCOUNTS_AT_ONCE + 2))
