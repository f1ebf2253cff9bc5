"""Work on many items by threads, answers in order, memory bounded. Knows nothing of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(
    work: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int, name: str = "work"
) -> Generator[R, None, None]:
    """`work(item)` for every item, in the order of `items`. At most `ahead` items more than asked for are taken, in the
    caller's thread, while `threads` threads work on them. What `work` raises is raised in its place. Whoever stops
    early waits for what is being worked on, not for what is queued."""
    with ThreadPoolExecutor(threads, thread_name_prefix=name) as pool:
        pending: deque[Future[R]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
