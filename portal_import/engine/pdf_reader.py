"""Asks the PDF worker for a PDF's text, within bounds.

The worker starts with the first PDF, and another one when it has died: about 0.15 seconds, then 1 ms a PDF.
"""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

MAX_PDF_BYTES = 10 * 1024 * 1024
MAX_PAGES = 5
MAX_CHARACTERS = 50_000
SECONDS_PER_PDF = 10.0
MAX_FAILURES = 3  # all accounts of a run wait for the one worker
_MAX_ANSWER_BYTES = 1024 * 1024
_WORKER = Path(__file__).with_name("pdf_worker.py")
# The worker reads what strangers made: it is given no key, no address and no password.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")


class UnreadablePdfError(Exception):
    """The PDF's text can't be had; the message says why, for people. Lasting is what is the PDF's own fault."""

    def __init__(self, message: str, *, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class PdfReader:
    """One worker process at most. Closing it ends the worker."""

    def __init__(self, *, seconds_per_pdf: float = SECONDS_PER_PDF) -> None:
        self._seconds = seconds_per_pdf
        self._failures = 0
        self._worker: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def read_text(self, content: bytes) -> str:
        """The text of the PDF's first pages. Raises UnreadablePdfError."""
        async with self._turn:
            if self._failures >= MAX_FAILURES:
                raise UnreadablePdfError(f"no PDF is read any more after {MAX_FAILURES} that crashed or stalled")
            is_answered = False
            try:
                async with asyncio.timeout(self._seconds):
                    answer = await self._ask(content)
                is_answered = True
            except TimeoutError:
                self._failures += 1
                raise UnreadablePdfError(f"reading it took longer than {self._seconds:g} seconds") from None
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                self._failures += 1
                raise UnreadablePdfError("reading it crashed") from error
            finally:
                if not is_answered:
                    await self.close()
        if "text" not in answer:
            raise UnreadablePdfError(str(answer.get("error", "nothing is known of the reason")), is_lasting=True)
        return str(answer["text"])

    async def close(self) -> None:
        """End the worker, whatever it is doing."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()

    async def _ask(self, content: bytes) -> dict[str, object]:
        if self._worker is None or self._worker.stdout is None or self._worker.stdout.at_eof():
            await self.close()
            self._worker = await self._start()
        requests, answers = self._worker.stdin, self._worker.stdout
        assert requests is not None
        assert answers is not None
        bounds = {"size": len(content), "max_pages": MAX_PAGES, "max_characters": MAX_CHARACTERS}
        requests.write(json.dumps(bounds).encode() + b"\n" + content)
        await requests.drain()
        return json.loads(await answers.readuntil(b"\n"))

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(_WORKER)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            limit=_MAX_ANSWER_BYTES,
        )
