"""`/evidence`: what must never be, counted live; everybody's for admins, one's own for the others."""

from datetime import UTC, datetime
from time import perf_counter

from fastapi import APIRouter
from pydantic import BaseModel

from api.authentication import CurrentViewer
from api.resources import Here
from db.doubles import Finding
from db.evidence import Evidence, Line, gather_evidence
from db.guards import GuardState
from db.models import new_id

router = APIRouter(tags=["health"])


class GuardShape(BaseModel):
    """The unique index that makes it impossible, as the database has it; `problem` is null when it is as it must be."""

    name: str
    definition: str | None
    holds: bool
    problem: str | None


class FindingShape(BaseModel):
    """A job, and its runs, to look at."""

    job_id: str
    job_name: str
    run_ids: list[int]
    at: datetime | None
    words: str


class LineShape(BaseModel):
    """One thing that is counted. `count` should be 0, save that of `schedulers_alive`.

    `checked` says over how much, by what was looked at, and `since` from when on. `findings` hold the first twenty.
    """

    key: str
    title: str
    meaning: str
    count: int
    is_fine: bool
    checked: dict[str, int]
    since: datetime | None
    guard: GuardShape | None
    findings: list[FindingShape]


class EvidenceShape(BaseModel):
    """All lines in one snapshot of the database. `scope` is `everybody` or `own`: whose jobs were looked at."""

    asked_at: datetime
    took_seconds: float
    scope: str
    is_fine: bool
    lines: list[LineShape]


@router.get("/evidence")
def get_evidence(viewer: CurrentViewer, here: Here) -> EvidenceShape:
    """Ask now. The ledgers of up to 200 jobs are checked, another sample each time."""
    began = perf_counter()
    with here.transaction() as session:
        evidence = gather_evidence(session, viewer, datetime.now(UTC), sample_from=new_id())
    return _evidence_shape(evidence, perf_counter() - began)


def _evidence_shape(evidence: Evidence, took_seconds: float) -> EvidenceShape:
    return EvidenceShape(
        asked_at=evidence.asked_at,
        took_seconds=round(took_seconds, 4),
        scope="everybody" if evidence.is_everybodys else "own",
        is_fine=evidence.is_fine,
        lines=[_line_shape(line) for line in evidence.lines],
    )


def _line_shape(line: Line) -> LineShape:
    return LineShape(
        key=line.key,
        title=line.title,
        meaning=line.meaning,
        count=line.count,
        is_fine=line.is_fine,
        checked=dict(line.checked),
        since=line.since,
        guard=_guard_shape(line.guard) if line.guard else None,
        findings=[_finding_shape(finding) for finding in line.findings],
    )


def _guard_shape(guard: GuardState) -> GuardShape:
    return GuardShape(name=guard.name, definition=guard.definition, holds=guard.holds, problem=guard.problem)


def _finding_shape(finding: Finding) -> FindingShape:
    return FindingShape(
        job_id=finding.job_id,
        job_name=finding.job_name,
        run_ids=list(finding.run_ids),
        at=finding.at,
        words=finding.words,
    )
