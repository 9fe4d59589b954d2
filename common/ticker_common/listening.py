"""Listening on a port that a setting names: the port that was taken, or words that name it."""

from __future__ import annotations

from aiohttp import web


class PortUnusableError(Exception):
    """Nobody can listen there: taken, not ours, or not permitted."""


async def listen(runner: web.AppRunner, host: str, port: int) -> int:
    """Set `runner` up and listen; the port that was taken (0 = any).

    Raises
    ------
    PortUnusableError
        When that is not possible; the runner is cleaned up.
    """
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise PortUnusableError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return int(runner.addresses[0][1])
