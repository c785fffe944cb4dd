"""Slows guessing down: after a wrong login its address waits, twice as long each time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from .requests import Message, Receive, Refused, Scope, Send

# Seconds that an address waits after a wrong login, at first and at most; and until wrong ones are forgotten.
FIRST, LONGEST, FORGOTTEN = 0.5, 4.0, 600.0
# Addresses can be forged through a proxy. After so many wrong logins of all addresses together, each login stands in
# one line, which lets one through in so many seconds and holds so many.
MANY, SPACING, LINE = 30, 0.5, 20


class Logins:
    """Hands logins on, one of an address at a time. A visitor who is slow, or wrong, keeps no other address out."""

    def __init__(self) -> None:
        self._wrong: dict[str, list[float]] = {}
        self._blocked_until: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._line = asyncio.Lock()
        self._in_line = 0

    async def follow(self, app: Any, scope: Scope, receive: Receive, send: Send, visitor: str) -> None:
        """Answer a login whose body is here. Raises Refused where its address has to wait."""
        self._forget()
        async with self._locks.setdefault(visitor, asyncio.Lock()):
            if time.monotonic() < self._blocked_until.get(visitor, 0):
                raise Refused(429, "After a wrong login it takes a few seconds until the next one; try again.")
            if sum(map(len, self._wrong.values())) > MANY:
                await self._stand_in_line()  # one place for each address
            answer: list[Message] = []

            async def keep(message: Message) -> None:
                answer.append(message)

            await app(scope, receive, keep)
            wait = self._judged(visitor, int(answer[0]["status"]) if answer else 0)
        await asyncio.sleep(wait)
        for message in answer:
            await send(message)

    def _judged(self, visitor: str, status: int) -> float:
        """Seconds that the answer waits."""
        if status == 200:
            self._wrong.pop(visitor, None)
        if status != 400:
            return 0.0
        times = self._wrong.setdefault(visitor, [])
        times.append(time.monotonic())
        wait = min(LONGEST, FIRST * 2.0 ** min(len(times) - 1, 10))
        self._blocked_until[visitor] = time.monotonic() + wait
        return wait

    def _forget(self) -> None:
        now = time.monotonic()
        recent = ((who, [at for at in times if now - at < FORGOTTEN]) for who, times in self._wrong.items())
        self._wrong = {who: times for who, times in recent if times}
        self._blocked_until = {who: until for who, until in self._blocked_until.items() if until > now}
        self._locks = {who: lock for who, lock in self._locks.items() if lock.locked() or who in self._wrong}

    async def _stand_in_line(self) -> None:
        if self._in_line >= LINE:
            raise Refused(429, "Too many logins at once; try again in a few seconds.")
        self._in_line += 1
        try:
            async with self._line:
                await asyncio.sleep(SPACING)
        finally:
            self._in_line -= 1
