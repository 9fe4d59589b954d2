"""Implied volatility and Greeks of every option that is asked for, as its rows come in and as its underlying moves.

::

    rows ─► price ─► rows with greeks, outcome, priced_ns ─► state ─► publisher
    clock ─► reprice ─► slots whose row in the state has new greeks ─► publisher, as repetitions

The model is Black-76 on the chain's forward (`underlying` says which), with the option's last price; the solver is
handed in. Delta and gamma are those of the *published* underlying price U, theta is a calendar day's at an unchanged U,
vega a percentage point's. Where the forward is made from a spot (F = g·U, g = growth) the chain rule carries them over:
delta is multiplied by g, gamma by g², and theta by F alone loses delta·F·ln g / T a year, because the forward of a spot
that stands still comes down to it.

An option without an answer says why (`PricingOutcome`); the first reason that applies, in this order:
``NO_CONTRACT``, ``EXPIRED``, ``NO_UNDERLYING`` or ``STALE_UNDERLYING``, ``NO_PRICE``, then what the solver says. Every
pricing is counted by outcome in `GreeksCalculator.outcomes`.

Repricing invents no trade: the words stay as they are, and ``priced_ns`` says when. What is priced again is exactly
what was last priced on another price of its underlying, the longest waiting first, `REPRICE_ROWS_MAX` a turn at most.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.contracts import Contracts, Floats, read_contracts
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import GREEKS, Greek, Greeks, Outcomes, PricingOutcome, Slots, TickRows, Word, Words
from ticker_shard.ticks.state import InstrumentState, no_instruments
from ticker_shard.ticks.underlying import ChainMarket, PricingRules, Source

REPRICE_ROWS_MAX: Final = 256  # a millisecond or less of the loop, and little more than one call's rows

DAYS_PER_YEAR: Final = 365.0
MICROSECOND_NS: Final = 1_000  # the wire's resolution
_NO_SLOTS: Final = np.empty(0, np.int32)


class Options(NamedTuple):
    """What the solver is asked: one entry an option, all (n,) and float64 but for `call`."""

    call: NDArray[np.bool_]
    price: Floats  # rupees
    forward: Floats
    strike: Floats
    log_strike: Floats
    years: Floats
    root_years: Floats
    discount: Floats
    warm: Floats  # the last implied volatility, NaN without one


class Solution(NamedTuple):
    """What it answers; Greeks of the forward, theta a year at an unchanged forward, vega a unit of volatility."""

    outcome: Outcomes
    iv: Floats
    delta: Floats
    gamma: Floats
    theta: Floats
    vega: Floats


class Solver(Protocol):
    """Black-76, inverted."""

    def __call__(self, options: Options) -> Solution:
        """Implied volatility and Greeks, or why there are none."""
        ...


class GreeksCalculator:
    """Prices the options of one account.

    Parameters
    ----------
    state
        The newest rows; read when a second has passed and when something is priced again, which also writes it.
    solver
        Inverts the model.
    rules
        Rate, dividends, staleness.

    Attributes
    ----------
    outcomes
        (len(PricingOutcome),) int64: rows of asked options by what became of them, repricings included.
    repriced
        Rows that were priced again because their underlying moved, and changed.
    """

    def __init__(self, *, state: InstrumentState, solver: Solver, rules: PricingRules | None = None) -> None:
        self._state, self._solver, self._rules = state, solver, rules or PricingRules()
        self.outcomes: NDArray[np.int64] = np.zeros(len(PricingOutcome), np.int64)
        self.repriced = 0
        self._identities: tuple[tuple[str, str, str] | None, ...] = ()
        self._warm: Floats = np.empty(0)
        self._priced_on: Floats = np.empty(0)
        self._contracts = read_contracts(no_instruments())
        self._market = ChainMarket(self._contracts, self._rules)
        self.configure(state.table)

    @property
    def market(self) -> ChainMarket:
        """What the chains' underlyings are worth; for whoever shows or tests it."""
        return self._market

    @property
    def contracts(self) -> Contracts:
        """The table in force, as pricing sees it."""
        return self._contracts

    def configure(self, table: InstrumentTable) -> None:
        """Go over to `table`, after the state did; what was known of underlyings is read from the state again."""
        identities = tuple(row.identity if row is not None else None for row in table.instruments)
        stays = [slot for slot, (old, new) in enumerate(zip(self._identities, identities, strict=False)) if old == new]
        self._identities = identities
        self._warm = _carried(self._warm, stays, table.capacity)
        # The underlying's price that each option was priced on last. NaN differs from every price.
        self._priced_on = _carried(self._priced_on, stays, table.capacity)
        self._turn_ns = np.zeros(table.capacity, np.int64)  # when it was priced or looked at last
        clock_s = self._market.clock_s
        self._contracts = read_contracts(table)
        self._market = ChainMarket(self._contracts, self._rules, clock_s=clock_s)
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
        places = np.flatnonzero(self._contracts.asked[rows.slot])
        if not len(places):
            return rows
        slots = rows.slot[places]
        greeks, outcome = self._solve(slots, rows.words[places], now_ns=now_ns)
        rows.greeks[places], rows.outcome[places], rows.priced_ns[places] = greeks, outcome, now_ns
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
        waiting = self._waiting()
        if len(waiting) > REPRICE_ROWS_MAX:
            oldest = np.argpartition(self._turn_ns[waiting], REPRICE_ROWS_MAX)[:REPRICE_ROWS_MAX]
            waiting = waiting[oldest]
        if not len(waiting):
            return _NO_SLOTS
        rows = self._state.newest(waiting)
        greeks, outcome = self._solve(rows.slot, rows.words, now_ns=now_ns)
        # Without an answer before and for the same reason now: there is nothing to tell.
        changed = (outcome == PricingOutcome.PRICED) | (outcome != rows.outcome)
        slots: Slots = rows.slot[changed]
        # Never equal to the time of receipt, however coarse the clock: a repriced row can be told from a tick.
        priced_ns = np.maximum(now_ns, rows.received_ns[changed] + MICROSECOND_NS)
        self._state.enrich(slots, greeks=greeks[changed], outcome=outcome[changed], priced_ns=priced_ns)
        self.repriced += len(slots)
        return slots

    @property
    def repricing_due(self) -> int:
        """How many options wait to be priced again, as far as is known without renewing anything."""
        return len(self._waiting()) if self._any else 0

    # -- private

    def _waiting(self) -> Slots:
        market, contracts = self._market, self._contracts
        chain = contracts.chain
        waits = contracts.asked & self._state.has_row & (market.outcome[chain] == PricingOutcome.PRICED)
        waits &= self._priced_on != market.underlying[chain]
        return np.flatnonzero(waits).astype(np.int32)

    def _renew(self, *, now_ns: int) -> None:
        """Once a second: underlyings and the legs that may be needed are read from the state, then all is renewed."""
        market, contracts = self._market, self._contracts
        needed = market.source[contracts.pair_chain] != Source.FUTURE
        legs = np.concatenate([contracts.pair_call[needed], contracts.pair_put[needed]])
        if len(legs):
            market.note(self._state.newest(legs), at_once=False)
        market.renew(now_ns=now_ns)

    def _solve(self, slots: Slots, words: Words, *, now_ns: int) -> tuple[Greeks, Outcomes]:
        """Greeks and outcome of options at the last prices in their words."""
        market, contracts = self._market, self._contracts
        chain = contracts.chain[slots]
        price = words[:, Word.LAST_PRICE].view(np.int32) / contracts.divisor[slots]
        outcome = market.outcome[chain]
        outcome[(outcome == PricingOutcome.PRICED) & ~(price > 0)] = PricingOutcome.NO_PRICE
        greeks = np.full((len(slots), GREEKS), np.nan)
        greeks[:, Greek.UNDERLYING_PRICE] = market.underlying[chain]
        todo = np.flatnonzero(outcome == PricingOutcome.PRICED)
        if len(todo):
            outcome[todo] = self._solve_priceable(slots[todo], chain[todo], price[todo], greeks, todo)
        self._priced_on[slots] = market.underlying[chain]
        self._turn_ns[slots] = now_ns
        self.outcomes += np.bincount(outcome, minlength=len(self.outcomes))
        return greeks, outcome

    def _solve_priceable(
        self, slots: Slots, chain: NDArray[np.int32], price: Floats, greeks: Greeks, into: NDArray[np.intp]
    ) -> Outcomes:
        market, contracts = self._market, self._contracts
        years, growth = market.years[chain], market.growth[chain]
        options = Options(
            call=contracts.call[slots],
            price=price,
            forward=market.forward[chain],
            strike=contracts.strike[slots],
            log_strike=contracts.log_strike[slots],
            years=years,
            root_years=market.root_years[chain],
            discount=market.discount[chain],
            warm=self._warm[slots],
        )
        found = self._solver(options)
        good = found.outcome == PricingOutcome.PRICED
        self._warm[slots[good]] = found.iv[good]
        drift = found.delta * options.forward * (np.log(growth) / years)
        columns = (
            (Greek.IV, found.iv),
            (Greek.DELTA, found.delta * growth),
            (Greek.GAMMA, found.gamma * growth**2),
            (Greek.THETA, (found.theta - drift) / DAYS_PER_YEAR),
            (Greek.VEGA, found.vega / 100.0),
        )
        for greek, column in columns:
            greeks[into, greek] = np.where(good, column, np.nan)
        return found.outcome


def _carried(column: Floats, stays: list[int], capacity: int) -> Floats:
    """`column` for another table: what stays keeps its value, the rest has none."""
    carried = np.full(capacity, np.nan)
    carried[stays] = column[stays]
    return carried
