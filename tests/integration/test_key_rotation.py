"""Another secret key takes the place of the old one, and no password is lost, whenever it is interrupted."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, delete, select, text
from sqlalchemy.orm import Session

from db import key_rotation
from db.accounts import NewAccount, replace_accounts
from db.encryption import SecretBox, WrongSecretKeyError, open_secret_box
from db.engine import transaction
from db.errors import ConflictError
from db.instances import list_instances, record_stopped, register_instance
from db.key_file import read_key_file
from db.key_rotation import KeysMissingError, Rotation, rotate_key
from db.models import Account, Job, Result, RunTrigger
from db.runs import request_run
from db.secret_keys import OutdatedKeyError, end_rotation, try_to_begin_rotation
from portal_import.passwords import PasswordReader
from settings import PROJECT_ROOT, InvalidSettingsError, Settings
from tests.child_processes import complete
from tests.demo_portal import make_demo_job, read_demo_accounts, serve_demo_portal
from tests.factories import make_job, make_viewer
from tests.scheduler_process import launch_scheduler, scheduler_in_process, start_scheduler
from tests.waiting import wait_until

OLD, NEW, OTHER = ("the-old-key-" * 3, "the-new-key-" * 3, "another-key-" * 3)
SOON = 30


def settings(home: Path, *keys: str) -> Settings:
    return Settings(home=home, secret_key=SecretStr(",".join(keys)) if keys else None)


def store(engine: Engine, box: SecretBox, count: int, *, name: str = "Water bills") -> str:
    """A job with that many accounts, whose passwords are `secret-2` and so on."""
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session, name.lower()), name=name, accounts=0)
        session.add_all(
            Account(
                session_id=job.id,
                row_number=n,
                username=f"account{n}@example.com",
                secret=box.encrypt(f"secret-{n}"),
                fingerprint=box.fingerprint(f"secret-{n}"),
            )
            for n in range(2, count + 2)
        )
    return job.id


def read_wrong(engine: Engine, box: SecretBox) -> list[str]:
    """The accounts whose password or fingerprint is not what it was, read with these keys."""
    with transaction(engine) as session:
        accounts = session.scalars(select(Account)).all()
        assert accounts
        return [
            a.username
            for a in accounts
            if box.decrypt(a.secret) != f"secret-{a.row_number}"
            or not box.matches(f"secret-{a.row_number}", a.fingerprint)
        ]


def current(engine: Engine, box: SecretBox) -> int:
    with transaction(engine) as session:
        return sum(box.is_current(secret) for secret in session.scalars(select(Account.secret)))


def rotate(engine: Engine, given: Settings, **options: bool) -> Rotation:
    return rotate_key(engine, given, lambda line: None, **options)


def command(engine: Engine, home: Path, *arguments: str, keys: str = "") -> "subprocess.Popen[str]":
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PUNCTUAL_")}
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return subprocess.Popen(
        [sys.executable, "-m", "db", "rotate-key", *arguments],
        env=clean | {"DATABASE_URL": url, "PUNCTUAL_HOME": str(home), "PUNCTUAL_SECRET_KEY": keys},
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    said, complained = process.communicate(timeout=60)
    return process.returncode, said, complained


@contextmanager
def waiting_for_lock(engine: Engine, what: str) -> Iterator[None]:
    """Wait, before the block, until somebody's statement of this kind waits for a lock."""
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND query LIKE :what"
    )

    def is_waiting() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(waits, {"what": f"%{what}%"}))

    wait_until(is_waiting, SOON, f"somebody to wait in {what}")
    yield


def test_passwords_and_fingerprints_get_the_first_key(engine: Engine, tmp_path: Path) -> None:
    store(engine, SecretBox((OLD,)), 7)
    assert rotate(engine, settings(tmp_path, NEW, OLD)) == Rotation(7, 7, 0)
    assert read_wrong(engine, SecretBox((NEW,))) == []
    assert rotate(engine, settings(tmp_path, NEW)) == Rotation(7, 0, 0)
    assert list(tmp_path.iterdir()) == []


def test_key_file_gets_a_new_key_and_loses_the_old_one(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    old = open_secret_box(settings(tmp_path))
    store(engine, old, 3)
    (tmp_path / ".secret_key.77.abc").write_text("x" * 64)  # a draft of a killed process
    first = path.read_text()
    assert rotate(engine, settings(tmp_path)) == Rotation(3, 3, 0)
    assert len(path.read_text()) == 64
    assert path.read_text() != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["secret_key"]  # noqa: PTH208
    assert read_wrong(engine, open_secret_box(settings(tmp_path))) == []
    assert current(engine, old) == 0


class Killed(BaseException):
    """Stands for the end of the process."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Before and after each transaction and each change of the key file is a step; at this one, all ends."""
    steps = [0]

    def count() -> None:
        steps[0] += 1
        if steps[0] == step:
            raise Killed

    really, replace = key_rotation.transaction, key_rotation.replace_key_file

    @contextmanager
    def counted_transaction(engine: Engine) -> Iterator[Any]:
        count()
        with really(engine) as session:
            yield session
            count()
        count()

    def counted_replace(path: Path, keys: tuple[str, ...]) -> None:
        count()
        replace(path, keys)
        count()

    with monkeypatch.context() as patches:
        patches.setattr(key_rotation, "transaction", counted_transaction)
        patches.setattr(key_rotation, "replace_key_file", counted_replace)
        patches.setattr(key_rotation, "BATCH_SIZE", 2)
        yield steps


@pytest.mark.parametrize("in_file", [True, False], ids=["key file", "setting"])
def test_interrupted_at_any_step_it_goes_on_and_loses_nothing(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_file: bool
) -> None:
    for step in range(1, 1000):
        with transaction(engine) as session:
            session.execute(delete(Job))
        home = tmp_path / str(step)
        given = settings(home) if in_file else settings(home, NEW, OLD)
        store(engine, open_secret_box(given if in_file else settings(home, OLD)), 5, name=f"Job {step}")
        is_whole = False
        with killed_at(step, monkeypatch):
            try:
                rotate(engine, given)
                is_whole = True
            except Killed:
                pass
        assert read_wrong(engine, open_secret_box(given)) == [], step
        if is_whole:
            break
        begun = read_key_file(home / "secret_key") or ()
        rotate(engine, given)
        alone = open_secret_box(given if in_file else settings(home, NEW))
        assert (read_wrong(engine, alone), current(engine, alone)) == ([], 5), step
        if in_file:
            (key,) = read_key_file(home / "secret_key") or ()
            assert key == begun[0] or len(begun) == 1, step  # a rotation that was begun is ended, not begun anew
    assert step > 30  # all of the steps were there


def test_killed_in_the_middle_the_command_goes_on_where_it_was(engine: Engine, tmp_path: Path) -> None:
    store(engine, SecretBox((OLD,)), 1300)
    new = SecretBox((NEW,))
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT 1 FROM accounts WHERE row_number = 700 FOR UPDATE"))
        process = command(engine, tmp_path, keys=f"{NEW},{OLD}")
        with waiting_for_lock(engine, "accounts"):
            process.send_signal(signal.SIGKILL)
        assert finish(process)[0] == -signal.SIGKILL
    assert current(engine, new) == 500
    assert read_wrong(engine, SecretBox((NEW, OLD))) == []

    code, said, complained = finish(command(engine, tmp_path, keys=f"{NEW},{OLD}"))
    assert (code, complained) == (0, "")
    assert "1,300 of 1,300 passwords: 800 encrypted anew\n" in said
    assert "Done: 1,300 passwords have the first key, 800 of them since just now.\n" in said
    assert "restart every web and scheduler_service process" in said
    assert (read_wrong(engine, new), current(engine, new)) == ([], 1300)
    assert not [key for key in (OLD, NEW) if key in said]


def test_passwords_of_an_unknown_key_are_refused_and_nothing_is_changed(engine: Engine, tmp_path: Path) -> None:
    store(engine, SecretBox((OLD,)), 3)
    store(engine, SecretBox((OTHER,)), 2, name="Gas bills")
    code, said, complained = finish(command(engine, tmp_path, keys=f"{NEW},{OLD}"))
    assert code == 1
    assert complained.startswith("2 of 5 passwords are encrypted with a key that is not in PUNCTUAL_SECRET_KEY ")
    assert '(jobs "Gas bills"). Nothing was changed.' in complained
    assert "--leave-unreadable" in complained
    assert not [key for key in (OLD, NEW) if key in said + complained]
    assert current(engine, SecretBox((OLD,))) == 3
    assert current(engine, SecretBox((NEW,))) == 0

    code, said, complained = finish(command(engine, tmp_path, "--leave-unreadable", keys=f"{NEW},{OLD}"))
    assert (code, complained) == (0, "")
    assert "Done: 3 passwords have the first key, 3 of them since just now.\n2 passwords cannot be read" in said
    assert current(engine, SecretBox((OTHER,))) == 2


def test_a_scheduler_that_does_not_know_the_new_key_is_named(engine: Engine, tmp_path: Path) -> None:
    store(engine, SecretBox((OLD,)), 2)
    with transaction(engine) as session:
        now = datetime.now(UTC)
        known = {"host": "north", "version": "1", "slots": 1, "now": now}
        ids = [
            register_instance(session, pid=pid, key_marks=marks, **known)
            for pid, marks in ((7, SecretBox((OLD,)).marks), (8, None), (9, SecretBox((OLD, NEW)).marks))
        ]
    code, _, complained = finish(command(engine, tmp_path, keys=f"{NEW},{OLD}"))
    assert code == 1
    for pid, is_named in ((7, True), (8, True), (9, False)):
        assert (f"north (process {pid})" in complained) is is_named
    assert "was started without the first key of PUNCTUAL_SECRET_KEY" in complained
    assert current(engine, SecretBox((OLD,))) == 2
    with transaction(engine) as session:
        for instance_id in ids[:2]:
            record_stopped(session, instance_id, now)
    assert rotate(engine, settings(tmp_path, NEW, OLD)) == Rotation(2, 2, 0)


def test_schedulers_tell_which_keys_they_know(engine: Engine, tmp_path: Path) -> None:
    with scheduler_in_process(engine, tmp_path, complete, secret_key=SecretStr(f"{NEW},{OLD}")):
        with transaction(engine) as session:
            (instance,) = list_instances(session, datetime.now(UTC))
        assert instance.key_marks == list(SecretBox((NEW, OLD)).marks)


def test_a_scheduler_with_a_key_that_is_too_short_does_not_start(engine: Engine, tmp_path: Path) -> None:
    scheduler = launch_scheduler(engine, tmp_path, secret_key="tooshort")
    assert scheduler.wait() == 2
    assert scheduler.read_log().startswith("PUNCTUAL_SECRET_KEY: too short; each key needs at least 32 characters")


def test_without_any_key_no_key_file_is_made(engine: Engine, tmp_path: Path) -> None:
    store(engine, SecretBox((OLD,)), 1)
    with pytest.raises(KeysMissingError, match="there is no key file"):
        rotate(engine, settings(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_key_file_is_refused(engine: Engine, tmp_path: Path) -> None:
    open_secret_box(settings(tmp_path))
    with (tmp_path / "secret_key").open("a") as file:
        file.write("\nhalf a key")
    with pytest.raises(InvalidSettingsError, match="found 10 characters, expected 64"):
        rotate(engine, settings(tmp_path))


def test_a_run_reads_what_was_encrypted_before_and_after_the_change(engine: Engine, tmp_path: Path) -> None:
    given = settings(tmp_path)
    store(engine, open_secret_box(given), 4)

    def read_secrets() -> dict[int, bytes]:
        with transaction(engine) as session:
            return dict(session.execute(select(Account.row_number, Account.secret)).all())

    reader, before = PasswordReader(lambda: open_secret_box(given)), read_secrets()
    assert reader.read(before[2]) == "secret-2"
    rotate(engine, given)
    after = read_secrets()
    rotate(engine, given)
    last = read_secrets()
    in_turn = (last[2], before[3], last[4], before[5])  # as a run of more accounts than it reads at once
    assert [reader.read(secret) for secret in in_turn] == ["secret-2", "secret-3", "secret-4", "secret-5"]
    with pytest.raises(WrongSecretKeyError):
        reader.read(after[2])  # of a key that came and went meanwhile
    assert reader.read(last[3]) == "secret-3"


def test_a_run_in_progress_is_not_disturbed(engine: Engine, tmp_path: Path) -> None:
    with serve_demo_portal(60) as portal:
        scheduler = start_scheduler(engine, tmp_path, secret_key="")
        try:
            with transaction(engine) as session:
                viewer = make_viewer(session)
                job_id = make_demo_job(session, viewer, portal, [])
                replace_accounts(
                    session, session.get_one(Job, job_id), read_demo_accounts(), open_secret_box(settings(tmp_path))
                )
                request_run(session, viewer, job_id, trigger=RunTrigger.MANUAL, now=datetime.now(UTC))
            find_results = select(Result.username, Result.error)

            def results() -> dict[str, str | None]:
                with transaction(engine) as session:
                    return dict(session.execute(find_results).all())

            wait_until(lambda: len(results()) > 2, SOON, "the run to be in progress")
            assert rotate(engine, settings(tmp_path)).renewed == 20
            wait_until(lambda: len(results()) == 20, 90, "the run's end")
        finally:
            scheduler.kill()
    assert not [error for error in results().values() if error and "encrypted" in error]
    assert sum(error is None for error in results().values()) > 15


def test_two_do_not_rotate_at_once(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_rotation, "TURN_SECONDS", 0)
    store(engine, SecretBox((OLD,)), 1)
    outcomes: list[object] = []

    def say(line: str) -> None:
        with pytest.raises(ConflictError, match="another rotate-key is at work"):
            rotate(engine, settings(tmp_path, NEW, OLD))
        outcomes.append(line)

    rotate_key(engine, settings(tmp_path, NEW, OLD), say)
    assert outcomes == ["1 of 1 passwords: 1 encrypted anew"]
    rotate(engine, settings(tmp_path, NEW))


def test_who_comes_second_waits_for_the_end_of_the_first(engine: Engine, tmp_path: Path) -> None:
    store(engine, SecretBox((OLD,)), 1)
    heard: list[str] = []
    with engine.connect() as first, Session(first) as session, ThreadPoolExecutor(1) as pool:
        with session.begin():
            assert try_to_begin_rotation(session)
        second = pool.submit(rotate_key, engine, settings(tmp_path, NEW, OLD), heard.append)
        wait_until(lambda: heard, SOON, "the second to wait")
        assert current(engine, SecretBox((OLD,))) == 1
        with session.begin():
            end_rotation(session)
        assert second.result(SOON) == Rotation(1, 1, 0)
    assert heard[0].startswith("Another rotate-key is at work")


def replace_with(engine: Engine, job_id: str, box: SecretBox, before_commit: Callable[[], object]) -> None:
    with transaction(engine) as session:
        replace_accounts(session, session.get_one(Job, job_id), [NewAccount(9, "new@example.com", "secret-9", {})], box)
        before_commit()


def test_who_writes_with_the_old_key_meanwhile_is_waited_for(engine: Engine, tmp_path: Path) -> None:
    job_id = store(engine, SecretBox((OLD,)), 1)
    with ThreadPoolExecutor(1) as pool:

        def begin_and_wait() -> None:
            rotations.append(pool.submit(rotate, engine, settings(tmp_path, NEW, OLD)))
            with waiting_for_lock(engine, "pg_advisory_xact_lock"):
                pass

        rotations: list[Any] = []
        replace_with(engine, job_id, SecretBox((OLD,)), begin_and_wait)
        assert rotations[0].result(SOON).total == 1
    new = SecretBox((NEW,))
    assert (read_wrong(engine, new), current(engine, new)) == ([], 1)


def test_who_has_only_the_old_key_cannot_write_any_more(engine: Engine, tmp_path: Path) -> None:
    job_id = store(engine, SecretBox((OLD,)), 1)
    rotate(engine, settings(tmp_path, NEW, OLD))
    for outdated in (SecretBox((OLD,)), SecretBox((OLD, NEW))):
        with pytest.raises(OutdatedKeyError, match="restart the web and run: python -m db rotate-key"):
            replace_with(engine, job_id, outdated, lambda: None)
    replace_with(engine, job_id, SecretBox((NEW, OLD)), lambda: None)
    assert read_wrong(engine, SecretBox((NEW,))) == []
