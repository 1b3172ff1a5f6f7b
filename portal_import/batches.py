"""Questions to the database that come up at the same time are asked together, in one transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batches(Generic[Question, Answer]):
    """While one batch is being answered, the next one gathers: with nobody else asking, nothing waits.

    Where nobody is in a hurry, each batch gathers for `linger` seconds first.
    """

    def __init__(
        self, answer_all: Callable[[list[Question]], Awaitable[Sequence[Answer]]], *, linger: float = 0
    ) -> None:
        self._answer_all = answer_all
        self._linger = linger
        self._gathered: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._work: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer to this question. What `answer_all` raises, everybody of its batch gets."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._gathered.append((question, future))
        if self._work is None:
            self._work = asyncio.create_task(self._answer_gathered())
        return await future

    async def _answer_gathered(self) -> None:
        try:
            while self._gathered:
                if self._linger:
                    await asyncio.sleep(self._linger)
                batch, self._gathered = self._gathered, []
                await self._answer(batch)
        finally:
            self._work = None

    async def _answer(self, batch: list[tuple[Question, "asyncio.Future[Answer]"]]) -> None:
        futures = [future for _, future in batch]
        try:
            answers = await self._answer_all([question for question, _ in batch])
        except Exception as error:  # noqa: BLE001 (nothing is swallowed: those who asked get it)
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        for future, answer in zip(futures, answers, strict=True):
            if not future.done():  # who asked may have run out of time
                future.set_result(answer)
