"""PDF text from the worker process: read, bounded, and never able to take the run down."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from fpdf import FPDF

from demo.accounts import ACCOUNTS
from demo.bills import list_bills
from demo.documents import make_document
from portal_import.engine.pdf_reader import MAX_CHARACTERS, MAX_FAILURES, MAX_PAGES, PdfReader, UnreadablePdfError
from settings import PROJECT_ROOT
from tests.waiting import wait_until

T = TypeVar("T")
BILL = list_bills(ACCOUNTS[0], date(2026, 3, 17))[0]
GOOD = make_document(BILL, "pdf")


def with_reader(work: Callable[[PdfReader], Awaitable[T]], seconds: float = 20) -> T:
    async def scenario() -> T:
        async with PdfReader(seconds_per_pdf=seconds) as reader:
            return await work(reader)

    return asyncio.run(scenario())


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "pdf_worker.py" in " ".join(child.cmdline())]


def make_pdf(pages: int, lines: int = 1) -> bytes:
    """A PDF whose pages have that many lines of 200 characters."""
    pdf = FPDF()
    pdf.set_font("Helvetica", "", 3)
    for number in range(pages):
        pdf.add_page()
        for line in range(lines):
            pdf.text(5, 5 + line, f"page {number} ".ljust(200, "x"))
    return bytes(pdf.output())


def test_text_is_read_by_one_worker_that_ends_with_its_reader():
    async def read_two(reader: PdfReader) -> tuple[list[str], set[int]]:
        texts, pids = [], set()
        for _ in range(2):
            texts.append(await reader.read_text(GOOD))
            pids.update(worker.pid for worker in workers())
        return texts, pids

    texts, pids = with_reader(read_two)
    assert f"Invoice number {BILL.number}" in texts[0]
    assert texts[0] == texts[1]
    assert len(pids) == 1
    assert workers() == []


def test_no_worker_starts_before_there_is_a_pdf():
    async def do_nothing(reader: PdfReader) -> None:
        assert workers() == []

    with_reader(do_nothing)


def test_pages_and_characters_are_bounded():
    text = with_reader(lambda reader: reader.read_text(make_pdf(MAX_PAGES + 2)))
    assert f"page {MAX_PAGES - 1} x" in text
    assert f"page {MAX_PAGES} x" not in text
    long = with_reader(lambda reader: reader.read_text(make_pdf(2, lines=280)))
    assert 0.9 * MAX_CHARACTERS < len(long) <= MAX_CHARACTERS + MAX_PAGES


@pytest.mark.parametrize("content", [b"%PDF-1.4\nnothing\n%%EOF\n", b"", GOOD[:700], os.urandom(5000)])
def test_what_is_no_whole_pdf_is_said_and_the_worker_goes_on(content: bytes):
    async def read_bad_then_good(reader: PdfReader) -> str:
        with pytest.raises(UnreadablePdfError):
            await reader.read_text(content)
        return await reader.read_text(GOOD)

    assert BILL.number in with_reader(read_bad_then_good)


def test_worker_that_dies_over_a_pdf_is_replaced_for_the_next():
    async def kill_while_reading(reader: PdfReader) -> str:
        await reader.read_text(GOOD)
        [worker] = workers()
        worker.suspend()
        reading = asyncio.create_task(reader.read_text(GOOD))
        await asyncio.sleep(0)  # it asks, and waits
        worker.send_signal(signal.SIGKILL)
        with pytest.raises(UnreadablePdfError, match="reading it crashed"):
            await reading
        return await reader.read_text(GOOD)

    assert BILL.number in with_reader(kill_while_reading)


def test_no_pdf_is_read_any_more_after_a_few_that_crashed():
    async def crash(reader: PdfReader) -> str:
        for _ in range(MAX_FAILURES):
            await reader.read_text(GOOD)
            [worker] = workers()
            worker.suspend()
            reading = asyncio.create_task(reader.read_text(GOOD))
            await asyncio.sleep(0)
            worker.kill()
            with pytest.raises(UnreadablePdfError, match="reading it crashed"):
                await reading
        with pytest.raises(UnreadablePdfError) as refused:
            await reader.read_text(GOOD)
        assert workers() == []
        return str(refused.value)

    assert with_reader(crash) == "no PDF is read any more after 3 that crashed or stalled"


def test_worker_that_died_between_two_pdfs_costs_neither():
    async def kill_between(reader: PdfReader) -> str:
        await reader.read_text(GOOD)
        [worker] = workers()
        worker.send_signal(signal.SIGSEGV)
        await asyncio.to_thread(wait_until, lambda: not psutil.pid_exists(worker.pid), 10, "its end")
        for _ in range(9):
            await asyncio.sleep(0)  # what it left behind is noticed turn by turn
        return await reader.read_text(GOOD)

    assert BILL.number in with_reader(kill_between)


def test_pdf_that_takes_too_long_is_given_up_and_its_worker_ended():
    async def read_stalled(reader: PdfReader) -> None:
        await reader.read_text(GOOD)
        [worker] = workers()
        worker.suspend()
        with pytest.raises(UnreadablePdfError, match="took longer than 4 seconds"):
            await reader.read_text(GOOD)
        assert not worker.is_running()

    with_reader(read_stalled, seconds=4)


def test_worker_does_not_outlive_the_run_that_is_killed(tmp_path: Path):
    (tmp_path / "a.pdf").write_bytes(GOOD)
    script = (
        "import asyncio, pathlib, sys\nfrom portal_import.engine.pdf_reader import PdfReader\n"
        "async def main():\n"
        "    reader = PdfReader()\n"
        "    await reader.read_text(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.pdf")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT_ROOT) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        [worker] = psutil.Process(run.pid).children()
        run.kill()
    wait_until(lambda: not worker.is_running(), 20, "the worker's end")


def test_worker_is_told_no_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PUNCTUAL_SECRET_KEY", "do-not-tell")

    async def look(reader: PdfReader) -> dict[str, str]:
        await reader.read_text(GOOD)
        return workers()[0].environ()

    assert "do-not-tell" not in with_reader(look).values()


def test_account_that_is_given_up_ends_the_worker_it_waits_for():
    async def cancel(reader: PdfReader) -> None:
        await reader.read_text(GOOD)
        [worker] = workers()
        worker.suspend()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read_text(GOOD)
        assert not worker.is_running()
        assert BILL.number in await reader.read_text(GOOD)

    with_reader(cancel)
