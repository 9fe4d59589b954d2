"""Structured JSON logs that cannot carry a secret.

One line is one JSON object: time (UTC), level, logger, message, then every field given by ``extra``.
Secrets are removed in the formatter, the last door before the bytes leave, so a library that logs a
socket's URL (the access token is a query parameter of it) or an ``Authorization`` header cannot leak
either. Two nets: known *shapes* (token-like query parameters, headers, JSON members) and known *values*
(`register_secret`, called by whoever reads a Secret).
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from typing import IO, Any, Final

REDACTED: Final = "[redacted]"
SECRETS_MAX: Final = 1_024  # accounts x keys x recent rotations; the oldest goes first
SECRET_CHARS_MIN: Final = 4  # shorter values would redact ordinary words

_NAMES = r"access_token|api_key|api_secret|request_token|refresh_token|public_token|enctoken|checksum|password"
_QUERY = re.compile(rf"(?i)\b({_NAMES})=([^&\s\"'<>\\]+)")
_JSON = re.compile(rf"(?i)(\\?[\"']({_NAMES})\\?[\"']\s*:\s*\\?[\"'])([^\"'\\]*)")
_AUTHORIZATION = re.compile(r"(?i)\b(token|bearer|basic)\s+([A-Za-z0-9._~+/=-]{4,}(?::[A-Za-z0-9._~+/=-]+)?)")
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^/\s:@]*):([^/\s@]+)@")

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

_secrets: dict[str, None] = {}
_secrets_lock = threading.Lock()


def register_secret(*values: str) -> None:
    """Never let these values appear in a log line, an exception text or a status.

    Parameters
    ----------
    *values
        Secret texts; those shorter than `SECRET_CHARS_MIN` characters are ignored.
    """
    with _secrets_lock:
        for value in values:
            if len(value) >= SECRET_CHARS_MIN:
                _secrets.pop(value, None)
                _secrets[value] = None
        while len(_secrets) > SECRETS_MAX:
            del _secrets[next(iter(_secrets))]


def redact(text: str) -> str:
    """The same text without anything that is, or looks like, a secret."""
    with _secrets_lock:
        known = sorted(_secrets, key=len, reverse=True)
    for value in known:
        if value in text:
            text = text.replace(value, REDACTED)
    text = _QUERY.sub(rf"\1={REDACTED}", text)
    text = _JSON.sub(rf"\g<1>{REDACTED}", text)
    text = _USERINFO.sub(rf"\1:{REDACTED}@", text)
    return _AUTHORIZATION.sub(_hide_credentials, text)


def _hide_credentials(match: re.Match[str]) -> str:
    # "token expired" is prose; "token key:secret" and long opaque words are credentials.
    value = match[2]
    opaque = ":" in value or (len(value) >= 16 and any(c.isdigit() for c in value))
    return f"{match[1]} {REDACTED}" if opaque else match[0]


class JsonFormatter(logging.Formatter):
    """One JSON object a line, redacted as a whole."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one redacted line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD and key not in line)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str, ensure_ascii=False))


def configure_logging(*, level: str = "info", stream: IO[str] | None = None) -> None:
    """Send every logger of the process to `stream` (default: standard error) as redacted JSON lines.

    Parameters
    ----------
    level
        ``debug``, ``info``, ``warning`` or ``error``.
    stream
        Where the lines go.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("aiohttp.access", "kubernetes", "urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
