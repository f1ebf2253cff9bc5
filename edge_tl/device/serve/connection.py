"""A connection that has so long to send the head of a request: a half-sent one would be held for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol


def timed_connection(timeout_s: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1, which closes a connection that has not sent the whole head of its first request
    `timeout_s` after it was made, of a further one after its first byte. Bodies and answers are not its concern. Raises
    `ImportError` without uvicorn."""
    from h11 import IDLE
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class TimedConnection(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _watch(self) -> None:
            if self.conn.their_state is not IDLE:
                self._forget()
            elif self._late is None:
                self._late = self.loop.call_later(timeout_s, self._close)

        def _forget(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _close(self) -> None:
            self._late = None
            if self.conn.their_state is IDLE:
                self.transport.close()

    return TimedConnection
