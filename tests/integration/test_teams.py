"""Runs whose accounts several processes share: each account once, and one end for all."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from db.engine import transaction
from db.models import ResultStatus, Run, RunStatus
from db.portal_gate import free_portal_slots, try_portal_slots
from db.run_log import list_log_lines
from portal_import.child import EXIT_CUT_SHORT, EXIT_LEASE_LOST, EXIT_PARENT_GONE
from portal_import.run import MANY_AT_ONCE
from portal_import.teams import MOST_PROCESSES, Team, count_processes
from tests.counting_portal import NAMES, WAIT_SECONDS, CountingPortal
from tests.import_processes import ImportProcess, add_job, ask_for_run, carrying_out, give_back, list_endings, serve
from tests.waiting import wait_until

TEAM = 3
ONCE_EACH = dict.fromkeys(NAMES, 1)
ALL_IN = dict.fromkeys(NAMES, (ResultStatus.SUCCESS, None))


@pytest.fixture
def portal() -> Iterator[CountingPortal]:
    with serve(CountingPortal()) as portal:
        assert isinstance(portal, CountingPortal)
        yield portal


def ask(engine: Engine, portal: CountingPortal) -> int:
    return ask_for_run(engine, *add_job(engine, portal, NAMES, max_concurrent_accounts=TEAM))


def read_log(engine: Engine, run_id: int) -> Sequence[str]:
    with transaction(engine) as session:
        return [line.message for line in list_log_lines(session, run_id)]


def others_of(process: ImportProcess) -> list[psutil.Process]:
    """The processes that help the run's own."""
    leader = psutil.Process(process.process.pid)
    wait_until(lambda: len(leader.children()) == TEAM - 1, WAIT_SECONDS, "the whole team")
    return leader.children()


def expects_to_be_ended(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) & 1 << signal.SIGTERM - 1)


def end_of(process: ImportProcess) -> int | None:
    process.process.join(WAIT_SECONDS)
    return process.process.exitcode


@pytest.mark.parametrize(
    ("at_once", "accounts", "size"), [(2, 10_000, 1), (31, 10_000, 1), (64, 199, 1), (64, 200, 2), (128, 10_000, 4)]
)
def test_team_grows_with_what_the_portal_takes_at_once(
    at_once: int, accounts: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert count_processes(at_once, accounts) == size
    assert count_processes(10_000, 10_000) == MOST_PROCESSES
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert count_processes(at_once, accounts) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_shares_are_the_whole(size: int) -> None:
    members = [Team(number, size) for number in range(size)]
    shares = [member.share_of(range(10)) for member in members]
    assert sorted(item for share in shares for item in share) == list(range(10))
    assert sum(member.share_of_places(10) for member in members) >= 10


def test_each_account_is_visited_once_and_the_run_ends_once(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    release = portal.hold("POST /login")
    with carrying_out(engine, tmp_path, ask(engine, portal), team_size=TEAM) as (process,):
        others_of(process)
        # Two of the three go on while one is held, and the run does not end without it.
        share = len(NAMES) // TEAM
        wait_until(lambda: sum(portal.sign_ins.values()) >= 2 * share, WAIT_SECONDS, "the other shares")
        assert process.process.is_alive()
        release.set()
        run = process.wait()
    assert (run.status, run.accounts_done, run.accounts_succeeded) == (RunStatus.COMPLETED, len(NAMES), len(NAMES))
    assert portal.sign_ins == ONCE_EACH
    assert list_endings(engine, run.id) == ALL_IN
    lines = read_log(engine, run.id)
    assert lines[0].startswith("started:")
    assert sum(line.startswith("started:") for line in lines) == 1
    assert sum("success" in line for line in lines) == len(NAMES)  # the others' lines are stored as well


def test_success_that_nobody_waits_for_is_recorded_before_the_run_ends(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    job = add_job(engine, portal, NAMES, max_concurrent_accounts=MANY_AT_ONCE)
    with carrying_out(engine, tmp_path, ask_for_run(engine, *job), team_size=1) as (process,):
        run = process.wait()
    assert (run.status, run.accounts_done) == (RunStatus.COMPLETED, len(NAMES))
    assert list_endings(engine, run.id) == ALL_IN
    assert portal.sign_ins == ONCE_EACH


def test_team_that_is_cut_short_finishes_what_it_is_at_and_another_goes_on(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    release = portal.hold_all("POST /login")
    with carrying_out(engine, tmp_path, ask(engine, portal), team_size=TEAM) as (process,):
        portal.wait_for("POST", "/login", TEAM)
        assert process.process.pid is not None
        os.kill(process.process.pid, signal.SIGTERM)
        release.set()
        assert end_of(process) == EXIT_CUT_SHORT
        done = list_endings(engine, process.claim.run_id)
        assert set(done) == set(portal.sign_ins), "an account was left in the middle"
        assert TEAM <= len(done) < len(NAMES)
        run_id = give_back(engine, process)
    with carrying_out(engine, tmp_path, run_id, team_size=TEAM) as (process,):
        assert process.wait().status == RunStatus.COMPLETED
    assert portal.sign_ins == ONCE_EACH
    assert list_endings(engine, run_id) == ALL_IN


def test_team_that_waits_for_the_portal_s_places_ends_when_it_is_asked_to(
    engine: Engine, portal: CountingPortal, tmp_path: Path
) -> None:
    run_id = ask(engine, portal)
    with Session(engine) as holder:
        portal_id = holder.scalars(select(Run.portal_id).where(Run.id == run_id)).one()
        assert portal_id is not None
        assert len(try_portal_slots(holder, portal_id, range(TEAM), wanted=TEAM)) == TEAM
        holder.commit()  # the places stay with the connection
        with carrying_out(engine, tmp_path, run_id, team_size=TEAM) as (process,):
            others = others_of(process)
            leader = process.process.pid
            assert leader is not None
            pids = [leader, *(other.pid for other in others)]
            wait_until(lambda: all(map(expects_to_be_ended, pids)), WAIT_SECONDS, "the signal handlers")
            os.kill(leader, signal.SIGTERM)
            assert end_of(process) == EXIT_CUT_SHORT
            assert not any(other.is_running() for other in others)
        free_portal_slots(holder, portal_id, range(TEAM))
        holder.commit()
    assert not portal.sign_ins


def test_run_dies_as_one_of_its_team_did(engine: Engine, portal: CountingPortal, tmp_path: Path) -> None:
    release = portal.hold_all("POST /login")
    with carrying_out(engine, tmp_path, ask(engine, portal), team_size=TEAM) as (process,):
        others_of(process)[0].kill()
        release.set()
        assert end_of(process) == -signal.SIGKILL


def test_team_that_lost_its_lease_writes_nothing_more(engine: Engine, portal: CountingPortal, tmp_path: Path) -> None:
    release = portal.hold_all("GET /login")
    with carrying_out(engine, tmp_path, ask(engine, portal), team_size=TEAM) as (process,):
        portal.wait_for("GET", "/login", TEAM)
        give_back(engine, process)
        before = list_endings(engine, process.claim.run_id)
        release.set()
        assert end_of(process) == EXIT_LEASE_LOST
        assert list_endings(engine, process.claim.run_id) == before


def test_no_process_outlives_the_supervisor(engine: Engine, portal: CountingPortal, tmp_path: Path) -> None:
    portal.hold_all("GET /login")
    with carrying_out(engine, tmp_path, ask(engine, portal), team_size=TEAM) as (process,):
        others = others_of(process)
        portal.wait_for("GET", "/login", TEAM)
        process.parent.close()
        assert end_of(process) == EXIT_PARENT_GONE
        assert psutil.wait_procs(others, WAIT_SECONDS)[1] == []
