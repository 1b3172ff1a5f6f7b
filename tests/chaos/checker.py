"""The one checker that ends every fault test: what must be true of the database and of the portal's notes.

It trusts neither the product nor the test: occurrences come from the test's own list and from the ledger, steps
from the witness's triggers, sign-ins from the portal, bills from the files themselves.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from db.engine import transaction
from db.ledger import draw_up_ledger
from db.models import FINAL_RUN_STATUSES, Role, RunStatus, RunTrigger
from db.viewers import Viewer
from portal_import.portal_gate import SIGNED_IN_BEFORE
from tests.chaos.portal import BILLS, PortalRequest, sha256_of_bill

FINAL = {status.value for status in FINAL_RUN_STATUSES}
SHOWN = 10
EVERYTHING = Viewer("checker", "checker", "Checker", Role.ADMIN)

Occurrence = tuple[str, datetime]  # a job's id and the instant


@dataclass
class Findings:
    """What was counted, and every breach in words."""

    occurrences: int = 0
    lost: int = 0
    doubled: int = 0
    ended: int = 0
    live: int = 0
    interrupted: int = 0
    results: int = 0
    sign_ins: int = 0
    repeated_sign_ins: int = 0  # by the same run: a breach
    retries: int = 0  # that ended; `ended` does not count them
    cut_short: int = 0  # accounts left to a retry, as a worker died between the sign-in and its record
    without_success: int = 0  # accounts that neither a run nor its retry brought to a success
    breaches: list[str] = field(default_factory=list)

    def add(self, what: str, cases: Iterable[object]) -> None:
        found = list(cases)
        if found:
            self.breaches.append(f"{what}: {len(found)}, such as {', '.join(map(str, found[:SHOWN]))}")

    def __str__(self) -> str:
        counts = {name: value for name, value in vars(self).items() if name != "breaches"}
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in counts.items())


class Span(NamedTuple):
    """From when until when a worker had a run."""

    run_id: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class Evidence:
    """What the tables, the witness and the portal hold in the end."""

    expected: Sequence[Occurrence]
    runs: Sequence[Any]
    jobs: Sequence[Any]
    attempts: Sequence[Any]
    steps: dict[int, list[Any]]  # by run
    results: Sequence[Any]
    recorded: dict[tuple[int, str], datetime]
    bills: Sequence[Any]
    sign_ins: dict[str, list[datetime]]  # by account


def check_everything(
    engine: Engine,
    sign_ins: Sequence[PortalRequest],
    expected: Sequence[Occurrence],
    *,
    storage: Path | None = None,
    may_be_live: bool = False,
) -> Findings:
    """Raises AssertionError with every breach. `may_be_live`: runs may still be queued, or running under a lease."""
    evidence = gather(engine, sign_ins, expected)
    findings = Findings(occurrences=len(expected), results=len(evidence.results), sign_ins=len(sign_ins))
    check_occurrences(findings, evidence)
    check_ledgers(findings, engine, evidence)
    check_ends(findings, evidence, may_be_live=may_be_live)
    check_attempts(findings, evidence)
    check_results(findings, evidence)
    check_sign_ins(findings, evidence)
    check_bills(findings, evidence, storage)
    check_job_statuses(findings, evidence)
    assert not findings.breaches, "\n".join([str(findings), *findings.breaches])
    return findings


def gather(engine: Engine, sign_ins: Sequence[PortalRequest], expected: Sequence[Occurrence]) -> Evidence:
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:

        def rows(query: str) -> Sequence[Any]:
            return connection.execute(text(query)).all()

        steps: dict[int, list[Any]] = defaultdict(list)
        for step in rows("SELECT * FROM chaos_steps ORDER BY id"):
            steps[step.run_id].append(step)
        by_account: dict[str, list[datetime]] = defaultdict(list)
        for request in sign_ins:
            by_account[request.username].append(datetime.fromtimestamp(request.at, UTC))
        return Evidence(
            expected=expected,
            runs=rows("SELECT *, lease_until > now() AS has_lease FROM import_runs ORDER BY id"),
            jobs=rows("SELECT * FROM import_sessions"),
            attempts=rows("SELECT * FROM run_attempts ORDER BY id"),
            steps=steps,
            results=rows("SELECT * FROM import_results"),
            recorded={(r.run_id, r.username): r.at for r in rows("SELECT * FROM chaos_results ORDER BY id")},
            bills=rows("SELECT * FROM bills"),
            sign_ins=by_account,
        )


def check_occurrences(findings: Findings, evidence: Evidence) -> None:
    """Every expected occurrence has exactly one row, and there is no other scheduled row."""
    found = Counter((r.session_id, r.scheduled_for) for r in evidence.runs if r.trigger == "schedule")
    wanted = set(evidence.expected)
    findings.lost = len(wanted - found.keys())
    findings.doubled = sum(count - 1 for count in found.values())
    findings.add("occurrences without a row", sorted(wanted - found.keys()))
    findings.add("occurrences with several rows", sorted(o for o, count in found.items() if count > 1))
    findings.add("rows that no schedule asked for", sorted(found.keys() - wanted))


def check_ledgers(findings: Findings, engine: Engine, evidence: Evidence) -> None:
    """The product's own ledger of each job has no gap."""
    if not evidence.expected:
        return
    starts_at = min(at for _, at in evidence.expected) - timedelta(minutes=1)
    ends_at = max(datetime.now(UTC), max(at for _, at in evidence.expected) + timedelta(seconds=1))
    with transaction(engine) as session:
        for job_id in {job_id for job_id, _ in evidence.expected}:
            ledger = draw_up_ledger(session, EVERYTHING, job_id, starts_at=starts_at, ends_at=ends_at, now=ends_at)
            if not ledger.balances or not ledger.is_readable:
                findings.add(f"ledger of {job_id} with a gap", [*ledger.lost, *ledger.unexpected])


def check_ends(findings: Findings, evidence: Evidence, *, may_be_live: bool) -> None:
    """Every run, retries too, ended once, or is queued, or runs under a lease that holds."""
    live = [run for run in evidence.runs if run.status not in FINAL]
    findings.live = len(live)
    findings.retries = sum(run.trigger == RunTrigger.RETRY and run.status in FINAL for run in evidence.runs)
    findings.ended = len(evidence.runs) - len(live) - findings.retries
    if not may_be_live:
        findings.add("runs that did not end", [(run.id, run.status) for run in live])
    findings.add("running without a valid lease", [r.id for r in live if r.status == "running" and not r.has_lease])
    ends = {run_id: [s.became for s in steps if s.became in FINAL] for run_id, steps in evidence.steps.items()}
    findings.add("runs that ended twice", [(run_id, words) for run_id, words in ends.items() if len(words) > 1])
    afterwards = [
        (step.run_id, step.was, step.became) for steps in evidence.steps.values() for step in steps if step.was in FINAL
    ]
    findings.add("steps after a run's end", afterwards)


def check_attempts(findings: Findings, evidence: Evidence) -> None:
    """No run was taken from a worker that held it, and each time that one was taken has its row."""
    taken = {run_id: [s for s in steps if s.became == RunStatus.RUNNING] for run_id, steps in evidence.steps.items()}
    findings.add("runs taken while they ran", [s.run_id for t in taken.values() for s in t if s.was == "running"])
    findings.interrupted = sum(len(times) - 1 for times in taken.values() if times)
    by_run: dict[int, list[Any]] = defaultdict(list)
    for attempt in evidence.attempts:
        by_run[attempt.run_id].append(attempt)
    tokens = {run_id: [s.lease_token for s in times] for run_id, times in taken.items() if times}
    rows = {run_id: [a.lease_token for a in attempts] for run_id, attempts in by_run.items()}
    findings.add(
        "runs whose attempts differ from what was seen", [r for r in tokens | rows if tokens.get(r) != rows.get(r)]
    )
    running = {run.id for run in evidence.runs if run.status == RunStatus.RUNNING}
    open_attempts = [a.run_id for a in evidence.attempts if a.outcome is None and a.run_id not in running]
    findings.add("attempts left open", open_attempts)


def check_results(findings: Findings, evidence: Evidence) -> None:
    """One result an account and run; a run that went through has one for each account."""
    found = Counter((r.run_id, r.account_id) for r in evidence.results)
    findings.add("accounts with two results in a run", [key for key, count in found.items() if count > 1])
    findings.cut_short = sum(r.error == SIGNED_IN_BEFORE for r in evidence.results)
    imported = {(r.session_id, r.username) for r in evidence.results if r.status == "success"}
    findings.without_success = sum(job.accounts_count for job in evidence.jobs) - len(imported)
    by_run = Counter(r.run_id for r in evidence.results)
    accounts = {job.id: job.accounts_count for job in evidence.jobs}
    through = [r for r in evidence.runs if r.status in ("completed", "partial")]
    wanted = {r.id: r.accounts_total if r.trigger == "retry" else accounts[r.session_id] for r in through}
    findings.add(
        "runs that went through without a result for each account",
        [(run_id, by_run[run_id], count) for run_id, count in wanted.items() if by_run[run_id] != count],
    )
    findings.add("runs that miscount", [r.id for r in evidence.runs if r.accounts_done != by_run[r.id]])
    per_job: Counter[str] = Counter()
    for run in evidence.runs:
        per_job[run.session_id] += run.accounts_done if run.status in FINAL else 0
    findings.add("jobs that miscount", [j.id for j in evidence.jobs if j.results_count != per_job[j.id]])


def check_sign_ins(findings: Findings, evidence: Evidence) -> None:
    """Within a run an account is signed in to once, however many workers had the run."""
    spans = list_attempt_spans(evidence)
    in_run: Counter[tuple[str, int]] = Counter()
    strange: list[tuple[str, datetime]] = []
    late: list[tuple[str, datetime]] = []
    for username, instants in evidence.sign_ins.items():
        of_job = spans.get(job_id_of(username), [])
        for at in instants:
            span = next((s for s in of_job if s.starts_at <= at <= s.ends_at), None)
            if span is None:
                strange.append((username, at))
                continue
            in_run[username, span.run_id] += 1
            recorded = evidence.recorded.get((span.run_id, username))
            if recorded is not None and at > recorded:
                late.append((username, at))
    findings.repeated_sign_ins = in_run.total() - len(in_run)
    findings.add("accounts signed in to twice by one run", [key for key, count in in_run.items() if count > 1])
    findings.add("sign-ins outside of any run", strange)
    findings.add("sign-ins after the result was there", late)


def job_id_of(username: str) -> str:
    """An account's name tells its job: `N.<job id>@example.com`, see the stage."""
    return username.split("@")[0].partition(".")[2]


def list_attempt_spans(evidence: Evidence) -> dict[str, list[Span]]:
    """By job, when a worker had one of its runs."""
    spans: dict[str, list[Span]] = defaultdict(list)
    end_of_time = datetime.max.replace(tzinfo=UTC)
    for run_id, steps in evidence.steps.items():
        for number, step in enumerate(steps):
            if step.became == RunStatus.RUNNING:
                ends_at = steps[number + 1].at if number + 1 < len(steps) else end_of_time
                spans[step.session_id].append(Span(run_id, step.at, ends_at))
    return spans


def check_bills(findings: Findings, evidence: Evidence, storage: Path | None) -> None:
    """Every account that was imported has its two bills, once, with the very documents that the portal serves."""
    found = Counter((b.session_id, b.username, b.number) for b in evidence.bills)
    findings.add("bills twice", [key for key, count in found.items() if count > 1])
    imported = {(r.session_id, r.username) for r in evidence.results if r.status == "success"}
    wanted = {(*account, number) for account in imported for number in BILLS}
    findings.add("bills missing", sorted(wanted - found.keys()))
    findings.add("bills of nobody", sorted(found.keys() - wanted))
    wrong = [b.username for b in evidence.bills if b.sha256 != sha256_of_bill(b.username, b.number)]
    findings.add("bills with another document than the portal's", wrong)
    if storage is not None:
        urls = {(b.file_url, b.sha256) for b in evidence.bills}
        findings.add("files that are not what their bill says", [u for u, sha in urls if digest(storage / u) != sha])


def digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def check_job_statuses(findings: Findings, evidence: Evidence) -> None:
    """A job is running, queued or as its last run ended, just as its runs are."""
    runs: dict[str, list[Any]] = defaultdict(list)
    for run in evidence.runs:
        runs[run.session_id].append(run)
    findings.add(
        "jobs whose status differs from their runs'",
        [(j.id, j.status, w) for j in evidence.jobs if j.status != (w := wanted_status(j, runs[j.id]))],
    )


def wanted_status(job: Any, runs: Sequence[Any]) -> str:
    statuses = {run.status for run in runs}
    if RunStatus.RUNNING in statuses:
        return "running"
    if RunStatus.QUEUED in statuses:
        return "queued"
    return next((run.status for run in runs if run.id == job.last_run_id), "idle")
