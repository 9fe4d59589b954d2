"""Underlyings that an account subscribes to only so that its options can be priced.

Implied volatility and Greeks need the underlying's price *in the process that prices*, and placement spreads a chain
over accounts: the future may be at another one, or wanted by nobody. So every table whose options want Greeks also
carries, as *references*, what they are priced on: the future that their expiry settles like, and the index or equity.

A reference is a row without a channel. It is subscribed and published nowhere, so nobody's last value depends on it: it
belongs to no subscription, is not placed, never moves, and needs no acknowledgement. It is a function of the table's
other rows and the broker's list, made anew whenever a table is written, and takes what room is left: wanted
instruments come first, and where no room is left options say ``no_underlying``. References that price more options come
first; futures before spots.

An account that streams an underlying anyway has no reference to it. Between the two the row changes in place: a
reference that becomes wanted there takes the role that the move gives it; a row that is no longer wanted there, but
still needed, loses its channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ticker_crds import AssignedInstrument, Mode, Role
from ticker_operator.model import ChainKey, Identity, References
from ticker_operator.planning.underlyings import OPTION_TYPES

Rows: TypeAlias = Mapping[Identity, AssignedInstrument]


def chain_of(row: AssignedInstrument) -> ChainKey | None:
    """Whose reference this row needs; `None` if it is not to be priced."""
    if not row.greeks or row.instrument_type not in OPTION_TYPES:
        return None
    return (row.exchange, row.underlying, row.underlying_token, row.expiry)


def references_of(
    rows: Iterable[AssignedInstrument], *, known: References | None, before: Iterable[AssignedInstrument], room: int
) -> list[AssignedInstrument]:
    """The references of a table with these rows.

    Parameters
    ----------
    rows
        All of the table's other rows.
    known
        What each chain is priced on; `None` without the broker's list: then what is there stays.
    before
        The references that the table has.
    room
        How many fit.
    """
    present = list(rows)
    needs: Counter[ChainKey] = Counter()
    for row in present:
        if row.role is not Role.OUTGOING and (key := chain_of(row)) is not None:
            needs[key] += 1
    wanted = _by_weight(needs, known) if known is not None else list(before) if needs else []
    tokens, symbols = {row.token for row in present}, {row.symbol for row in present}
    chosen: list[AssignedInstrument] = []
    for row in wanted:
        if len(chosen) >= room:
            break
        if row.token not in tokens and row.symbol not in symbols:
            chosen.append(row)
            tokens.add(row.token)
            symbols.add(row.symbol)
    return chosen


def _by_weight(needs: Mapping[ChainKey, int], known: References) -> list[AssignedInstrument]:
    """Futures first, then those that price more options, then by symbol."""
    weights: dict[Identity, tuple[int, AssignedInstrument]] = {}
    for key, count in needs.items():
        for row in known.get(key, ()):
            weights[row.identity] = (weights.get(row.identity, (0, row))[0] + count, row)
    ordered = sorted(weights.values(), key=lambda entry: (not entry[1].expiry, -entry[0], entry[1].symbol))
    return [row for _, row in ordered]


def as_reference(row: AssignedInstrument) -> AssignedInstrument:
    """`row` as it stands in a table for reference only.

    In full mode: a packet that tells of a changed book also tells that the last price is still the last.
    """
    return AssignedInstrument(
        token=row.token,
        exchange=row.exchange,
        tradingsymbol=row.tradingsymbol,
        mode=Mode.FULL,
        channels=(),
        expiry=row.expiry,
        strike=row.strike,
        instrument_type=row.instrument_type,
        underlying=row.underlying,
        underlying_token=row.underlying_token,
        lot_size=row.lot_size,
        tick_size=row.tick_size,
    )
