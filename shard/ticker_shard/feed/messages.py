"""The broker's text messages: what we send and what may come. Pure.

Requests are JSON objects ``{"a": action, "v": value}`` with tokens as *numbers*: strings are answered by an error text
and a socket that carries nothing but heartbeats. Lists are cut into chunks: no limit is documented, one message of
3,000 works, and a cut list loses less if one message is not understood.

What comes is an object with a ``type``; anything else is junk, and neither is ever an error of the connection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ticker_common.logs import redact
from ticker_crds import Mode
from ticker_shard.feed.events import TextKind

TEXT_BYTES_MAX: Final = 65_536  # larger texts are counted and not read; an order update has about 2,000
TEXT_CHARS_MAX: Final = 200  # of what is passed on for people

_KINDS: Final = {
    "order": TextKind.ORDER,
    "error": TextKind.ERROR,
    "message": TextKind.MESSAGE,
    "instruments_meta": TextKind.INSTRUMENTS_META,
}


def subscribe_messages(instruments: Mapping[int, Mode], *, chunk: int) -> Iterator[bytes]:
    """Subscribe and set the mode, chunk by chunk, richest mode first.

    Parameters
    ----------
    instruments
        Token → mode.
    chunk
        Tokens per message.
    """
    for mode, tokens in _by_mode(instruments):
        for part in _chunks(tokens, chunk):
            yield _message("subscribe", part)
            yield _message("mode", [mode.value, part])


def mode_messages(instruments: Mapping[int, Mode], *, chunk: int) -> Iterator[bytes]:
    """Set the mode of tokens that are subscribed."""
    for mode, tokens in _by_mode(instruments):
        for part in _chunks(tokens, chunk):
            yield _message("mode", [mode.value, part])


def unsubscribe_messages(tokens: Sequence[int], *, chunk: int) -> Iterator[bytes]:
    """Remove tokens."""
    for part in _chunks(tokens, chunk):
        yield _message("unsubscribe", part)


def read_text(payload: bytes) -> tuple[TextKind, str]:
    """What a text frame is, and what it says for people (nothing of an order: that is private).

    Parameters
    ----------
    payload
        The frame's bytes, of anybody.
    """
    if len(payload) > TEXT_BYTES_MAX:
        return TextKind.JUNK, f"{len(payload)} bytes of text, {TEXT_BYTES_MAX} are read"
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return TextKind.JUNK, "not JSON"
    if not isinstance(content, dict):
        return TextKind.JUNK, f"JSON, but a {type(content).__name__} where an object was expected"
    name = content.get("type")
    kind = _KINDS.get(name, TextKind.UNKNOWN) if isinstance(name, str) else TextKind.UNKNOWN
    if kind is TextKind.ORDER:
        return kind, ""
    said = content.get("data") if kind is not TextKind.UNKNOWN else name
    text = said if isinstance(said, str) else json.dumps(said, default=str)
    # Recognised by its words for want of a code; only the label depends on it.
    if kind is TextKind.ERROR and "subscribe to more than" in text:
        kind = TextKind.TOO_MANY_INSTRUMENTS
    return kind, redact(text[:TEXT_CHARS_MAX])


def _by_mode(instruments: Mapping[int, Mode]) -> Iterator[tuple[Mode, list[int]]]:
    for mode in (Mode.FULL, Mode.QUOTE, Mode.LTP):
        tokens = [token for token, wanted in instruments.items() if wanted is mode]
        if tokens:
            yield mode, tokens


def _chunks(tokens: Sequence[int], chunk: int) -> Iterator[list[int]]:
    for start in range(0, len(tokens), chunk):
        yield list(tokens[start : start + chunk])


def _message(action: str, value: object) -> bytes:
    return json.dumps({"a": action, "v": value}, separators=(",", ":")).encode()
