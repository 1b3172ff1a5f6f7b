"""The fault tests at full size: `python -m tests.chaos` (or `make chaos`), in a few minutes.

Each scenario ends with the same checker as in the test suite and prints what it counted.
"""

# ruff: noqa: T201

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.postgres import fresh_database, fresh_server
from tests.chaos.checker import Findings
from tests.chaos.own_postgres import OwnPostgres
from tests.chaos.portal import running_portal
from tests.chaos.scenarios import kill_one_of_three_again_and_again, restart_postgres_again_and_again
from tests.chaos.stage import Stage

OCCURRENCES = 2000
KILLS = 60
RESTARTS = 10
FINISH_SECONDS = 900


@contextmanager
def full_stage(name: str) -> Iterator[tuple[Stage, OwnPostgres]]:
    """A stage on a server of its own, on disk and with fsync."""
    with (
        tempfile.TemporaryDirectory(prefix="punctual-chaos-") as folder,
        fresh_server() as home,
        fresh_database(home, name) as engine,
        running_portal(Path(folder) / "portal") as portal,
    ):
        stage = Stage(engine, portal, Path(folder))
        stage.prepare()
        try:
            yield stage, OwnPostgres(home)
        finally:
            stage.close()


def kill_every_second() -> Findings:
    """One of three schedulers killed every second for a minute under 2,000 occurrences."""
    with full_stage("killing") as (stage, _):
        return kill_one_of_three_again_and_again(stage, occurrences=OCCURRENCES, kills=KILLS, seconds=FINISH_SECONDS)


def restart_postgres() -> Findings:
    """Postgres restarted ten times, fast and immediate in turns, during firing and running."""
    with full_stage("restarts") as (stage, postgres):
        return restart_postgres_again_and_again(stage, postgres, restarts=RESTARTS)


SCENARIOS: tuple[Callable[[], Findings], ...] = (kill_every_second, restart_postgres)


def main() -> int:
    names = [scenario.__name__ for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=f"of {', '.join(names)}; all of them if none")
    chosen = parser.parse_args().scenarios
    if unknown := set(chosen) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    is_clean = True
    for scenario in SCENARIOS:
        if chosen and scenario.__name__ not in chosen:
            continue
        print(scenario.__doc__, flush=True)
        began = time.monotonic()
        try:
            findings = scenario()
            print(f"  clean after {time.monotonic() - began:.0f} s: {findings}", flush=True)
        except AssertionError as error:
            is_clean = False
            print(f"  NOT CLEAN: {error}", flush=True)
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
