"""The guards of a portal as the portal sees them: what real import processes send to it, counted there."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from db.accounts import NewAccount, clear_attention, list_accounts, replace_accounts
from db.encryption import SecretBox
from db.engine import transaction
from db.jobs import get_job
from db.models import Portal, ResultStatus, RunStatus
from db.portal_gate import read_portal_state
from portal_import.child import EXIT_CUT_SHORT
from portal_import.ledger import NOT_AUTHORISED
from portal_import.portal_gate import SIGNED_IN_BEFORE
from tests.counting_portal import NAMES, WAIT_SECONDS, CountingPortal
from tests.factories import PASSWORD
from tests.import_processes import (
    add_job,
    ask_for_run,
    carry_out,
    carrying_out,
    give_back,
    list_endings,
    serve,
)
from tests.portal_server import Request, answer
from tests.scheduler_process import SECRET_KEY
from tests.waiting import wait_until

REST_SECONDS = 3
SPACING_SECONDS = 0.25
ANN, BOB, CYD = NAMES[:3]
WRONG = "not-the-password"


@pytest.fixture
def portal() -> Iterator[CountingPortal]:
    with serve(CountingPortal()) as portal:
        assert isinstance(portal, CountingPortal)
        yield portal


def get_portal(engine: Engine) -> Portal:
    with transaction(engine) as session:
        return session.scalars(select(Portal)).one()


def statuses(engine: Engine, run_id: int) -> list[str]:
    return sorted(status for status, _ in list_endings(engine, run_id).values())


# The breaker


def test_refused_sign_ins_of_several_runs_open_the_breaker_for_all(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    jobs = [
        add_job(engine, portal, NAMES[n * 3 : n * 3 + 3], owner=owner, password=WRONG)
        for n, owner in enumerate(("ann", "ben", "cyd", "dan"))
    ]
    runs = [carry_out(engine, tmp_path, *job).id for job in jobs[:3]]
    refused, untried = ResultStatus.WRONG_CREDENTIALS, ResultStatus.NOT_TRIED
    assert [statuses(engine, run) for run in runs] == [[refused] * 3, [untried, refused, refused], [untried] * 3]
    assert portal.sign_ins == Counter(NAMES[:5])
    until = get_portal(engine).breaker_open_until
    assert until is not None
    words = f"not tried: {portal.url.removeprefix('http://')} is left alone until {until:%d %b %H:%M} UTC, because"
    assert list_endings(engine, runs[2])[NAMES[6]][1] == f"{words} the portal refused 5 sign-ins in a row"

    with transaction(engine) as session:  # the cool-down is over
        session.scalars(select(Portal)).one().breaker_open_until = datetime.now(UTC)
    assert statuses(engine, carry_out(engine, tmp_path, *jobs[3]).id) == [refused] * 3
    assert portal.sign_ins == Counter([*NAMES[:5], *NAMES[9:12]])


def test_breaker_that_another_run_opens_holds_back_a_sign_in_that_was_about_to_be_sent(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    careful = add_job(engine, portal, [ANN], owner="ann", max_concurrent_accounts=2)
    reckless = add_job(engine, portal, NAMES[4:10], owner="ben", password=WRONG, max_concurrent_accounts=2)
    form = portal.hold("GET /login")
    with carrying_out(engine, tmp_path, ask_for_run(engine, *careful)) as (waiting,):
        portal.wait_for("GET", "/login")
        carry_out(engine, tmp_path, *reckless)
        form.set()
        run = waiting.wait()
    assert [status for status, _ in list_endings(engine, run.id).values()] == [ResultStatus.NOT_TRIED]
    assert portal.sign_ins.total() == 5
    assert ANN not in portal.sign_ins


# One sign-in an account


def test_account_with_wrong_credentials_waits_for_another_row_or_a_person(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    viewer, job_id = add_job(engine, portal, [ANN, BOB, CYD], password=WRONG)
    carry_out(engine, tmp_path, viewer, job_id)
    with transaction(engine) as session:  # Ann's row is replaced by the same, Cyd's by another
        rows = [NewAccount(n, name, WRONG, {}) for n, name in enumerate([ANN, BOB], start=2)]
        rows.append(NewAccount(4, CYD, PASSWORD, {}))
        replace_accounts(session, get_job(session, viewer, job_id), rows, SecretBox((SECRET_KEY,)))
    again = carry_out(engine, tmp_path, viewer, job_id)
    assert portal.sign_ins == {ANN: 1, BOB: 1, CYD: 2}
    endings = {name: status for name, (status, _) in list_endings(engine, again.id).items()}
    needs = ResultStatus.NEEDS_ATTENTION
    assert endings == {ANN: needs, BOB: needs, CYD: ResultStatus.SUCCESS}
    with transaction(engine) as session:
        job = get_job(session, viewer, job_id)
        (bob,) = [account.id for account in list_accounts(session, job) if account.username == BOB]
        clear_attention(session, job, bob)
    carry_out(engine, tmp_path, viewer, job_id)
    assert portal.sign_ins == {ANN: 1, BOB: 2, CYD: 3}


def test_process_that_dies_after_a_sign_in_was_sent_is_not_the_reason_for_a_second_one(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    viewer, job_id = add_job(engine, portal, [ANN, BOB])
    portal.hold("POST /login")
    with carrying_out(engine, tmp_path, ask_for_run(engine, viewer, job_id)) as (dying,):
        portal.wait_for("POST", "/login")
        dying.kill()
    with carrying_out(engine, tmp_path, give_back(engine, dying)) as (second,):
        run = second.wait()
    assert portal.sign_ins == {ANN: 1, BOB: 1}
    assert list_endings(engine, run.id) == {
        ANN: (ResultStatus.FAILED, SIGNED_IN_BEFORE),
        BOB: (ResultStatus.SUCCESS, None),
    }
    assert run.status == RunStatus.PARTIAL


def test_process_that_dies_before_a_sign_in_was_sent_loses_nothing(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    viewer, job_id = add_job(engine, portal, [ANN, BOB])
    portal.hold("GET /login")
    with carrying_out(engine, tmp_path, ask_for_run(engine, viewer, job_id)) as (dying,):
        portal.wait_for("GET", "/login")
        dying.kill()
    with carrying_out(engine, tmp_path, give_back(engine, dying)) as (second,):
        run = second.wait()
    assert portal.sign_ins == {ANN: 1, BOB: 1}
    assert run.status == RunStatus.COMPLETED


def test_process_that_is_asked_to_end_finishes_the_account_that_it_is_at(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    viewer, job_id = add_job(engine, portal, [ANN, BOB, CYD])
    answer_to_ann = portal.hold("POST /login")
    with carrying_out(engine, tmp_path, ask_for_run(engine, viewer, job_id)) as (first,):
        portal.wait_for("POST", "/login")
        first.process.terminate()
        answer_to_ann.set()
        first.wait()
        assert first.process.exitcode == EXIT_CUT_SHORT
        assert list_endings(engine, first.claim.run_id) == {ANN: (ResultStatus.SUCCESS, None)}
    with carrying_out(engine, tmp_path, give_back(engine, first)) as (second,):
        run = second.wait()
    assert (run.status, run.accounts_done) == (RunStatus.COMPLETED, 3)
    assert portal.sign_ins == {ANN: 1, BOB: 1, CYD: 1}


# Authorisation


def test_portal_that_nobody_vouched_for_gets_no_request(engine: Engine, portal: CountingPortal, tmp_path: Path) -> None:
    viewer, job_id = add_job(engine, portal, [ANN], authorised_at=None)
    run = carry_out(engine, tmp_path, viewer, job_id)
    assert (run.status, run.reason) == (RunStatus.FAILED, NOT_AUTHORISED)
    assert portal.requests == []


# Politeness


def test_portal_that_asks_for_a_long_rest_gets_it_from_all_runs(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    first = add_job(engine, portal, [ANN, BOB], owner="ann")
    second = add_job(engine, portal, [CYD], owner="ben")
    portal.routes["GET /billing"] = answer("maintenance", 503, Retry_After="3600")
    runs = [carry_out(engine, tmp_path, *job).id for job in (first, second)]
    assert portal.sign_ins == {ANN: 1}
    assert [request.path for request in portal.requests] == ["/login", "/login", "/home", "/billing"]
    until = get_portal(engine).retry_after_at
    assert until is not None
    host = portal.url.removeprefix("http://")
    left_alone = f"{host} asked to be left alone until {until:%d %b %H:%M:%S} UTC (Retry-After)"
    portal_error = ResultStatus.PORTAL_ERROR
    assert list_endings(engine, runs[0])[ANN][0] == portal_error
    assert list_endings(engine, runs[0])[BOB] == (portal_error, left_alone)
    assert list_endings(engine, runs[1]) == {CYD: (portal_error, left_alone)}


@pytest.mark.parametrize("spacing", [0, 0.01])
def test_portal_that_asks_for_a_short_rest_gets_it_from_runs_that_are_at_it(
    engine: Engine, portal: CountingPortal, tmp_path: Path, spacing: float
) -> None:
    columns = {"max_concurrent_accounts": 2, "min_seconds_between_requests": spacing}
    jobs = [add_job(engine, portal, [name], owner=name[:7], **columns) for name in (ANN, BOB)]
    form = portal.hold("GET /login")
    with carrying_out(engine, tmp_path, ask_for_run(engine, *jobs[0])) as (waiting,):
        portal.wait_for("GET", "/login")
        usual, asked_at = portal.routes["GET /billing"], []

        def ask_for_rest(request: Request) -> bytes:
            portal.routes["GET /billing"] = usual
            asked_at.append(time.time())
            return answer("busy", 429, Retry_After=str(REST_SECONDS))

        portal.routes["GET /billing"] = ask_for_rest
        with carrying_out(engine, tmp_path, ask_for_run(engine, *jobs[1])) as (rested,):
            wait_until(lambda: is_resting(engine), WAIT_SECONDS, "the rest")
            form.set()
            assert {waiting.wait().status, rested.wait().status} == {RunStatus.COMPLETED}
    later = [at for at in portal.arrivals if at > asked_at[0]]
    assert min(later) >= asked_at[0] + REST_SECONDS
    assert portal.sign_ins == {ANN: 1, BOB: 1}


def is_resting(engine: Engine) -> bool:
    with transaction(engine) as session:
        portal = session.scalars(select(Portal)).one()
        return read_portal_state(session, portal.id).retry_after_at is not None


def test_processes_share_the_pace_of_a_portal(engine: Engine, portal: CountingPortal, tmp_path: Path) -> None:
    columns = {"max_concurrent_accounts": 2, "min_seconds_between_requests": SPACING_SECONDS}
    jobs = [add_job(engine, portal, [name], owner=name[:7], **columns) for name in (ANN, BOB)]
    runs = [ask_for_run(engine, *job) for job in jobs]
    with carrying_out(engine, tmp_path, *runs) as processes:
        assert {process.wait().status for process in processes} == {RunStatus.COMPLETED}
    assert portal.sign_ins == {ANN: 1, BOB: 1}
    pauses = len(portal.requests) - 1
    assert pauses == 11
    # Were each process to keep the pace by itself, all would be over in half the time. A request may be underway
    # for longer than another, so the pauses between arrivals are not each as long as between departures.
    assert portal.arrivals[-1] - portal.arrivals[0] > 0.8 * pauses * SPACING_SECONDS
