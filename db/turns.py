"""Whose turn it is: the order in which queued runs start. It reads only; `db.claiming` takes, `db.queue` tells.

Owners take turns: the next run is one of the owner with the fewest runs running, then a person's before a
schedule's, then the oldest. A job runs one run at a time, a person's first. A portal that is as busy as it may
be gets no further scheduled run: it would only wait in a slot that another portal could use. What a person asked
for starts all the same and shares the portal's places.

A lane is what one owner has queued at one portal with one priority. Lanes are found by one probe each of
`ix_import_runs_turns`, so neither a long lane nor one that waits for its portal is ever read through.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.models import Priority

FIRST_DEPTH = 4  # runs read of each lane at first; a line that is too short for what is wanted is read deeper
DEEPER = 4

Place = tuple[int, datetime, int]


class Turn(NamedTuple):
    """A queued run that may start, as far as its owner's and its portal's running runs let it."""

    run_id: int
    owner_id: str
    portal_id: int  # 0: none
    priority: int
    run_after: datetime
    owner_running: int
    room: int | None  # runs that its portal may still get; None: any number

    @property
    def place(self) -> Place:
        """Where it stands among its owner's runs."""
        return self.priority, self.run_after, self.run_id


class _Kind(IntEnum):
    """What comes next of an owner's queue: a run, or what is not known."""

    RUN = 0
    END_OF_LANE = 1  # more of it may follow, none of it was read
    END_OF_OWNERS = 2  # more of them may follow


class _Step(NamedTuple):
    """Steps are taken smallest first; an end stands right behind the last run that is known."""

    turn: int
    place: Place
    kind: _Kind
    run: Turn


_STARTABLE = """
    {0}.status = 'queued' AND {0}.run_after <= :now
    AND ({0}.start_by IS NULL OR {0}.start_by >= :now OR {0}.started_at IS NOT NULL)
"""
# OFFSET 0 keeps each probe a probe: as a join, the planner may read the whole queue for it.
_BEFORE_IT_IN_JOB = f"""
    SELECT FROM import_runs AS e
    WHERE e.session_id = r.session_id AND {_STARTABLE.format("e")} AND (e.priority, e.id) < (r.priority, r.id)
    OFFSET 0
"""
_OF_LANE = f"""
    SELECT r.id, r.run_after
    FROM import_runs AS r
    WHERE {_STARTABLE.format("r")}
      AND r.owner_id = l.owner_id AND coalesce(r.portal_id, 0) = l.portal_id AND r.priority = l.priority
      AND r.id <> ALL (CAST(:passed_over AS bigint[]))
      AND r.session_id NOT IN (SELECT session_id FROM running)
      AND NOT EXISTS ({_BEFORE_IT_IN_JOB})
    ORDER BY r.run_after, r.id
"""  # noqa: S608 - put together from constants
_TURNS = text(f"""
    WITH RECURSIVE running AS MATERIALIZED (
        SELECT session_id, owner_id, portal_id FROM import_runs WHERE status = 'running'
    ), lanes AS (
        (
            SELECT owner_id, coalesce(portal_id, 0) AS portal_id, priority
            FROM import_runs
            WHERE status = 'queued'
            ORDER BY owner_id, coalesce(import_runs.portal_id, 0), priority
            LIMIT 1
        )
        UNION ALL
        SELECT following.*
        FROM lanes AS l CROSS JOIN LATERAL (
            SELECT r.owner_id, coalesce(r.portal_id, 0), r.priority
            FROM import_runs AS r
            WHERE r.status = 'queued'
              AND (r.owner_id, coalesce(r.portal_id, 0), r.priority) > (l.owner_id, l.portal_id, l.priority)
            ORDER BY r.owner_id, coalesce(r.portal_id, 0), r.priority
            LIMIT 1
        ) AS following
    ), open_lanes AS (
        SELECT l.*, coalesce(o.busy, 0) AS owner_running,
               CASE WHEN :heeds_portals THEN p.max_concurrent_accounts - coalesce(b.busy, 0) END AS room
        FROM lanes AS l
        LEFT JOIN (SELECT owner_id, count(*) AS busy FROM running GROUP BY owner_id) AS o ON o.owner_id = l.owner_id
        LEFT JOIN portals AS p ON p.id = l.portal_id
        LEFT JOIN (SELECT portal_id, count(*) AS busy FROM running GROUP BY portal_id) AS b
               ON b.portal_id = l.portal_id
    ), heads AS MATERIALIZED (
        SELECT l.*, head.id, head.run_after
        FROM open_lanes AS l CROSS JOIN LATERAL ({_OF_LANE} LIMIT 1) AS head
        WHERE l.room IS NULL OR l.room > 0 OR l.priority = {Priority.PERSON:d}
    ), owners AS (
        SELECT owner_id
        FROM (SELECT DISTINCT ON (owner_id) * FROM heads ORDER BY owner_id, priority, run_after, id) AS first
        ORDER BY owner_running, priority, run_after, id
        LIMIT :owners
    )
    SELECT run.id, l.owner_id, l.portal_id, l.priority, run.run_after, l.owner_running, l.room
    FROM heads AS l JOIN owners ON owners.owner_id = l.owner_id
    CROSS JOIN LATERAL ({_OF_LANE} LIMIT :depth) AS run
""")  # noqa: S608 - put together from constants
_BEHIND = text(f"""
    SELECT r.id FROM import_runs AS r WHERE r.id = ANY (:run_ids) AND EXISTS ({_BEFORE_IT_IN_JOB})
""")  # noqa: S608 - put together from constants


def list_turns(
    session: Session,
    now: datetime,
    limit: int,
    *,
    margin: int = 0,
    passed_over: Collection[int] = (),
    heeds_portals: bool = True,
) -> list[Turn]:
    """The first `limit` runs that start if slots become free now, in the order in which they start.

    Up to `margin` more where they are known without reading further. Without the runs that are passed over; their
    jobs' other runs do not come before them. A line that does not heed portals holds what waits for a busy one too.
    """
    owners, depth = limit + margin, FIRST_DEPTH
    while True:
        values = {"now": now, "passed_over": list(passed_over), "heeds_portals": heeds_portals}
        rows = session.execute(_TURNS, values | {"owners": owners, "depth": depth})
        line, end = _arrange([Turn(*row) for row in rows], limit + margin, owners, depth)
        if end is None or len(line) >= limit:
            return line
        if end == _Kind.END_OF_OWNERS:
            owners *= DEEPER
        else:
            depth *= DEEPER


def list_behind(session: Session, run_ids: Sequence[int], now: datetime) -> set[int]:
    """Those of the runs whose job has another queued run to start before them."""
    return set(session.scalars(_BEHIND, {"run_ids": list(run_ids), "now": now}))


def _arrange(turns: Sequence[Turn], limit: int, owners: int, depth: int) -> tuple[list[Turn], _Kind | None]:
    """The line as far as these runs tell it, and which end cut it short; None when it is whole.

    Of each lane the first `depth` runs are there, and the first `owners` of all owners.
    """
    rooms = {run.portal_id: run.room for run in turns}
    queues = _read_queues(turns, depth)
    steps = [queue.popleft() for queue in queues.values()]
    if len(steps) == owners:
        steps.append(max(steps)._replace(kind=_Kind.END_OF_OWNERS))
    heapq.heapify(steps)
    line: list[Turn] = []
    while steps and len(line) < limit:
        turn, _, kind, run = heapq.heappop(steps)
        room = rooms[run.portal_id]
        is_shut_out = room is not None and room <= 0 and run.priority != Priority.PERSON
        if kind == _Kind.END_OF_OWNERS or (kind == _Kind.END_OF_LANE and not is_shut_out):
            return line, kind
        if not is_shut_out:
            line.append(run)
            rooms[run.portal_id] = None if room is None else room - 1
            turn += 1
        if queues[run.owner_id]:
            heapq.heappush(steps, queues[run.owner_id].popleft()._replace(turn=turn))
    return line, None


def _read_queues(turns: Sequence[Turn], depth: int) -> dict[str, deque[_Step]]:
    """Each owner's runs in order, with the ends of the lanes that were not read through."""
    lanes: dict[tuple[str, int, int], list[Turn]] = defaultdict(list)
    for run in turns:
        lanes[run.owner_id, run.portal_id, run.priority].append(run)
    steps: dict[str, list[_Step]] = defaultdict(list)
    for (owner_id, _, _), runs in lanes.items():
        steps[owner_id] += [_Step(run.owner_running + 1, run.place, _Kind.RUN, run) for run in runs]
        if len(runs) == depth:
            last = max(steps[owner_id][-depth:])
            steps[owner_id].append(last._replace(kind=_Kind.END_OF_LANE))
    return {owner_id: deque(sorted(mine)) for owner_id, mine in steps.items()}
