"""What an instrument is about: its underlying's name in channels, and the row that carries the underlying's price.

Taken from the dump's columns (name, instrument_type, segment), never from the tradingsymbol: its grammar is
undocumented and ambiguous. Indices are the one thing the dump does not connect: derivatives say ``NIFTY``, the index
row says ``NIFTY 50``; the table below does. An index that is missing there still streams, under its own name.
"""

from __future__ import annotations

import re
from typing import Final

INDEX_SYMBOLS: Final[dict[str, tuple[str, ...]]] = {
    "NIFTY": ("NSE:NIFTY 50",),
    "BANKNIFTY": ("NSE:NIFTY BANK",),
    "FINNIFTY": ("NSE:NIFTY FIN SERVICE",),
    "MIDCPNIFTY": ("NSE:NIFTY MID SELECT",),
    "NIFTYNXT50": ("NSE:NIFTY NEXT 50",),
    "SENSEX": ("BSE:SENSEX",),
    "BANKEX": ("BSE:BANKEX",),
    "SENSEX50": ("BSE:SNSX50", "BSE:SENSEX50"),
}
_INDEX_NAMES: Final = {symbol: name for name, symbols in INDEX_SYMBOLS.items() for symbol in symbols}
_CASH_EXCHANGES: Final[dict[str, str]] = {"NFO": "NSE", "BFO": "BSE"}
INDEX_SEGMENT: Final = "INDICES"
OPTION_TYPES: Final = frozenset({"CE", "PE"})
FUTURE: Final = "FUT"
_KINDS: Final[dict[str, str]] = {FUTURE: "futures", "CE": "options", "PE": "options"}
_NOT_IN_CHANNELS: Final = re.compile(r"[^a-z0-9._-]+")


def channel_word(name: str) -> str:
    """A name as it may stand in a channel: ``NIFTY IT`` → ``nifty-it``."""
    return _NOT_IN_CHANNELS.sub("-", name.lower()).strip("-.") or "unnamed"


def underlying_name(*, exchange: str, tradingsymbol: str, name: str, instrument_type: str, segment: str) -> str:
    """``nifty`` for everything on NIFTY and for the index itself; empty for equities."""
    if segment == INDEX_SEGMENT:
        symbol = f"{exchange}:{tradingsymbol}"
        return channel_word(_INDEX_NAMES.get(symbol, tradingsymbol))
    return channel_word(name or tradingsymbol) if instrument_type in _KINDS else ""


def default_channel(*, underlying: str, instrument_type: str, segment: str) -> str:
    """``nifty:options``, ``nifty:underlying``, ``equity``; without the prefix."""
    if segment == INDEX_SEGMENT:
        return f"{underlying}:underlying"
    kind = _KINDS.get(instrument_type)
    return f"{underlying}:{kind}" if kind else "equity"


def underlying_symbols(*, exchange: str, name: str, instrument_type: str) -> tuple[str, ...]:
    """Where the underlying's price may stand, best first; nothing for what has no underlying."""
    if instrument_type not in _KINDS or not name:
        return ()
    cash = _CASH_EXCHANGES.get(exchange)
    if cash is None:
        return ()
    return (*INDEX_SYMBOLS.get(name, ()), f"{cash}:{name}")
