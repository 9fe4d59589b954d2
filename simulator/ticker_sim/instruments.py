"""The day's instrument dump: which contracts exist on a day, under which symbol, token, lot and tick.

A pure function of the day. Symbols follow the exchanges' grammar (monthly ``NIFTY26NOV26000CE``, weekly
``NIFTY26D0126000CE``, the week of the monthly expiry has the monthly form), tokens the rule
``exchange_token * 256 + segment``. A contract's exchange token is drawn from its symbol, so it stays the same while
the contract lives (save for rare collisions) and is given to another contract after it, as the broker does.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from ticker_sim import contracts
from ticker_sim.contracts import Chain, Kind
from ticker_sim.trading_days import THURSDAY, TUESDAY, is_monthly, monthly_expiries, weekly_expiries

HEADER: Final = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange"
)
SEGMENT_CODES: Final[dict[str, int]] = {
    "NSE": 1,
    "NFO": 2,
    "CDS": 3,
    "BSE": 4,
    "BFO": 5,
    "BCD": 6,
    "MCX": 7,
    "INDICES": 9,
}
# Where exchange tokens of derivatives are drawn from: first, count.
TOKEN_RANGES: Final[dict[str, tuple[int, int]]] = {
    "NFO": (35_000, 65_000),
    "BFO": (820_000, 330_000),
    "CDS": (1_000, 20_000),
    "BCD": (1_160_000, 20_000),
    "MCX": (420_000, 80_000),
}
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKLY_MONTHS: Final = "123456789OND"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One row of the dump.

    Attributes
    ----------
    path
        ``EXCHANGE:SYMBOL`` of the price path it follows: its own, or its underlying's.
    """

    token: int
    exchange_token: int
    symbol: str
    name: str
    expiry: dt.date | None
    strike: Decimal
    tick: Decimal
    lot: int
    kind: Kind
    segment: str
    exchange: str
    path: str

    @property
    def key(self) -> str:
        """What the REST API calls it: ``EXCHANGE:SYMBOL``."""
        return f"{self.exchange}:{self.symbol}"

    @property
    def is_option(self) -> bool:
        """Whether it has a strike."""
        return self.kind in (Kind.CALL, Kind.PUT)


@dataclass(frozen=True, slots=True)
class Path:
    """A price that moves on its own: where it starts and how much it moves in a year."""

    key: str
    level: float
    volatility: float


def price_paths() -> tuple[Path, ...]:
    """Every price that others are derived from, in a fixed order."""
    return (
        *(Path(f"{row.exchange}:{row.symbol}", row.level, row.volatility) for row in contracts.INDICES),
        *(Path(f"NSE:{row.symbol}", row.price, row.volatility) for row in contracts.EQUITIES),
        *(Path(f"{row.exchange}:{row.name}", row.price, row.volatility) for row in contracts.OTHER_FUTURES),
    )


def build_dump(day: dt.date) -> tuple[Instrument, ...]:
    """Everything that is listed on `day`, indices and shares first, tokens distinct."""
    levels = {path.key: path.level for path in price_paths()}
    rows = [*_indices(), *_equities()]
    listed: list[_Contract] = []
    for chain in contracts.INDEX_CHAINS:
        listed += _chain_contracts(chain, day=day, level=levels[chain.underlying])
    for chain in _stock_chains(levels):
        listed += _chain_contracts(chain, day=day, level=levels[chain.underlying])
    listed += _other_contracts(day)
    rows += _with_tokens(listed)
    assert len({row.token for row in rows}) == len(rows)
    assert len({row.key for row in rows}) == len(rows)
    return tuple(rows)


def dump_csv(rows: Iterable[Instrument]) -> bytes:
    """The rows as the broker writes them: names quoted, numbers plain, last prices 0 as most are."""
    lines = [HEADER]
    for row in rows:
        expiry = row.expiry.isoformat() if row.expiry else ""
        kind = "EQ" if row.kind is Kind.INDEX else row.kind.value
        lines.append(
            f'{row.token},{row.exchange_token},{row.symbol},"{row.name}",0,{expiry},{plain(row.strike)},{plain(row.tick)},'
            f"{row.lot},{kind},{row.segment},{row.exchange}"
        )
    return ("\n".join(lines) + "\n").encode()


def plain(number: Decimal) -> str:
    """A number without exponent or superfluous zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def contract_symbol(
    name: str, *, expiry: dt.date, kind: Kind, strike: Decimal = Decimal(0), weekday: int = TUESDAY
) -> str:
    """The trading symbol of a derivative."""
    if kind is Kind.FUTURE:
        return f"{name}{expiry:%y}{_MONTHS[expiry.month - 1]}FUT"
    if is_monthly(expiry, weekday=weekday):
        when = f"{expiry:%y}{_MONTHS[expiry.month - 1]}"
    else:
        when = f"{expiry:%y}{_WEEKLY_MONTHS[expiry.month - 1]}{expiry:%d}"
    return f"{name}{when}{plain(strike)}{kind.value}"


@dataclass(frozen=True, slots=True)
class _Contract:
    """A row that has no token yet."""

    symbol: str
    name: str
    expiry: dt.date
    strike: Decimal
    tick: Decimal
    lot: int
    kind: Kind
    exchange: str
    path: str


def _indices() -> Iterator[Instrument]:
    for row in contracts.INDICES:
        key = f"{row.exchange}:{row.symbol}"
        yield Instrument(
            token=row.exchange_token * 256 + SEGMENT_CODES["INDICES"],
            exchange_token=row.exchange_token,
            symbol=row.symbol,
            name=row.symbol,
            expiry=None,
            strike=Decimal(0),
            tick=Decimal(0),
            lot=0,
            kind=Kind.INDEX,
            segment="INDICES",
            exchange=row.exchange,
            path=key,
        )


def _equities() -> Iterator[Instrument]:
    for exchange in ("NSE", "BSE"):
        for row in contracts.EQUITIES:
            number = row.exchange_token if exchange == "NSE" else row.bse_token
            if number is None:
                continue
            tick = contracts.cash_tick(row.price) if exchange == "NSE" else Decimal("0.05")
            yield Instrument(
                token=number * 256 + SEGMENT_CODES[exchange],
                exchange_token=number,
                symbol=row.symbol,
                name=row.name,
                expiry=None,
                strike=Decimal(0),
                tick=tick,
                lot=1,
                kind=Kind.EQUITY,
                segment=exchange,
                exchange=exchange,
                path=f"NSE:{row.symbol}",
            )


def _stock_chains(levels: dict[str, float]) -> Iterator[Chain]:
    for symbol, (lot, step) in contracts.STOCK_CHAINS.items():
        level = levels[f"NSE:{symbol}"]
        yield Chain(
            name=symbol,
            underlying=f"NSE:{symbol}",
            exchange="NFO",
            weekday=TUESDAY,
            lot=lot,
            future_tick=contracts.cash_tick(level),
            option_tick=Decimal("0.01") if level < contracts.LOW_PRICE else contracts.CENTS_5,
            strike_step=Decimal(step),
            strikes_each_side=contracts.STOCK_STRIKES_EACH_SIDE,
            far_step=Decimal(step),
            monthly=contracts.STOCK_OPTION_MONTHS,
        )


def _chain_contracts(chain: Chain, *, day: dt.date, level: float) -> list[_Contract]:
    serial = monthly_expiries(day, weekday=chain.weekday, count=max(chain.monthly, 3))
    near = {*weekly_expiries(day, weekday=chain.weekday, count=chain.weekly), *serial[: chain.monthly]}
    far = _far_expiries(chain, after=serial[-1])
    contracts_: list[_Contract] = []

    def add(expiry: dt.date, kind: Kind, strike: Decimal, tick: Decimal) -> None:
        symbol = contract_symbol(chain.name, expiry=expiry, kind=kind, strike=strike, weekday=chain.weekday)
        contracts_.append(
            _Contract(symbol, chain.name, expiry, strike, tick, chain.lot, kind, chain.exchange, chain.underlying)
        )

    for expiry in serial:
        add(expiry, Kind.FUTURE, Decimal(0), chain.future_tick)
    for expiries, step in ((sorted(near), chain.strike_step), (far, chain.far_step)):
        each_side = chain.strikes_each_side if step == chain.strike_step else 12
        middle = round(Decimal(str(level)) / step)
        for expiry in expiries:
            for number in range(max(middle - each_side, 1), middle + each_side + 1):
                for kind in (Kind.CALL, Kind.PUT):
                    add(expiry, kind, number * step, chain.option_tick)
    return contracts_


def _far_expiries(chain: Chain, *, after: dt.date) -> list[dt.date]:
    start = after + dt.timedelta(days=1)
    quarterly = monthly_expiries(start, weekday=chain.weekday, count=chain.quarterly, months=frozenset({3, 6, 9, 12}))
    if quarterly:
        start = quarterly[-1] + dt.timedelta(days=1)
    half_yearly = monthly_expiries(start, weekday=chain.weekday, count=chain.half_yearly, months=frozenset({6, 12}))
    return quarterly + half_yearly


def _other_contracts(day: dt.date) -> Iterator[_Contract]:
    for row in contracts.OTHER_FUTURES:
        for expiry in monthly_expiries(day, weekday=THURSDAY, count=2):
            symbol = contract_symbol(row.name, expiry=expiry, kind=Kind.FUTURE)
            path = f"{row.exchange}:{row.name}"
            yield _Contract(symbol, row.name, expiry, Decimal(0), row.tick, row.lot, Kind.FUTURE, row.exchange, path)


def _with_tokens(listed: Sequence[_Contract]) -> Iterator[Instrument]:
    taken: set[tuple[str, int]] = set()
    numbers: dict[tuple[str, str], int] = {}
    for row in sorted(listed, key=lambda row: (row.exchange, row.symbol)):
        first, count = TOKEN_RANGES[row.exchange]
        offset = zlib.crc32(f"{row.exchange}:{row.symbol}".encode()) % count
        while (row.exchange, first + offset) in taken:
            offset = (offset + 1) % count
        taken.add((row.exchange, first + offset))
        numbers[row.exchange, row.symbol] = first + offset
    for row in listed:
        number = numbers[row.exchange, row.symbol]
        suffix = "FUT" if row.kind is Kind.FUTURE else "OPT"
        yield Instrument(
            token=number * 256 + SEGMENT_CODES[row.exchange],
            exchange_token=number,
            symbol=row.symbol,
            name=row.name,
            expiry=row.expiry,
            strike=row.strike,
            tick=row.tick,
            lot=row.lot,
            kind=row.kind,
            segment=f"{row.exchange}-{suffix}",
            exchange=row.exchange,
            path=row.path,
        )
