"""The Redis URL: a secret in a file (a mounted Secret), read again whenever somebody connects.

Whatever the file holds, asking for the URL answers a text: a missing or unreadable file is a URL that cannot be
connected to, with the reason told apart (`fault`), because a wrong file must be repairable under a running process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ticker_common.logs import register_secret
from ticker_shard.publish.addresses import parse_address

URL_BYTES_MAX: Final = 4_096


class RedisUrlFile:
    """Reads the URL; its password is registered as a secret.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = ""

    def __call__(self) -> str:
        """The URL as the file has it now; empty while the file cannot be used."""
        url, _ = self._read()
        self._last = url or self._last
        return url

    @property
    def changed(self) -> bool:
        """Whether the file now holds a URL that was not handed out yet."""
        url, _ = self._read()
        return bool(url) and url != self._last

    @property
    def fault(self) -> str | None:
        """What is wrong with the file, in words without the URL; `None` when it holds a URL."""
        return self._read()[1]

    def _read(self) -> tuple[str, str | None]:
        name = self._path.name
        try:
            with self._path.open("rb") as file:
                text = file.read(URL_BYTES_MAX + 1).decode().strip()
        except FileNotFoundError:
            return "", f"the file {name} with the Redis URL does not exist"
        except (OSError, ValueError) as error:
            return "", f"the file {name} with the Redis URL cannot be read ({type(error).__name__})"
        if len(text) > URL_BYTES_MAX:
            return "", f"the file {name} with the Redis URL has more than {URL_BYTES_MAX:,} bytes"
        try:
            parts = urlsplit(text)
            if parts.password:
                register_secret(parts.password, unquote(parts.password))
            address = parse_address(text)
            if address.sentinel_password:
                register_secret(address.sentinel_password)
        except ValueError:
            return "", f"the file {name} does not hold a Redis URL (redis://host:port/0 or rediss://…)"
        return text, None
