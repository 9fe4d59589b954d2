"""What each chain's underlying is worth now, and how long the chain has to go.

Which price is taken, the first that is known, above zero and fresh:

1. the future that the expiry settles like (`contracts`), its last price: U = F, growth 1;
2. a synthetic forward from one strike's call and put: U = F = K + (C − P)·e^{rT}, growth 1. C and P are the middle of
   bid and ask. Of the strikes whose two legs are *liquid* (both sides of the book there and not crossed, spread at
   most `PAIR_SPREAD_MAX` of the middle, fresh) the one where call and put are closest, if it is *near the money*
   (|C − P| at most `PAIR_MONEYNESS_MAX` of the strike);
3. the spot: U = S, F = S·e^{(r−q)T}, growth e^{(r−q)T}.

*Fresh* means: its packet came at most ``stale_s`` ago, and its exchange time is at most ``stale_s`` behind the newest
of the market. By the second half yesterday's cached packet is stale at the opening although it came a moment ago. The
reason for a chain without a price is ``NO_UNDERLYING`` (nothing known) or ``STALE_UNDERLYING`` (known, not fresh).

Time to expiry is measured from the *market's clock*, the newest exchange time seen (to the second), not from this
host's: that is when the prices were made, and it is right for a recorded or simulated day too. Exchange times more
than `CLOCK_AHEAD_S` ahead of this host are not believed; before any time is known, this host's clock serves.
Years are T = seconds / (365 · 86,400), never less than `LAST_MINUTE_S`; at the instant of expiry the chain is
``EXPIRED``. T, √T, the discount factor and the pair are renewed once a second; U and growth whenever a row moves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.contracts import Contracts, Floats
from ticker_shard.ticks.rows import UNKNOWN_SLOT, Outcomes, PacketKind, PricingOutcome, Slots, TickRows, Word
from ticker_shard.ticks.state import HAS_TIME

YEAR_S: Final = 365 * 86_400
LAST_MINUTE_S: Final = 60
CLOCK_AHEAD_S: Final = 300
PAIR_SPREAD_MAX: Final = 0.05
PAIR_MONEYNESS_MAX: Final = 0.02
SECOND_NS: Final = 1_000_000_000

_BID, _ASK = int(Word.DEPTH) + 1, int(Word.DEPTH) + 16  # price words of the best bid and the best ask
_BID_QUANTITY, _ASK_QUANTITY = _BID - 1, _ASK - 1


@dataclass(frozen=True, slots=True)
class PricingRules:
    """What pricing depends on; the shard's settings, validated there.

    Attributes
    ----------
    rate
        Interest, continuously compounded, a year, as a fraction.
    dividend_yield
        The same of dividends; used for forwards made from a spot only (a future has them in its price).
    stale_s
        How old an underlying's price may be.
    """

    rate: float = 0.065
    dividend_yield: float = 0.0
    stale_s: float = 15.0


class Source(IntEnum):
    """Where a chain's underlying price comes from."""

    NONE = 0
    FUTURE = 1
    PAIR = 2
    SPOT = 3


class ChainMarket:
    """Prices of underlyings and times to expiry, by chain.

    Every array has one entry more than there are chains: the last one stands for "no contract", so that `NO_CHAIN`
    may be used as an index.

    Parameters
    ----------
    contracts
        Of the table in force.
    rules
        Rate, dividends, staleness.
    clock_s
        Of the market before this one.

    Attributes
    ----------
    outcome
        (chains + 1,) `PricingOutcome`: ``PRICED`` where an option of the chain can be priced, else why not.
    source
        (chains + 1,) `Source`.
    underlying
        (chains + 1,) float64, rupees; NaN where there is none.
    growth, carry
        (chains + 1,) float64, F/U, and its logarithm a year: 1 and 0 but for a spot.
    years, root_years, discount
        (chains + 1,) float64: T, √T, e^{−rT}.
    moves
        (capacity,) bool: a row of this slot moves a chain's underlying at once.
    clock_s
        The market's clock, epoch seconds; 0 before any exchange time is known.
    """

    def __init__(self, contracts: Contracts, rules: PricingRules, *, clock_s: int = 0) -> None:
        size, capacity = contracts.chains + 1, len(contracts.asked)
        self._contracts, self._rules = contracts, rules
        self.outcome: Outcomes = np.full(size, PricingOutcome.NO_UNDERLYING, np.uint8)
        self.outcome[-1] = PricingOutcome.NO_CONTRACT
        self.source: NDArray[np.uint8] = np.zeros(size, np.uint8)
        self.underlying: Floats = np.full(size, np.nan)
        self.growth: Floats = np.ones(size)
        self.carry: Floats = np.zeros(size)
        self.years: Floats = np.ones(size)
        self.root_years: Floats = np.ones(size)
        self.discount: Floats = np.ones(size)
        self.moves: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.clock_s = clock_s
        self._expired: NDArray[np.bool_] = np.zeros(contracts.chains, np.bool_)
        self._spot_growth: Floats = np.ones(contracts.chains)
        self._renewed: tuple[int, int] | None = None  # seconds of the two clocks
        self._pair: NDArray[np.int64] = np.full(contracts.chains, -1, np.int64)  # place in the pairs' columns
        # One quote a slot; slot -1 (`UNKNOWN_SLOT`) falls on the last entry, which is never known.
        self._last: Floats = np.full(capacity + 1, np.nan)
        self._middle: Floats = np.full(capacity + 1, np.nan)
        self._seen_ns: NDArray[np.int64] = np.zeros(capacity + 1, np.int64)
        self._time_s: NDArray[np.int64] = np.zeros(capacity + 1, np.int64)
        for slots in (contracts.future, contracts.spot):
            self.moves[slots[slots != UNKNOWN_SLOT]] = True

    def note(self, rows: TickRows, *, at_once: bool) -> bool:
        """Take in the rows that say something about an underlying; whether any moved one.

        Parameters
        ----------
        rows
            Rows with known slots, each slot at most once.
        at_once
            Only rows that move a chain now; otherwise the legs of all pairs too.
        """
        self._advance(rows)
        watched = self.moves if at_once else self._contracts.feeds
        places = np.flatnonzero(watched[rows.slot])
        if not len(places):
            return False
        slot, words, kind = rows.slot[places], rows.words[places], rows.kind[places]
        divisor = self._contracts.divisor[slot]
        self._last[slot] = words[:, Word.LAST_PRICE].view(np.int32) / divisor
        self._middle[slot] = _middles(words, kind) / divisor
        self._seen_ns[slot] = rows.received_ns[places]
        self._time_s[slot] = np.where(HAS_TIME[kind], words[:, Word.EXCHANGE_TIMESTAMP], 0)
        return True

    def _advance(self, rows: TickRows) -> None:
        times = rows.words[:, Word.EXCHANGE_TIMESTAMP]  # zero where the packet has none
        latest = int(times.max(initial=0))
        if latest <= self.clock_s:
            return
        limit_s = int(rows.received_ns.max()) // SECOND_NS + CLOCK_AHEAD_S
        if latest > limit_s:
            latest = int(times[times <= limit_s].max(initial=0))
        self.clock_s = max(self.clock_s, latest)

    def renewal_due(self, *, now_ns: int) -> bool:
        """Whether a second has passed on either clock since `renew`."""
        return self._renewed != (self.clock_s, now_ns // SECOND_NS)

    def renew(self, *, now_ns: int) -> None:
        """What changes with the second: T and what follows from it, the pairs, and then all prices."""
        contracts, rules = self._contracts, self._rules
        self._renewed = (self.clock_s, now_ns // SECOND_NS)
        left_s = contracts.expiry_s - (self.clock_s or now_ns // SECOND_NS)
        years = np.maximum(left_s, LAST_MINUTE_S) / YEAR_S
        self._expired = left_s <= 0
        self.years[:-1] = years
        np.sqrt(self.years, out=self.root_years)
        self.discount[:-1] = np.exp(-rules.rate * years)
        self._spot_growth = np.exp((rules.rate - rules.dividend_yield) * years)
        self._choose_pairs(now_ns=now_ns)
        self.refresh(now_ns=now_ns)

    def _choose_pairs(self, *, now_ns: int) -> None:
        contracts = self._contracts
        self._pair[:] = -1
        if not len(contracts.pair_chain):
            return
        call, put, strike = contracts.pair_call, contracts.pair_put, contracts.pair_strike
        gap = np.abs(self._middle[call] - self._middle[put])
        near = self._fresh(call, now_ns=now_ns) & self._fresh(put, now_ns=now_ns) & (gap <= PAIR_MONEYNESS_MAX * strike)
        places = np.flatnonzero(near)
        best = places[np.lexsort((gap[places], contracts.pair_chain[places]))]
        chains, first = np.unique(contracts.pair_chain[best], return_index=True)
        self._pair[chains] = best[first]
        self.moves[:] = False
        for slots in (contracts.future, contracts.spot, call[best[first]], put[best[first]]):
            self.moves[slots[slots != UNKNOWN_SLOT]] = True

    def refresh(self, *, now_ns: int) -> None:
        """Choose each chain's price anew; see the module."""
        contracts = self._contracts
        future, spot, pair = contracts.future, contracts.spot, self._pair
        source, underlying = self.source[:-1], self.underlying[:-1]
        source[:] = Source.NONE
        underlying[:] = np.nan
        known = (self._last[future] > 0) | (self._last[spot] > 0)
        # The weakest first, so that each stronger one replaces it.
        self._take(Source.SPOT, self._last[spot], self._fresh(spot, now_ns=now_ns))
        if len(contracts.pair_chain):
            call, put = contracts.pair_call[pair], contracts.pair_put[pair]
            parity = (self._middle[call] - self._middle[put]) / self.discount[:-1] + contracts.pair_strike[pair]
            fresh = (pair >= 0) & self._fresh(call, now_ns=now_ns) & self._fresh(put, now_ns=now_ns)
            self._take(Source.PAIR, parity, fresh)
        self._take(Source.FUTURE, self._last[future], self._fresh(future, now_ns=now_ns))
        on_spot = source == Source.SPOT
        self.growth[:-1] = np.where(on_spot, self._spot_growth, 1.0)
        self.carry[:-1] = np.where(on_spot, self._rules.rate - self._rules.dividend_yield, 0.0)
        outcome = np.where(known, PricingOutcome.STALE_UNDERLYING, PricingOutcome.NO_UNDERLYING)
        outcome[source != Source.NONE] = PricingOutcome.PRICED
        outcome[self._expired] = PricingOutcome.EXPIRED
        self.outcome[:-1] = outcome

    def _take(self, source: Source, price: Floats, fresh: NDArray[np.bool_]) -> None:
        good = fresh & (price > 0)
        self.source[:-1][good] = source
        self.underlying[:-1][good] = price[good]

    def _fresh(self, slots: Slots, *, now_ns: int) -> NDArray[np.bool_]:
        stale_s, time_s = self._rules.stale_s, self._time_s[slots]
        came = np.abs(now_ns - self._seen_ns[slots]) <= stale_s * SECOND_NS  # either way: a clock may be set back
        made: NDArray[np.bool_] = came & ((time_s == 0) | (self.clock_s - time_s <= stale_s))
        return made


def _middles(words: NDArray[np.uint32], kind: NDArray[np.uint8]) -> Floats:
    """The middle of bid and ask in scaled prices, NaN where the book is not liquid (or not in the packet)."""
    bid, ask = words[:, _BID].view(np.int32).astype(np.float64), words[:, _ASK].view(np.int32).astype(np.float64)
    middle = (bid + ask) / 2
    liquid = (kind == PacketKind.FULL) & (words[:, _BID_QUANTITY] > 0) & (words[:, _ASK_QUANTITY] > 0)
    liquid &= (bid > 0) & (bid < ask) & (ask - bid <= PAIR_SPREAD_MAX * middle)
    return np.where(liquid, middle, np.nan)
