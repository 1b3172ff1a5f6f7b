"""Does Punctual cost the same with a million jobs and ten million runs as with ten thousand? `python -m bench.growth`.

One database grows through three sizes; at each, the same work is timed: what the scheduler does all the time, and
what the pages ask. Peers make the fire pass beside it. `--full` takes the issue's sizes, else a fifth of them.
"""

# ruff: noqa: T201

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import perf_counter

from sqlalchemy import Engine, text

from bench.figures import Figure, all_hold, print_figures
from bench.growth_peers import (
    ApschedulerStore,
    BareSql,
    list_with_apscheduler,
    list_with_punctual,
    memory_to_list,
)
from bench.growth_rows import RUNS_A_JOB, add_jobs, add_people, job_id
from bench.postgres import fresh_database, fresh_server
from db.claiming import claim_runs, expire_runs
from db.claims import recover_runs
from db.daily_figures import BATCH_SIZE, count_ended_runs, list_days, list_job_days
from db.engine import transaction
from db.evidence import gather_evidence
from db.firing import fire_due_jobs, get_earliest_next_run
from db.instances import get_scheduler_health
from db.job_lists import JobCursor, count_all_jobs_by_status, count_jobs_by_status, list_jobs
from db.ledger import draw_up_ledger
from db.models import Role
from db.retention import purge_runs
from db.runs import list_runs
from db.schedules import list_next_runs
from db.viewers import Viewer

FULL_SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (2_000, 20_000, 200_000)
PEER_JOBS = 100_000  # more would take APScheduler's store too long
DUE = 100
ROUNDS = 15
SLOTS = 4
LEASE = timedelta(seconds=30)
MAX_GROWTH = 1.5
MAX_PAGE_MS = 10.0
METRICS = "jobs by status for /api/metrics"
MAX_METRICS_MS = 600.0  # it reads every job: asked for each minute, this is 1 % of a core
ADMIN = Viewer("u0", "u0", "User 0", Role.ADMIN)
OPERATOR = Viewer("u1", "u1", "User 1", Role.OPERATOR)

Work = Callable[[], object]


def measure(*, full: bool = False) -> list[Figure]:
    """The figures of all sizes, as growth from the smallest to the largest."""
    sizes = FULL_SIZES if full else QUICK_SIZES
    took: dict[str, list[float]] = {}
    peers: dict[str, list[float]] = {}
    listed, memory = 0, dict[str, float]()
    with fresh_server() as home, fresh_database(home, "growth") as engine:
        add_people(engine)
        bare, store = BareSql(engine), ApschedulerStore(engine.url)
        for before, size in zip((0, *sizes), sizes, strict=False):
            began = perf_counter()
            add_jobs(engine, before + 1, size)
            bare.grow_to(size)
            print(f"{size:,} jobs, {size * RUNS_A_JOB:,} runs: loaded in {perf_counter() - began:.0f} s", flush=True)
            for name, milliseconds in time_everything(engine, size).items():
                took.setdefault(name, []).append(milliseconds)
            peers.setdefault("bare SQL", []).append(time_passes(bare.make_due, bare.fire, size))
            if size <= PEER_JOBS:
                store.grow_to(size)
                peers.setdefault("APScheduler's store", []).append(
                    time_passes(store.make_due, store.fire, size, rounds=5)
                )
                listed, memory = measure_memory(engine)
        store.close()
    return [*_growth_figures(sizes, took, peers), _memory_figure(listed, memory)]


def time_everything(engine: Engine, jobs: int) -> dict[str, float]:
    """Medians in milliseconds, by name."""
    fire = time_passes(lambda numbers: make_due(engine, numbers), lambda: fire_once(engine), jobs)
    times = {"fire pass, 100 due": fire, "count pass, 1,000 ended": time_counting(engine)} | {
        name: time_work(work) for name, work in _works(engine, jobs).items()
    }
    with engine.begin() as connection:  # the next size starts without a queue
        connection.execute(text("DELETE FROM import_runs WHERE status IN ('queued', 'running')"))
        connection.execute(
            text("UPDATE import_sessions SET status = 'completed' WHERE status IN ('queued', 'running')")
        )
    return times


def _works(engine: Engine, jobs: int) -> Mapping[str, Work]:
    """What is timed at each size beside the fire pass; the queue holds what was fired."""
    now = datetime.now(UTC)
    one = job_id(jobs // 2)

    def on(work: Callable[..., object], *arguments: object, **options: object) -> Work:
        def run() -> None:
            with transaction(engine) as session:
                work(session, *arguments, **options)

        return run

    def list_page(viewer: Viewer, **options: object) -> Work:
        def run() -> None:
            with transaction(engine) as session:
                page, _ = list_jobs(session, viewer, **options)  # pyright: ignore[reportArgumentType]
                list_next_runs(session, page)

        return run

    middle = JobCursor(now - timedelta(days=3 * 365) + timedelta(seconds=jobs // 2), one)
    month = {"starts_at": now - timedelta(days=30), "ends_at": now, "now": now}
    return {
        "claim pass, 4 slots": on(claim_runs, now, worker="w", slots=SLOTS, lease=LEASE),
        "recover pass": lambda: (on(recover_runs, now)(), on(expire_runs, now)()),
        "scheduler health": on(get_scheduler_health, now),
        "jobs page, first, all jobs": list_page(ADMIN),
        "jobs page, from the middle, all jobs": list_page(ADMIN, cursor=middle),
        "jobs page, failed ones, all jobs": list_page(ADMIN, status="failed"),
        "jobs page, running ones, all jobs": list_page(ADMIN, status="running"),
        "jobs page, first, own jobs": list_page(OPERATOR),
        "jobs by status, own jobs": on(count_jobs_by_status, OPERATOR),
        "jobs by status, all jobs": on(count_jobs_by_status, ADMIN),
        "jobs page, a status that none has, all jobs": list_page(ADMIN, status="lost"),
        "jobs page, a search that finds none, all jobs": list_page(ADMIN, q="nowhere"),
        METRICS: on(count_all_jobs_by_status),
        "runs of a job": on(list_runs, ADMIN, one),
        "ledger of a month": on(draw_up_ledger, ADMIN, one, **month),
        "evidence": on(gather_evidence, ADMIN, now, sample_from=one),
        "statistics of a job, a year": on(list_job_days, ADMIN, one, until=now.date(), days=365),
        "statistics of all jobs, a year": on(list_days, ADMIN, until=now.date(), days=365),
        "count pass, nothing new": on(count_ended_runs),
        "purge, 1,000 oldest runs": on(purge_runs, before=now - timedelta(days=8)),
    }


def time_passes(
    make: Callable[[Sequence[int]], object], fire: Callable[[], int], jobs: int, *, rounds: int = ROUNDS
) -> float:
    """The median of passes over 100 due jobs, each time others, spread over all jobs."""
    times: list[float] = []
    for number in range(rounds):
        make([1 + number + index * (jobs // DUE) for index in range(DUE)])
        began = perf_counter()
        fired = fire()
        times.append(perf_counter() - began)
        if fired != DUE:
            raise AssertionError(f"a pass fired {fired} of {DUE} due jobs")
    return statistics.median(times) * 1000


def time_counting(engine: Engine) -> float:
    """The median of passes that add a thousand ended runs to the daily figures."""
    times: list[float] = []
    for _ in range(ROUNDS):
        with engine.begin() as connection:
            connection.execute(
                text("""
                    UPDATE import_runs SET is_counted = false
                    WHERE id IN (SELECT id FROM import_runs WHERE is_counted ORDER BY id DESC LIMIT 1000)
                """)
            )
        began = perf_counter()
        with transaction(engine) as session:
            counted = count_ended_runs(session)
        times.append(perf_counter() - began)
        if counted != BATCH_SIZE:
            raise AssertionError(f"a pass counted {counted} of {BATCH_SIZE} runs")
    return statistics.median(times) * 1000


def time_work(work: Work) -> float:
    """The median of some rounds, the first of which only warms up."""
    times: list[float] = []
    for _ in range(ROUNDS + 1):
        began = perf_counter()
        work()
        times.append(perf_counter() - began)
    return statistics.median(times[1:]) * 1000


def make_due(engine: Engine, numbers: Sequence[int]) -> None:
    """The jobs with these numbers are due since a second ago."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE import_sessions SET next_run = clock_timestamp() - interval '1 s' WHERE id = ANY (:ids)"),
            {"ids": [job_id(number) for number in numbers]},
        )


def fire_once(engine: Engine) -> int:
    """A fire pass as the service makes it; returns how many jobs were due."""
    with transaction(engine) as session:
        done = fire_due_jobs(session, datetime.now(UTC))
    with transaction(engine) as session:
        get_earliest_next_run(session)
    return done.due


def measure_memory(engine: Engine) -> tuple[int, dict[str, float]]:
    """How many jobs there are, and the megabytes by which a process grows that lists them all."""
    ours, our_megabytes = memory_to_list(engine.url, list_with_punctual)
    theirs, their_megabytes = memory_to_list(engine.url, list_with_apscheduler)
    assert ours == theirs, (ours, theirs)
    return ours, {"Punctual": our_megabytes, "APScheduler's store": their_megabytes}


def _growth_figures(
    sizes: Sequence[int], took: Mapping[str, Sequence[float]], peers: Mapping[str, Sequence[float]]
) -> Iterator[Figure]:
    for name, times in took.items():
        growth = times[-1] / times[0]
        smaller = {f"with {size:,} jobs:": time for size, time in zip(sizes, times[:-1], strict=False)}
        if name.startswith("fire pass"):
            for peer, theirs in peers.items():
                smaller |= {f"{peer}, {size:,} jobs:": time for size, time in zip(sizes, theirs, strict=False)}
            holds, target = growth <= MAX_GROWTH, f"<= {MAX_GROWTH}x from {sizes[0]:,} jobs"
        elif name == METRICS:
            holds, target = times[-1] <= MAX_METRICS_MS, f"<= {MAX_METRICS_MS:.0f} ms"
        else:
            holds = growth <= MAX_GROWTH or times[-1] < MAX_PAGE_MS
            target = f"<= {MAX_GROWTH}x or < {MAX_PAGE_MS:.0f} ms"
        yield Figure(f"{name}, {sizes[-1]:,} jobs", "ms", times[-1], target, holds, smaller, growth)


def _memory_figure(jobs: int, memory: Mapping[str, float]) -> Figure:
    ours, theirs = memory["Punctual"], memory["APScheduler's store"]
    ratio = theirs / max(ours, 1.0)
    return Figure(
        f"memory to list {jobs:,} jobs",
        "MB",
        ours,
        "<= 1/10 of APScheduler's",
        ratio >= 10,
        {"APScheduler": theirs},
        ratio,
    )


def main() -> int:
    figures = measure(full="--full" in sys.argv[1:])
    print_figures(figures)
    return 0 if all_hold(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
