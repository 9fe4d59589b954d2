"""TickerSubscription (``tsub``): what to stream, how richly, and into which channel.

The same instrument in two subscriptions is streamed once, at the richest mode, and published to each channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from ticker_crds.assignment import Encoding, Mode
from ticker_crds.base import (
    AS_SET,
    ATOMIC,
    BY_SYMBOL,
    Conditions,
    Count,
    Flag,
    Int64,
    KindModel,
    Matches,
    Part,
    Rule,
    Within,
)
from ticker_crds.constants import (
    CHANNEL_CHARS_MAX,
    CONDITION_MESSAGE_CHARS_MAX,
    PRIORITY_MAX,
    SUBSCRIPTION_INSTRUMENTS_MAX,
    SYMBOL_CHARS_MAX,
    UNRESOLVED_LISTED_MAX,
    Condition,
    Kind,
)

SYMBOL_PATTERN: Final = r"^[A-Z]{2,10}:[A-Z0-9]( ?[A-Z0-9&.+*()/%_-])*$"
CHANNEL_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$"

Symbol = Annotated[
    str,
    Field(max_length=SYMBOL_CHARS_MAX),
    Matches(
        SYMBOL_PATTERN,
        message="write EXCHANGE:TRADINGSYMBOL in capitals as in the broker's instrument list, e.g. NSE:INFY, "
        "NSE:NIFTY 50, NFO:NIFTY26NOV26000CE",
    ),
]
ChannelName = Annotated[
    str,
    Field(max_length=CHANNEL_CHARS_MAX),
    Matches(
        CHANNEL_PATTERN,
        message="a channel has letters, digits, '.', '_', ':' and '-' only, no braces or spaces; the prefix is put in "
        "front of it",
    ),
]
Price = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
IsoDate = Annotated[
    str,
    Field(max_length=10),
    Matches(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", message="write an expiry as YYYY-MM-DD"),
]


class InstrumentKind(StrEnum):
    """Kinds of instruments that a selector chooses from."""

    INDEX = "index"
    EQUITY = "equity"
    FUTURES = "futures"
    OPTIONS = "options"


class SelectorOperator(StrEnum):
    """How a label is judged."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class InstrumentEntry(Part):
    """One instrument."""

    symbol: Symbol = Field(description="EXCHANGE:TRADINGSYMBOL as in the broker's instrument list.")
    mode: Mode | None = Field(default=None, description="Packet mode of this instrument; else the subscription's.")


class Expiries(Part):
    """Which expiries: the next few, or dates."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.next) != has(self.dates)",
            "set either next (the nearest N expiries) or dates, not both",
            lambda expiries: (expiries.next is None) != (expiries.dates is None),
        ),
    )

    next: Annotated[Int64, Field(ge=1, le=50)] | None = Field(default=None, description="The nearest N expiries.")
    dates: Annotated[tuple[IsoDate, ...], Field(min_length=1, max_length=50, json_schema_extra=ATOMIC)] | None = Field(
        default=None, description="Exactly these expiries, YYYY-MM-DD."
    )


class Strikes(Part):
    """Which strikes: around the money, or a range."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.around) != (has(self.min) || has(self.max))",
            "set either around (N strikes on each side of the money) or min and max, not both",
            lambda strikes: (strikes.around is not None) != (strikes.min is not None or strikes.max is not None),
        ),
        Rule(
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "min must not be above max",
            lambda strikes: strikes.min is None or strikes.max is None or strikes.min <= strikes.max,
        ),
    )

    around: Annotated[Int64, Field(ge=1, le=500)] | None = Field(
        default=None, description="N strikes on each side of the money."
    )
    min: Price | None = Field(default=None, description="Lowest strike.")
    max: Price | None = Field(default=None, description="Highest strike.")


class InstrumentSelector(Part):
    """Instruments of an underlying, by kind, expiry and strike."""

    underlying: Annotated[
        str,
        Field(max_length=SYMBOL_CHARS_MAX),
        Matches(r"^[A-Z0-9]( ?[A-Z0-9&.+*()/%_-])*$", message="write the underlying's name in capitals, e.g. NIFTY"),
    ] = Field(description="Name of the underlying as in the broker's instrument list, e.g. NIFTY.")
    kinds: Annotated[
        tuple[InstrumentKind, ...],
        Field(min_length=1, max_length=4, json_schema_extra=AS_SET),
    ] = Field(description="Which kinds of instruments.")
    expiries: Expiries | None = Field(default=None, description="Which expiries; all of them without this.")
    strikes: Strikes | None = Field(default=None, description="Which strikes; all of them without this.")


class LabelRequirement(Part):
    """One demand on a label."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "operators In and NotIn need values; Exists and DoesNotExist take none",
            lambda demand: (demand.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN)) == bool(demand.values),
        ),
    )

    key: str = Field(min_length=1, max_length=317, description="The label's key.")
    operator: SelectorOperator = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: Annotated[
        tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=64, json_schema_extra=ATOMIC)
    ] = Field(default=(), description="Values for In and NotIn.")

    def met_by(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels meets the demand, as Kubernetes judges it."""
        match self.operator:
            case SelectorOperator.IN:
                return labels.get(self.key) in self.values
            case SelectorOperator.NOT_IN:
                return labels.get(self.key) not in self.values
            case SelectorOperator.EXISTS:
                return self.key in labels
            case SelectorOperator.DOES_NOT_EXIST:
                return self.key not in labels


class AccountSelector(Part):
    """Accounts by their labels; every demand must be met."""

    match_labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)] = Field(
        default_factory=dict, description="Labels that an account must have."
    )
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=32, json_schema_extra=ATOMIC)] = Field(
        default=(), description="Further demands on an account's labels."
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an account with these labels may carry the instruments."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            demand.met_by(labels) for demand in self.match_expressions
        )


class TickerSubscriptionSpec(Part):
    """What is to be streamed."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.instruments) != has(self.selector)",
            "set exactly one of instruments (a list of symbols) and selector (a rule over an underlying)",
            lambda spec: (spec.instruments is None) != (spec.selector is None),
        ),
        Rule(
            None,
            "instruments: each symbol once",
            lambda spec: len({entry.symbol for entry in spec.instruments or ()}) == len(spec.instruments or ()),
        ),
    )

    instruments: (
        Annotated[
            tuple[InstrumentEntry, ...],
            Field(min_length=1, max_length=SUBSCRIPTION_INSTRUMENTS_MAX, json_schema_extra=BY_SYMBOL),
        ]
        | None
    ) = Field(
        default=None,
        description="Instruments by symbol, each once, at most 2000; more go into another subscription.",
    )
    selector: InstrumentSelector | None = Field(
        default=None, description="Instruments by a rule. Accepted; answered with Resolved=False until it is supported."
    )
    mode: Mode = Field(default=Mode.FULL, description="Packet mode: ltp, quote or full (with depth).")
    greeks: Flag = Field(default=True, description="Implied volatility and Greeks for options.")
    channel: ChannelName | None = Field(
        default=None,
        description="Channel for every instrument of this subscription, without the prefix. By default "
        "<underlying>:<kind>, e.g. nifty:options; all equities share one.",
    )
    priority: Annotated[
        Int64,
        Within(-PRIORITY_MAX, PRIORITY_MAX, message="a priority is between -1000 and 1000"),
    ] = Field(default=0, description="Where not everything fits, and after a failure, higher ones are placed first.")
    account_selector: AccountSelector | None = Field(
        default=None, description="Accounts that may carry the instruments; all of the namespace without this."
    )
    encoding: Encoding = Field(default=Encoding.JSON, description="Encoding of messages and last values.")


class UnresolvedEntry(Part):
    """An instrument that is not streamed."""

    symbol: str = Field(max_length=SYMBOL_CHARS_MAX, description="As it stands in the spec.")
    reason: str = Field(max_length=128, description="One word that a script may match.")
    message: str = Field(default="", max_length=CONDITION_MESSAGE_CHARS_MAX, description="Why, and what to do.")


class TickerSubscriptionStatus(Part):
    """What became of it. Written by the operator alone."""

    observed_generation: Count | None = Field(default=None, description="Generation that this status speaks about.")
    resolved: Count | None = Field(default=None, description="Instruments found in the broker's list.")
    assigned: Count | None = Field(default=None, description="Instruments that an account carries.")
    streaming: Count | None = Field(default=None, description="Instruments whose packets arrive and are published.")
    unresolved: Annotated[
        tuple[UnresolvedEntry, ...], Field(max_length=UNRESOLVED_LISTED_MAX, json_schema_extra=ATOMIC)
    ] = Field(default=(), description="Instruments that are not streamed, the first 50 of them.")
    conditions: Conditions = ()


class TickerSubscription(KindModel):
    """A set of instruments to stream into Redis."""

    kind_name: ClassVar[Kind] = Kind.SUBSCRIPTION
    conditions_used: ClassVar[tuple[Condition, ...]] = (
        Condition.READY,
        Condition.RESOLVED,
        Condition.ASSIGNED,
        Condition.PAUSED,
    )

    spec: TickerSubscriptionSpec = Field(description="What is to be streamed.")
    status: TickerSubscriptionStatus = Field(default_factory=TickerSubscriptionStatus, description="What became of it.")
