"""Waiting for what a test needs to see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until_seen(condition: Callable[[], bool], happened: asyncio.Event, *, look_s: float) -> None:
    """Until a condition holds: looked at on every event, and otherwise now and then, for what makes no event here."""
    while not condition():
        happened.clear()
        try:
            async with asyncio.timeout(look_s):
                await happened.wait()
        except TimeoutError:
            continue
