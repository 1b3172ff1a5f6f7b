"""The queue as people see it: where a queued run stands in line, and what it waits for. It reads only."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from db.instances import count_slots
from db.models import Job, JobStatus, Portal, Priority, Run, RunStatus
from db.retries import is_jobs_turn
from db.turns import list_behind, list_turns

LINE_READ = 200  # runs; what stands further back is told as "more than 200 before it"


class Obstacle(Enum):
    """What keeps a queued run from starting; what comes first is told, though others may follow."""

    SCHEDULER = auto()
    TIME = auto()
    JOB = auto()
    OTHER_RUN = auto()
    START_WINDOW = auto()
    PORTAL = auto()
    SLOT = auto()


@dataclass(frozen=True)
class Waiting:
    """What a queued run waits for.

    `position` counts from 1, in the order in which runs start, or those of its portal where it waits for that; None
    where it has no place in line, or one so far back that it `is_far`. Of the slots or the portal's runs, `in_use` of
    `out_of` are taken.
    """

    obstacle: Obstacle
    position: int | None = None
    is_far: bool = False
    until: datetime | None = None
    portal_host: str = ""
    in_use: int = 0
    out_of: int = 0


@dataclass(frozen=True)
class _Surroundings:
    """All that the runs' waiting depends on, read once for all of them."""

    slots: int
    running: int
    running_jobs: set[str]
    behind: set[int]
    portals: dict[int, tuple[str, int, int]]  # host, runs there, runs that may be there
    line: dict[int, int]
    lines_of_portals: dict[int, int]


def describe_waiting(session: Session, runs: Sequence[Run], now: datetime) -> dict[int, Waiting]:
    """What each of the runs that are queued waits for. Costs the same however long the queue is."""
    queued = [run for run in runs if run.status == RunStatus.QUEUED]
    if not queued:
        return {}
    around = _look_around(session, queued, now)
    return {run.id: _judge(run, around, now) for run in queued}


def describe_waiting_jobs(session: Session, jobs: Sequence[Job], now: datetime) -> dict[str, Waiting]:
    """The same for each of the jobs that is queued: what the run that it starts next waits for."""
    queued = [job.id for job in jobs if job.status == JobStatus.QUEUED]
    if not queued:
        return {}
    next_runs = session.scalars(
        select(Run)
        .where(Run.session_id.in_(queued), is_jobs_turn())
        .order_by(Run.session_id, Run.priority, Run.id)
        .ext(distinct_on(Run.session_id))
    ).all()
    waiting = describe_waiting(session, next_runs, now)
    return {run.session_id: waiting[run.id] for run in next_runs}


def _look_around(session: Session, queued: Sequence[Run], now: datetime) -> _Surroundings:
    at_portals = dict(
        session.execute(
            select(Run.portal_id, func.count()).where(Run.status == RunStatus.RUNNING).group_by(Run.portal_id)
        ).all()
    )
    jobs = {run.session_id for run in queued}
    running_jobs = select(Run.session_id).where(Run.status == RunStatus.RUNNING, Run.session_id.in_(jobs))
    portals = session.scalars(select(Portal).where(Portal.id.in_({run.portal_id for run in queued}))).all()
    line = {turn.run_id: n for n, turn in enumerate(list_turns(session, now, LINE_READ), start=1)}
    are_all_in_line = all(run.id in line for run in queued)
    return _Surroundings(
        slots=count_slots(session, now),
        running=sum(at_portals.values()),
        running_jobs=set(session.scalars(running_jobs)),
        behind=list_behind(session, [run.id for run in queued], now),
        portals={p.id: (p.host, at_portals.get(p.id, 0), p.max_concurrent_accounts) for p in portals},
        line=line,
        lines_of_portals={} if are_all_in_line else _number_lines_of_portals(session, now),
    )


def _number_lines_of_portals(session: Session, now: datetime) -> dict[int, int]:
    """The place of each run among those of its portal."""
    places: dict[int, int] = {}
    waiting: Counter[int] = Counter()
    for turn in list_turns(session, now, LINE_READ, heeds_portals=False):
        waiting[turn.portal_id] += 1
        places[turn.run_id] = waiting[turn.portal_id]
    return places


def _judge(run: Run, around: _Surroundings, now: datetime) -> Waiting:
    if around.slots == 0:
        return Waiting(Obstacle.SCHEDULER)
    if run.run_after > now:
        return Waiting(Obstacle.TIME, until=run.run_after)
    if run.session_id in around.running_jobs:
        return Waiting(Obstacle.JOB)
    if run.start_by is not None and run.start_by < now and run.started_at is None:
        return Waiting(Obstacle.START_WINDOW)
    if run.id in around.behind:
        return Waiting(Obstacle.OTHER_RUN)
    portal = around.portals.get(run.portal_id or 0)
    if portal is not None and run.priority != Priority.PERSON and run.id not in around.line:
        host, in_use, out_of = portal
        # Of a line that was read to its end it is missing only because others fill the portal before.
        if in_use >= out_of or len(around.line) < LINE_READ:
            return _in_line(run, around.lines_of_portals, Obstacle.PORTAL, host, in_use, out_of)
    return _in_line(run, around.line, Obstacle.SLOT, "", around.running, around.slots)


def _in_line(run: Run, line: dict[int, int], obstacle: Obstacle, portal_host: str, in_use: int, out_of: int) -> Waiting:
    position = line.get(run.id)
    is_far = position is None and len(line) == LINE_READ
    return Waiting(obstacle, position, is_far, portal_host=portal_host, in_use=in_use, out_of=out_of)


def waiting_words(waiting: Waiting, tell_time: Callable[[datetime], str]) -> str:
    """In words that follow "Queued: ", such as "3rd in line; waits for a free slot (4 of 4 in use)"."""
    match waiting.obstacle:
        case Obstacle.SCHEDULER:
            return "no scheduler with slots is running"
        case Obstacle.TIME:
            return f"will be tried again at {tell_time(waiting.until)}" if waiting.until else "waits for its time"
        case Obstacle.JOB:
            return "waits for the job's running run"
        case Obstacle.OTHER_RUN:
            return "waits for another run of the job"
        case Obstacle.START_WINDOW:
            return "its start window has passed"
        case Obstacle.PORTAL:
            obstacle = f"waits for {waiting.portal_host} ({waiting.in_use:,} of {waiting.out_of:,} runs there)"
        case Obstacle.SLOT if waiting.in_use < waiting.out_of:
            obstacle = "starts in a moment"
        case Obstacle.SLOT:
            in_use = min(waiting.in_use, waiting.out_of)
            obstacle = f"waits for a free slot ({in_use:,} of {waiting.out_of:,} in use)"
    return "; ".join(filter(None, (place_words(waiting), obstacle)))


def place_words(waiting: Waiting) -> str:
    """Its place in line, such as "3rd in line", which may be that for its portal; empty where it has none."""
    if waiting.is_far:
        return f"more than {LINE_READ} before it"
    if waiting.position is None:
        return ""
    return "next in line" if waiting.position == 1 else f"{_ordinal(waiting.position)} in line"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
