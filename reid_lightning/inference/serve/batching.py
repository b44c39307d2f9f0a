"""Work of many requests done in batches by one thread, which the event loop never waits for."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Closed(RuntimeError):
    """The server is stopping and takes nothing more."""


class Batcher(Generic[Item, Result]):
    """Hands items to a function, several at a time.

    One thread of its own calls the function. What comes while it works is the next batch; so batches grow with the load, and
    an item that comes alone waits only `wait` seconds.

    Args:
        name: Of the thread.
        work: Returns for each item its result, or the exception that its caller gets.
        most: Items that it takes at once.
        wait: Seconds that the first item of a batch waits for others.
        seen: Called with the size of every batch.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        most: int,
        wait: float = 0.0,
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._work, self._most, self._wait, self._seen = work, most, wait, seen
        self._waiting: queue.SimpleQueue[tuple[Item, Future[Result]] | None] = queue.SimpleQueue()
        self._lock, self._closed = threading.Lock(), False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> "Future[Result]":
        """Return the future result of an item.

        Raises:
            Closed: It has been closed.
        """
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise Closed("The server is stopping.")
            self._waiting.put((item, future))
        return future

    async def __call__(self, item: Item) -> Result:
        """Wait for the result of an item; who gives up waiting takes an item back that is not in progress yet."""
        return await asyncio.wrap_future(self.submit(item))

    def close(self, timeout: float | None = None) -> None:
        """Do what waits, and end the thread; nothing more is taken."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        last = False
        while not last:
            first = self._waiting.get()
            if first is None:
                return
            batch, last = self._gather(first)
            batch = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if batch:
                self._seen(len(batch))
                self._answer(batch)

    def _gather(self, first: tuple[Item, Future[Result]]) -> tuple[list[tuple[Item, Future[Result]]], bool]:
        """Return a batch that begins with an item, and whether it is the last one."""
        batch, stop = [first], time.monotonic() + self._wait
        while len(batch) < self._most:
            left = stop - time.monotonic()
            try:
                following = self._waiting.get(timeout=left) if left > 0 else self._waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return batch, True
            batch.append(following)
        return batch, False

    def _answer(self, batch: Sequence[tuple[Item, Future[Result]]]) -> None:
        try:
            results = self._work([item for item, _ in batch])
            assert len(results) == len(batch)
        except BaseException as error:  # the thread continues, and every caller gets the reason
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
