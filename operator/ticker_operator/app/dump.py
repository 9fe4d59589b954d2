"""`InstrumentPort` over HTTP: ``GET <endpoint>/instruments``, gzip on the wire, bounded.

No credentials are sent: the broker does not ask for any here, and the operator never holds a token.
"""

from __future__ import annotations

from typing import Final

import aiohttp

from ticker_common.logs import redact
from ticker_operator.reconcile.ports import Unreachable

CONNECT_S: Final = 5.0
TOTAL_S: Final = 90.0
DUMP_BYTES_MAX: Final = 64 * 1024 * 1024  # six times today's
CHUNK_BYTES: Final = 1 << 18
KITE_VERSION: Final = "3"


class HttpInstruments:
    """See `ticker_operator.reconcile.ports.InstrumentPort`."""

    async def fetch_dump(self, endpoint: str) -> bytes:
        """The CSV, unpacked.

        Raises
        ------
        Unreachable
        """
        url = f"{endpoint.rstrip('/')}/instruments"
        timeout = aiohttp.ClientTimeout(total=TOTAL_S, connect=CONNECT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers={"X-Kite-Version": KITE_VERSION}) as session,
                session.get(url, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise Unreachable(f"GET {url}: HTTP {response.status}")
                return await _bounded(response, url)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unreachable(f"GET {url}: {type(error).__name__}: {redact(str(error))}") from error


async def _bounded(response: aiohttp.ClientResponse, url: str) -> bytes:
    raw = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        raw += chunk
        if len(raw) > DUMP_BYTES_MAX:
            raise Unreachable(f"GET {url}: more than {DUMP_BYTES_MAX:,} bytes")
    return bytes(raw)
