"""What is listed: underlyings with their levels, lots, ticks and chains, as plain data.

Levels are round figures of late 2026 and do not depend on the seed, so a symbol that exists for a day exists for that
day under every seed. Lots and ticks are those of the exchanges' circulars in force in 2026. Exchange tokens of
indices and shares are the real ones as far as they are well known; contracts get theirs in `ticker_sim.instruments`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final

from ticker_sim.trading_days import THURSDAY, TUESDAY


class Kind(Enum):
    """What a row of the dump is."""

    INDEX = "INDEX"
    EQUITY = "EQ"
    FUTURE = "FUT"
    CALL = "CE"
    PUT = "PE"


@dataclass(frozen=True, slots=True)
class Index:
    """An index: not tradable, tick and lot 0 in the dump."""

    exchange: str
    symbol: str
    exchange_token: int
    level: float
    volatility: float = 0.13


@dataclass(frozen=True, slots=True)
class Equity:
    """A share; `bse_token` where it is listed on BSE too."""

    symbol: str
    name: str
    exchange_token: int
    price: float
    volatility: float = 0.25
    bse_token: int | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """Futures and options on one underlying.

    Attributes
    ----------
    name
        The derivatives' name and symbol prefix.
    underlying
        ``EXCHANGE:SYMBOL`` of the row whose price path they follow.
    weekly
        Number of consecutive weekly expiries (the monthly ones among them included); 0 = monthly only.
    monthly
        Number of serial months.
    quarterly, half_yearly
        Long-dated expiries after those, every third month and then June and December.
    strike_step, strikes_each_side
        Near expiries; long-dated ones use `far_step`.
    """

    name: str
    underlying: str
    exchange: str
    weekday: int
    lot: int
    future_tick: Decimal
    option_tick: Decimal
    strike_step: Decimal
    strikes_each_side: int
    far_step: Decimal
    weekly: int = 0
    monthly: int = 3
    quarterly: int = 0
    half_yearly: int = 0


INDICES: Final = (
    Index("NSE", "NIFTY 50", 1001, 26_200.0),
    Index("NSE", "NIFTY BANK", 1016, 59_000.0, 0.15),
    Index("NSE", "NIFTY FIN SERVICE", 1007, 27_700.0, 0.14),
    Index("NSE", "NIFTY MID SELECT", 1126, 13_900.0, 0.17),
    Index("NSE", "NIFTY NEXT 50", 1003, 70_000.0, 0.16),
    Index("NSE", "INDIA VIX", 1037, 13.4, 0.9),
    Index("NSE", "NIFTY IT", 1009, 37_200.0, 0.2),
    Index("NSE", "NIFTY 500", 1004, 23_900.0, 0.13),
    Index("BSE", "SENSEX", 1, 85_200.0),
    Index("BSE", "BANKEX", 12, 66_000.0, 0.15),
)
_known = {"NIFTY 50": 256_265, "NIFTY BANK": 260_105, "NIFTY FIN SERVICE": 257_801, "SENSEX": 265}
assert {row.symbol: row.exchange_token * 256 + 9 for row in INDICES if row.symbol in _known} == _known

EQUITIES: Final = (
    Equity("RELIANCE", "RELIANCE INDUSTRIES", 2885, 1545.0, 0.22, 500325),
    Equity("HDFCBANK", "HDFC BANK", 1333, 998.0, 0.18, 500180),
    Equity("ICICIBANK", "ICICI BANK", 4963, 1372.0, 0.19, 532174),
    Equity("INFY", "INFOSYS", 1594, 1540.0, 0.25, 500209),
    Equity("TCS", "TATA CONSULTANCY SERV LT", 11536, 3150.0, 0.23, 532540),
    Equity("SBIN", "STATE BANK OF INDIA", 3045, 972.0, 0.22, 500112),
    Equity("BHARTIARTL", "BHARTI AIRTEL", 10604, 2150.0, 0.21, 532454),
    Equity("ITC", "ITC", 1660, 407.0, 0.17, 500875),
    Equity("LT", "LARSEN & TOUBRO", 11483, 4020.0, 0.22, 500510),
    Equity("AXISBANK", "AXIS BANK", 5900, 1280.0, 0.22, 532215),
    Equity("KOTAKBANK", "KOTAK MAHINDRA BANK", 1922, 2090.0, 0.2, 500247),
    Equity("HINDUNILVR", "HINDUSTAN UNILEVER", 1394, 2420.0, 0.18, 500696),
    Equity("BAJFINANCE", "BAJAJ FINANCE", 317, 1010.0, 0.27, 500034),
    Equity("MARUTI", "MARUTI SUZUKI INDIA", 10999, 15_900.0, 0.22, 532500),
    Equity("SUNPHARMA", "SUN PHARMACEUTICAL IND L", 3351, 1780.0, 0.21, 524715),
    Equity("HCLTECH", "HCL TECHNOLOGIES", 7229, 1610.0, 0.24, 532281),
    Equity("NTPC", "NTPC", 11630, 327.0, 0.2, 532555),
    Equity("TITAN", "TITAN COMPANY", 3506, 3900.0, 0.22, 500114),
    Equity("ULTRACEMCO", "ULTRATECH CEMENT", 11532, 11_750.0, 0.21, 532538),
    Equity("ONGC", "OIL AND NATURAL GAS CORP.", 2475, 248.0, 0.23, 500312),
    Equity("POWERGRID", "POWER GRID CORP. LTD.", 14977, 276.0, 0.2, 532898),
    Equity("TATASTEEL", "TATA STEEL", 3499, 171.0, 0.27, 500470),
    Equity("M&M", "MAHINDRA & MAHINDRA", 2031, 3740.0, 0.24, 500520),
    Equity("BAJAJFINSV", "BAJAJ FINSERV", 16675, 2080.0, 0.24),
    Equity("WIPRO", "WIPRO", 3787, 244.0, 0.24, 507685),
    Equity("ADANIENT", "ADANI ENTERPRISES", 25, 2420.0, 0.34),
    Equity("ADANIPORTS", "ADANI PORT & SEZ", 15083, 1490.0, 0.29),
    Equity("COALINDIA", "COAL INDIA", 20374, 379.0, 0.2),
    Equity("NESTLEIND", "NESTLE INDIA", 17963, 1265.0, 0.19),
    Equity("JSWSTEEL", "JSW STEEL", 11723, 1165.0, 0.25),
    Equity("ASIANPAINT", "ASIAN PAINTS", 236, 2870.0, 0.22),
    Equity("TECHM", "TECH MAHINDRA", 13538, 1460.0, 0.25),
    Equity("GRASIM", "GRASIM INDUSTRIES", 1232, 2740.0, 0.2),
    Equity("HINDALCO", "HINDALCO INDUSTRIES", 1363, 790.0, 0.28),
    Equity("DRREDDY", "DR. REDDY S LABORATORIES", 881, 1245.0, 0.22),
    Equity("CIPLA", "CIPLA", 694, 1515.0, 0.2),
    Equity("EICHERMOT", "EICHER MOTORS", 910, 7150.0, 0.23),
    Equity("HEROMOTOCO", "HERO MOTOCORP", 1348, 5900.0, 0.25),
    Equity("APOLLOHOSP", "APOLLO HOSPITALS ENTER. L", 157, 7400.0, 0.23),
    Equity("TATACONSUM", "TATA CONSUMER PRODUCT", 3432, 1175.0, 0.23),
    Equity("INDUSINDBK", "INDUSIND BANK", 5258, 838.0, 0.33),
    Equity("BPCL", "BHARAT PETROLEUM CORP LT", 526, 362.0, 0.25),
    Equity("SBILIFE", "SBI LIFE INSURANCE CO", 21808, 2030.0, 0.2),
    Equity("HDFCLIFE", "HDFC LIFE INS CO", 467, 762.0, 0.21),
    Equity("DIVISLAB", "DIVI'S LABORATORIES", 10940, 6480.0, 0.26),
    Equity("BRITANNIA", "BRITANNIA INDUSTRIES", 547, 5830.0, 0.19),
    Equity("TRENT", "TRENT", 1964, 4390.0, 0.33),
    Equity("BEL", "BHARAT ELECTRONICS", 383, 416.0, 0.29),
    Equity("SHRIRAMFIN", "SHRIRAM FINANCE", 4306, 815.0, 0.29),
    Equity("JIOFIN", "JIO FIN SERVICES", 18143, 303.0, 0.28),
    Equity("ETERNAL", "ETERNAL", 5097, 303.0, 0.35),
    Equity("BANKBARODA", "BANK OF BARODA", 4668, 290.0, 0.25),
    Equity("CANBK", "CANARA BANK", 10794, 147.0, 0.28),
    Equity("PNB", "PUNJAB NATIONAL BANK", 10666, 123.0, 0.28),
    Equity("VEDL", "VEDANTA", 3063, 507.0, 0.32),
    Equity("GAIL", "GAIL (INDIA)", 4717, 183.0, 0.25),
    Equity("IOC", "INDIAN OIL CORP", 1624, 167.0, 0.24),
    Equity("DLF", "DLF", 14732, 735.0, 0.31),
    Equity("AMBUJACEM", "AMBUJA CEMENTS", 1270, 552.0, 0.25),
    Equity("PIDILITIND", "PIDILITE INDUSTRIES", 2664, 1470.0, 0.18),
    Equity("SIEMENS", "SIEMENS", 3150, 3160.0, 0.29),
    Equity("HAVELLS", "HAVELLS INDIA", 9819, 1450.0, 0.22),
    Equity("DABUR", "DABUR INDIA", 772, 518.0, 0.19),
    Equity("GODREJCP", "GODREJ CONSUMER PRODUCTS", 10099, 1135.0, 0.23),
    Equity("MARICO", "MARICO", 4067, 735.0, 0.21),
    Equity("LUPIN", "LUPIN", 10440, 2030.0, 0.23),
    Equity("AUROPHARMA", "AUROBINDO PHARMA", 275, 1200.0, 0.25),
    Equity("ASHOKLEY", "ASHOK LEYLAND", 212, 148.0, 0.27),
    Equity("IDEA", "VODAFONE IDEA", 14366, 10.05, 0.55),
    Equity("YESBANK", "YES BANK", 11915, 22.8, 0.35),
    Equity("MRF", "MRF", 2277, 152_500.0, 0.22),
    Equity("PAGEIND", "PAGE INDUSTRIES", 14413, 38_900.0, 0.22),
)
assert len(EQUITIES) >= 60
assert len({row.exchange_token for row in EQUITIES}) == len(EQUITIES)
assert len({row.symbol for row in EQUITIES}) == len(EQUITIES)

CENTS_5: Final = Decimal("0.05")


def _index_chain(
    name: str,
    underlying: str,
    exchange: str,
    *,
    lot: int,
    future_tick: str,
    step: int,
    each_side: int,
    far_step: int,
    weekly: int = 0,
    quarterly: int = 0,
    half_yearly: int = 0,
) -> Chain:
    return Chain(
        name=name,
        underlying=underlying,
        exchange=exchange,
        weekday=TUESDAY if exchange == "NFO" else THURSDAY,
        lot=lot,
        future_tick=Decimal(future_tick),
        option_tick=CENTS_5,
        strike_step=Decimal(step),
        strikes_each_side=each_side,
        far_step=Decimal(far_step),
        weekly=weekly,
        quarterly=quarterly,
        half_yearly=half_yearly,
    )


INDEX_CHAINS: Final = (
    _index_chain(
        "NIFTY",
        "NSE:NIFTY 50",
        "NFO",
        lot=65,
        future_tick="0.10",
        step=50,
        each_side=56,
        far_step=500,
        weekly=5,
        quarterly=3,
        half_yearly=8,
    ),
    _index_chain(
        "BANKNIFTY", "NSE:NIFTY BANK", "NFO", lot=30, future_tick="0.20", step=100, each_side=83, far_step=500
    ),
    _index_chain(
        "FINNIFTY", "NSE:NIFTY FIN SERVICE", "NFO", lot=60, future_tick="0.10", step=50, each_side=59, far_step=100
    ),
    _index_chain(
        "MIDCPNIFTY", "NSE:NIFTY MID SELECT", "NFO", lot=120, future_tick="0.05", step=25, each_side=75, far_step=100
    ),
    _index_chain(
        "SENSEX", "BSE:SENSEX", "BFO", lot=20, future_tick="0.05", step=100, each_side=70, far_step=500, weekly=5
    ),
    _index_chain("BANKEX", "BSE:BANKEX", "BFO", lot=30, future_tick="0.05", step=100, each_side=60, far_step=500),
)

# symbol → (lot, strike step): futures and two months of options.
STOCK_CHAINS: Final[dict[str, tuple[int, str]]] = {
    "RELIANCE": (500, "10"),
    "HDFCBANK": (550, "5"),
    "ICICIBANK": (700, "10"),
    "INFY": (400, "10"),
    "TCS": (175, "20"),
    "SBIN": (750, "5"),
    "ITC": (1600, "2.5"),
    "LT": (175, "20"),
    "TATASTEEL": (5500, "1"),
    "M&M": (200, "20"),
    "ASHOKLEY": (5000, "2.5"),
    "MARUTI": (50, "100"),
}
STOCK_STRIKES_EACH_SIDE: Final = 15
STOCK_OPTION_MONTHS: Final = 2
LOW_PRICE: Final = 250.0  # options on stocks quoted below this have a tick of 0.01


@dataclass(frozen=True, slots=True)
class OtherFuture:
    """Currency and commodity futures: here for their divisors."""

    exchange: str
    name: str
    lot: int
    tick: Decimal
    price: float
    volatility: float


OTHER_FUTURES: Final = (
    OtherFuture("CDS", "USDINR", 1, Decimal("0.0025"), 89.125, 0.04),
    OtherFuture("CDS", "EURINR", 1, Decimal("0.0025"), 103.2, 0.07),
    OtherFuture("BCD", "USDINR", 1, Decimal("0.0025"), 89.13, 0.04),
    OtherFuture("MCX", "GOLD", 100, Decimal(1), 124_500.0, 0.15),
    OtherFuture("MCX", "SILVER", 30, Decimal(1), 155_800.0, 0.24),
    OtherFuture("MCX", "CRUDEOIL", 100, Decimal(1), 5_260.0, 0.35),
    OtherFuture("MCX", "NATURALGAS", 1250, Decimal("0.10"), 412.0, 0.55),
)


def cash_tick(price: float) -> Decimal:
    """The tick of a share on NSE by its price (rule since April 2025)."""
    for below, tick in ((250, "0.01"), (1_000, "0.05"), (5_000, "0.10"), (10_000, "0.50"), (20_000, "1")):
        if price < below:
            return Decimal(tick)
    return Decimal(5)
