"""Implied volatility and Greeks of every option that is asked for, as its rows come in and as its underlying moves.

::

    rows ─► price ─► rows with greeks, outcome, priced_ns ─► state ─► publisher
    clock ─► reprice ─► slots whose row in the state has new greeks ─► publisher, as repetitions

The model is Black-76 on the chain's forward F = g·U (`underlying` says which U, and its growth g), with the option's
last price; who computes it is handed in (`pricing`). Published are delta and gamma of U, theta of a calendar day at an
unchanged U, vega of a percentage point.

An option without an answer says why (`PricingOutcome`); the first reason that applies, in this order:
``NO_CONTRACT``, ``EXPIRED``, ``NO_UNDERLYING`` or ``STALE_UNDERLYING``, ``NO_PRICE``, then what the solution says.
Every pricing is counted by outcome in `GreeksCalculator.outcomes`.

Repricing invents no trade: the words stay as they are, and ``priced_ns`` says when. What is priced again is exactly
what was last priced on another price of its underlying, the longest waiting first, `REPRICE_ROWS_MAX` a turn at most.
It rests first: an option that ticks itself is priced then, and most do before their rest is over.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.contracts import Contracts, Floats, read_contracts
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.pricing import BlockPricer, RowColumns, chain_columns, contract_columns
from ticker_shard.ticks.rows import PricingOutcome, Slots, TickRows
from ticker_shard.ticks.state import InstrumentState, no_instruments
from ticker_shard.ticks.underlying import ChainMarket, PricingRules, Source

REPRICE_ROWS_MAX: Final = 256  # a millisecond or less of the loop, and little more than one call's rows

MICROSECOND_NS: Final = 1_000  # the wire's resolution
_NO_SLOTS: Final = np.empty(0, np.int32)


class GreeksCalculator:
    """Prices the options of one account.

    Parameters
    ----------
    state
        The newest rows; read when a second has passed and when something is priced again, which also writes it.
    pricer
        Computes a block: `greeks_native.price_block`, or `greeks_arrays.array_pricer` with a solver.
    market
        Watches underlyings: `ChainMarket`, or `underlying_native.NativeChainMarket`.
    rules
        Rate, dividends, staleness.
    rest_ns
        What was priced less than so long ago is not priced again yet. A row may be behind its underlying for so long,
        and until the next turn.

    Attributes
    ----------
    outcomes
        (len(PricingOutcome),) int64: rows of asked options by what became of them, repricings included.
    repriced
        Rows that were priced again because their underlying moved, and changed.
    """

    def __init__(
        self,
        *,
        state: InstrumentState,
        pricer: BlockPricer,
        market: type[ChainMarket] = ChainMarket,
        rules: PricingRules | None = None,
        rest_ns: int = 0,
    ) -> None:
        self._state, self._pricer, self._rules = state, pricer, rules or PricingRules()
        self._rest_ns = rest_ns
        self._make_market = market
        self.outcomes: NDArray[np.int64] = np.zeros(len(PricingOutcome), np.int64)
        self.repriced = 0
        self._identities: tuple[tuple[str, str, str] | None, ...] = ()
        self._contracts = read_contracts(no_instruments())
        self._market = market(self._contracts, self._rules)
        self._options = contract_columns(self._contracts, warm=np.empty(0), priced_on=np.empty(0))
        self.configure(state.table)

    @property
    def market(self) -> ChainMarket:
        """What the chains' underlyings are worth; for whoever shows or tests it."""
        return self._market

    @property
    def contracts(self) -> Contracts:
        """The table in force, as pricing sees it."""
        return self._contracts

    def counts(self) -> dict[str, int]:
        """`outcomes` by name, those that never happened left out."""
        return {outcome.name.lower(): int(count) for outcome in PricingOutcome if (count := self.outcomes[outcome])}

    def configure(self, table: InstrumentTable) -> None:
        """Go over to `table`, after the state did; what was known of underlyings is read from the state again."""
        identities = tuple(row.identity if row is not None else None for row in table.instruments)
        stays = [slot for slot, (old, new) in enumerate(zip(self._identities, identities, strict=False)) if old == new]
        self._identities = identities
        # What stays starts from its last volatility, and is not priced again on the price that it was priced on.
        warm = _carried(self._options.warm, stays, table.capacity)
        priced_on = _carried(self._options.priced_on, stays, table.capacity)
        clock_s = self._market.clock_s
        self._contracts = read_contracts(table)
        self._market = self._make_market(self._contracts, self._rules, clock_s=clock_s)
        self._options = contract_columns(self._contracts, warm=warm, priced_on=priced_on)
        self._chains = chain_columns(self._market)
        self._any = bool(self._contracts.asked.any())
        self._market.note(self._state.newest(np.flatnonzero(self._market.moves).astype(np.int32)), at_once=True)

    def price(self, rows: TickRows, *, now_ns: int) -> TickRows:
        """Fill in greeks, outcome and priced_ns of a block that is about to enter the state.

        Parameters
        ----------
        rows
            Accepted rows of known slots, each slot at most once; written to.
        now_ns
            Wall clock nanoseconds.
        """
        if not self._any:
            return rows
        moved = self._market.note(rows, at_once=True)
        if self._market.renewal_due(now_ns=now_ns):
            self._renew(now_ns=now_ns)
        elif moved:
            self._market.refresh(now_ns=now_ns)
        self._fill(rows, now_ns=now_ns)
        return rows

    def reprice(self, *, now_ns: int) -> Slots:
        """Price again what was last priced on another price of its underlying; the slots whose row has changed.

        The state's rows have the new greeks when this returns. A full answer (`REPRICE_ROWS_MAX`) may mean that
        more is waiting, also when fewer of them have changed: ask `repricing_due`.

        Parameters
        ----------
        now_ns
            Wall clock nanoseconds.
        """
        if not self._any:
            return _NO_SLOTS
        if self._market.renewal_due(now_ns=now_ns):
            self._renew(now_ns=now_ns)
        waiting = self._waiting(now_ns=now_ns)
        if len(waiting) > REPRICE_ROWS_MAX:
            oldest = np.argpartition(self._options.turn_ns[waiting], REPRICE_ROWS_MAX)[:REPRICE_ROWS_MAX]
            waiting = waiting[oldest]
        if not len(waiting):
            return _NO_SLOTS
        rows = self._state.newest(waiting)
        before, said_ns = rows.outcome.copy(), np.maximum(rows.priced_ns, rows.received_ns)
        self._fill(rows, now_ns=now_ns)
        # Without an answer before and for the same reason now: there is nothing to tell.
        tells = (rows.outcome == PricingOutcome.PRICED) | (rows.outcome != before)
        changed = rows.take(tells)
        # Always later than what was said before, however coarse the clock and though it was set back: so a repriced row
        # can be told from a tick, and from an older one.
        priced_ns = np.maximum(changed.priced_ns, said_ns[tells] + MICROSECOND_NS)
        self._state.enrich(changed.slot, greeks=changed.greeks, outcome=changed.outcome, priced_ns=priced_ns)
        self.repriced += len(changed)
        return changed.slot

    def repricing_due(self, *, now_ns: int) -> int:
        """How many options are to be priced again now, as far as is known without renewing anything."""
        return len(self._waiting(now_ns=now_ns)) if self._any else 0

    # -- private

    def _waiting(self, *, now_ns: int) -> Slots:
        market, contracts = self._market, self._contracts
        chain = contracts.chain
        waits = contracts.asked & self._state.has_row & (market.outcome[chain] == PricingOutcome.PRICED)
        waits &= self._options.priced_on != market.underlying[chain]
        turn_ns = self._options.turn_ns
        waits &= (turn_ns <= now_ns - self._rest_ns) | (turn_ns > now_ns)  # later than now: the clock was set back
        return np.flatnonzero(waits).astype(np.int32)

    def _renew(self, *, now_ns: int) -> None:
        """Once a second: underlyings and the legs that may be needed are read from the state, then all is renewed."""
        market, contracts = self._market, self._contracts
        needed = market.source[contracts.pair_chain] != Source.FUTURE
        legs = np.concatenate([contracts.pair_call[needed], contracts.pair_put[needed]])
        if len(legs):
            market.note(self._state.newest(legs), at_once=False)
        market.renew(now_ns=now_ns)

    def _fill(self, rows: TickRows, *, now_ns: int) -> None:
        columns = RowColumns(rows.slot, np.ascontiguousarray(rows.words), rows.greeks, rows.outcome, rows.priced_ns)
        self._pricer(columns, self._options, self._chains, self._rules.rate, now_ns, self.outcomes)


def _carried(column: Floats, stays: list[int], capacity: int) -> Floats:
    """`column` for another table: what stays keeps its value, the rest has none."""
    carried = np.full(capacity, np.nan)
    carried[stays] = column[stays]
    return carried
