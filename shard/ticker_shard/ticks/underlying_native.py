"""`ChainMarket` with the steps of every frame in compiled loops: what a block says, which price each chain takes.

The array operations of `underlying` are the twin; what happens once a second stays there. Types and layouts are
always the ones of `ChainMarket`, so nothing is compiled after `greeks_native.warm_up`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.compiled import kernel
from ticker_shard.ticks.contracts import Floats
from ticker_shard.ticks.rows import (
    Kinds,
    Nanoseconds,
    Outcomes,
    PacketKind,
    PricingOutcome,
    Slots,
    TickRows,
    Word,
    Words,
)
from ticker_shard.ticks.underlying import CLOCK_AHEAD_S, PAIR_SPREAD_MAX, SECOND_NS, ChainMarket, Source

_FULL: Final = int(PacketKind.FULL)
_INDEX_FULL: Final = int(PacketKind.INDEX_FULL)
_LAST: Final = int(Word.LAST_PRICE)
_TIME: Final = int(Word.EXCHANGE_TIMESTAMP)
_BID: Final = int(Word.DEPTH) + 1
_ASK: Final = int(Word.DEPTH) + 16
_NONE, _FUTURE, _PAIR, _SPOT = int(Source.NONE), int(Source.FUTURE), int(Source.PAIR), int(Source.SPOT)
_PRICED: Final = int(PricingOutcome.PRICED)
_NO_UNDERLYING: Final = int(PricingOutcome.NO_UNDERLYING)
_STALE_UNDERLYING: Final = int(PricingOutcome.STALE_UNDERLYING)
_EXPIRED: Final = int(PricingOutcome.EXPIRED)


class NativeChainMarket(ChainMarket):
    """The same, compiled."""

    def note(self, rows: TickRows, *, at_once: bool) -> bool:
        """See `ChainMarket.note`."""
        if not len(rows):
            return False
        moved, clock_s = _note(
            rows.slot,
            np.ascontiguousarray(rows.words),
            rows.kind,
            rows.received_ns,
            self.moves if at_once else self._contracts.feeds,
            self._contracts.divisor,
            self._last,
            self._middle,
            self._seen_ns,
            self._time_s,
            self.clock_s,
        )
        self.clock_s = int(clock_s)
        return bool(moved)

    def refresh(self, *, now_ns: int) -> None:
        """See `ChainMarket.refresh`."""
        contracts, rules = self._contracts, self._rules
        _refresh(
            contracts.future,
            contracts.spot,
            self._pair,
            contracts.pair_call,
            contracts.pair_put,
            contracts.pair_strike,
            self._last,
            self._middle,
            self._seen_ns,
            self._time_s,
            self._expired,
            self._spot_growth,
            self.discount,
            self.outcome,
            self.source,
            self.underlying,
            self.growth,
            self.carry,
            self.clock_s,
            now_ns,
            rules.stale_s,
            rules.rate - rules.dividend_yield,
        )


@kernel
def _note(
    slots: Slots,
    words: Words,
    kinds: Kinds,
    received_ns: Nanoseconds,
    watched: NDArray[np.bool_],
    divisor: Floats,
    last: Floats,
    middle: Floats,
    seen_ns: Nanoseconds,
    time_s: NDArray[np.int64],
    clock_s: int,
) -> tuple[bool, int]:
    moved = False
    newest_ns = received_ns[0]
    for at_ns in received_ns:  # not `max()` (`ticker_shard.ticks.compiled`, lightness)
        newest_ns = max(newest_ns, at_ns)
    limit_s = newest_ns // SECOND_NS + CLOCK_AHEAD_S
    for place in range(len(slots)):
        made_s = int(words[place, _TIME])
        if clock_s < made_s <= limit_s:
            clock_s = made_s
        slot = slots[place]
        if not watched[slot]:
            continue
        moved = True
        scale = divisor[slot]
        kind = kinds[place]
        last[slot] = np.int32(words[place, _LAST]) / scale
        seen_ns[slot] = received_ns[place]
        time_s[slot] = made_s if kind in (_FULL, _INDEX_FULL) else 0
        bid, ask = float(np.int32(words[place, _BID])), float(np.int32(words[place, _ASK]))
        centre = (bid + ask) / 2
        liquid = kind == _FULL and words[place, _BID - 1] > 0 and words[place, _ASK - 1] > 0
        liquid = liquid and 0.0 < bid < ask and ask - bid <= PAIR_SPREAD_MAX * centre
        middle[slot] = centre / scale if liquid else np.nan
    return moved, clock_s


@kernel
def _is_fresh(
    slot: int, seen_ns: Nanoseconds, time_s: NDArray[np.int64], clock_s: int, now_ns: int, stale_s: float
) -> bool:
    came = abs(now_ns - seen_ns[slot]) <= stale_s * SECOND_NS
    return bool(came and (time_s[slot] == 0 or clock_s - time_s[slot] <= stale_s))


@kernel
def _refresh(
    future: Slots,
    spot: Slots,
    pair: NDArray[np.int64],
    pair_call: Slots,
    pair_put: Slots,
    pair_strike: Floats,
    last: Floats,
    middle: Floats,
    seen_ns: Nanoseconds,
    time_s: NDArray[np.int64],
    expired: NDArray[np.bool_],
    spot_growth: Floats,
    discount: Floats,
    outcome: Outcomes,
    source: NDArray[np.uint8],
    underlying: Floats,
    growth: Floats,
    carry: Floats,
    clock_s: int,
    now_ns: int,
    stale_s: float,
    spot_carry: float,
) -> None:
    for chain in range(len(future)):
        taken, price = _NONE, np.nan
        known = last[future[chain]] > 0.0 or last[spot[chain]] > 0.0
        if last[future[chain]] > 0.0 and _is_fresh(future[chain], seen_ns, time_s, clock_s, now_ns, stale_s):
            taken, price = _FUTURE, last[future[chain]]
        if taken == _NONE and pair[chain] >= 0:
            call, put = pair_call[pair[chain]], pair_put[pair[chain]]
            parity = (middle[call] - middle[put]) / discount[chain] + pair_strike[pair[chain]]
            fresh = _is_fresh(call, seen_ns, time_s, clock_s, now_ns, stale_s)
            if parity > 0.0 and fresh and _is_fresh(put, seen_ns, time_s, clock_s, now_ns, stale_s):
                taken, price = _PAIR, parity
        spot_fresh = _is_fresh(spot[chain], seen_ns, time_s, clock_s, now_ns, stale_s)
        if taken == _NONE and spot_fresh and last[spot[chain]] > 0.0:
            taken, price = _SPOT, last[spot[chain]]
        source[chain], underlying[chain] = taken, price
        growth[chain] = spot_growth[chain] if taken == _SPOT else 1.0
        carry[chain] = spot_carry if taken == _SPOT else 0.0
        if expired[chain]:
            outcome[chain] = _EXPIRED
        elif taken != _NONE:
            outcome[chain] = _PRICED
        else:
            outcome[chain] = _STALE_UNDERLYING if known else _NO_UNDERLYING
