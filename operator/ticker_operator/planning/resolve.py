"""From what subscriptions ask for to what is wanted of the pool.

Three things happen here, in this order, and none of them looks at whether an account works:

1. Each requested symbol is looked up. What cannot be found is named with its reason; the rest goes on.
2. Channels: a subscription's own or the derived one, the prefix always in front. A channel has one encoding: the
   oldest subscription's; another one's instruments of that channel are refused with ``ChannelConflict``.
3. Requests for one instrument are merged into one row: richest mode, every channel, the highest priority, greeks if
   anybody wants them, and only accounts that *all* its subscriptions allow. Where they allow none in common, the older
   subscription keeps it and the younger one is told (``SelectorConflict``).

Without a dump, what stands in a table is still known, so an operator that starts while the broker's list cannot be
had neither loses nor removes anything. A subscription that is paused, or whose spec cannot be understood, gets nothing
new; and because a table does not say for whom a row is there, nothing is taken from any table meanwhile.

Age decides ties (creation, then name): whoever was there first must not be changed by a newcomer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from ticker_crds import AssignedInstrument, Encoding, Mode
from ticker_crds.constants import Reason
from ticker_crds.subscription import AccountSelector
from ticker_operator.model import (
    AccountView,
    Identity,
    InstrumentCatalog,
    Refusal,
    RequestedInstrument,
    Resolution,
    SubscriptionResolution,
    SubscriptionView,
    TableView,
    Unresolved,
    UnresolvedReason,
    Wanted,
)
from ticker_operator.planning.references import chain_of
from ticker_operator.planning.registers import CatalogRegister, Listed, Register, TableRegister
from ticker_operator.planning.underlyings import (
    OPTION_TYPES,
)

RICHNESS: Final[dict[Mode, int]] = {Mode.LTP: 0, Mode.QUOTE: 1, Mode.FULL: 2}


def resolve(
    subscriptions: Sequence[SubscriptionView],
    *,
    accounts: Sequence[AccountView],
    catalog: InstrumentCatalog | None,
    tables: Mapping[str, TableView],
    prefix: str,
    today: date,
) -> Resolution:
    """What is wanted, and what became of each subscription.

    Parameters
    ----------
    subscriptions, accounts
        In any order.
    catalog
        The broker's instruments; without one, what stands in a table is still known.
    tables
        As stored.
    prefix
        Put in front of every channel.
    today
        Contracts that expired before are gone.
    """
    ordered = sorted((entry for entry in subscriptions if not entry.deleting), key=lambda entry: entry.age_order)
    standing = _standing(tables)
    register: Register = CatalogRegister(catalog, today) if catalog is not None else TableRegister(standing, today)
    merged = _Merged(accounts)
    outcomes: dict[str, _Outcome] = {}
    for subscription in ordered:
        outcomes[subscription.name] = outcome = _Outcome(subscription, merged.allowed(subscription.account_selector))
        refusal = _refusal(subscription)
        if refusal is None:
            _look_up(outcome, register=register, standing=standing)
            merged.claim_channels(outcome, prefix)
        else:
            outcome.refusal = refusal
    # Subscriptions whose selector matches no account come last: they must not keep anything from those that can.
    for outcome in sorted(outcomes.values(), key=lambda entry: not entry.allowed):
        merged.add(outcome)
    if any(entry.paused or entry.fault for entry in ordered):
        merged.keep(standing, tables, today)
    wanted, places = merged.ordered()
    for outcome in outcomes.values():
        outcome.drop_clashes(merged.clashes)
    return Resolution(
        wanted=wanted,
        groups=merged.groups,
        subscriptions=tuple(outcomes[entry.name].result(places) for entry in ordered),
        encodings=merged.encodings,
        version=catalog.version if catalog is not None else "",
        references=register.references({key for entry in wanted if (key := chain_of(entry.row)) is not None}),
    )


def _refusal(subscription: SubscriptionView) -> Refusal | None:
    if subscription.fault:
        return Refusal(Reason.INVALID, subscription.fault)
    if subscription.selects:
        return Refusal(Reason.NOT_SUPPORTED, "selector is not supported yet: list the symbols in instruments")
    return None


# -- looking up ---------------------------------------------------------------------------------------------------


def _standing(tables: Mapping[str, TableView]) -> dict[str, AssignedInstrument]:
    """Symbol → row, of everything that stands in any table."""
    return {
        row.symbol: row
        for _, view in sorted(tables.items())
        if view.table is not None
        for row in view.table.instruments
        if not row.is_reference
    }


@dataclass(slots=True)
class _Outcome:
    """One subscription while it is resolved."""

    subscription: SubscriptionView
    allowed: frozenset[str]
    refusal: Refusal | None = None
    found: list[tuple[RequestedInstrument, Listed]] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)  # of `found`, prefix included
    unresolved: list[Unresolved] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)

    def drop_clashes(self, clashes: Mapping[Identity, str]) -> None:
        """Name what cannot stream because another instrument has its token."""
        for identity in [identity for identity in self.identities if identity in clashes]:
            self.identities.remove(identity)
            message = f"the broker's list gives its token to {clashes[identity]} as well: report it to the broker"
            symbol = f"{identity[0]}:{identity[1]}"
            self.unresolved.append(Unresolved(symbol, UnresolvedReason.TOKEN_CLASH, message))

    def result(self, places: Mapping[Identity, int]) -> SubscriptionResolution:
        return SubscriptionResolution(
            name=self.subscription.name,
            requested=len(self.subscription.instruments),
            resolved=len(self.identities),
            unresolved=tuple(sorted(self.unresolved, key=lambda entry: entry.symbol)),
            refusal=self.refusal,
            wanted=tuple(sorted(places[identity] for identity in self.identities)),
        )


def _look_up(outcome: _Outcome, *, register: Register, standing: Mapping[str, AssignedInstrument]) -> None:
    subscription = outcome.subscription
    requested = {entry.symbol: entry for entry in subscription.instruments}  # a symbol twice is asked for once
    if subscription.paused:
        requested = {symbol: entry for symbol, entry in requested.items() if symbol in standing}
    for entry, found in zip(requested.values(), register.find(list(requested)), strict=True):
        if isinstance(found, Listed):
            outcome.found.append((entry, found))
        else:
            outcome.unresolved.append(found)


# -- merging ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Entry:
    listed: Listed
    mode: Mode
    channels: set[str]
    greeks: bool
    priority: int
    allowed: frozenset[str]
    oldest: str


class _Merged:
    """Requests of all subscriptions by instrument."""

    def __init__(self, accounts: Sequence[AccountView]) -> None:
        self._accounts = sorted(accounts, key=lambda account: account.name)
        self._all = frozenset(account.name for account in accounts)
        self._entries: dict[Identity, _Entry] = {}
        self._groups: dict[frozenset[str], int] = {self._all: 0}
        self._channel_owner: dict[str, str] = {}
        self.encodings: dict[str, Encoding] = {}
        self.clashes: dict[Identity, str] = {}  # what has a token that an earlier one has → the earlier one's symbol

    def allowed(self, selector: AccountSelector | None) -> frozenset[str]:
        """Accounts that the selector allows."""
        if selector is None:
            return self._all
        return frozenset(account.name for account in self._accounts if selector.matches(account.labels))

    def claim_channels(self, outcome: _Outcome, prefix: str) -> None:
        """Give each instrument its channel; drop those whose channel an older one writes in another encoding."""
        subscription = outcome.subscription
        kept = []
        for entry, listed in outcome.found:
            channel = f"{prefix}:{subscription.channel or listed.channel}"
            encoding = self.encodings.setdefault(channel, subscription.encoding)
            owner = self._channel_owner.setdefault(channel, subscription.name)
            if encoding is not subscription.encoding:
                message = (
                    f"channel {channel} is written in {encoding} for the older subscription {owner}: "
                    f"use that encoding, or a channel of your own"
                )
                outcome.unresolved.append(Unresolved(entry.symbol, UnresolvedReason.CHANNEL_CONFLICT, message))
                continue
            kept.append((entry, listed))
            outcome.channels.append(channel)
        outcome.found = kept

    def add(self, outcome: _Outcome) -> None:
        """Merge one subscription's instruments; the order of calls is the order of precedence."""
        subscription = outcome.subscription
        for (request, listed), channel in zip(outcome.found, outcome.channels, strict=True):
            row = listed.row
            mode = request.mode or subscription.mode
            greeks = subscription.greeks and row.instrument_type in OPTION_TYPES
            identity = row.identity
            entry = self._entries.get(identity)
            if entry is None:
                self._entries[identity] = _Entry(
                    listed, mode, {channel}, greeks, subscription.priority, outcome.allowed, subscription.name
                )
                outcome.identities.append(identity)
                continue
            common = entry.allowed & outcome.allowed
            if not common and (entry.allowed or outcome.allowed):
                message = (
                    f"subscription {entry.oldest} streams it on accounts that this one's accountSelector "
                    f"({selector_text(subscription.account_selector)}) does not allow: "
                    "let the two selectors have an account in common"
                )
                outcome.unresolved.append(Unresolved(request.symbol, UnresolvedReason.SELECTOR_CONFLICT, message))
                continue
            entry.allowed = common
            entry.mode = max(entry.mode, mode, key=RICHNESS.__getitem__)
            entry.channels.add(channel)
            entry.greeks = entry.greeks or greeks
            entry.priority = max(entry.priority, subscription.priority)
            outcome.identities.append(identity)

    def keep(self, standing: Mapping[str, AssignedInstrument], tables: Mapping[str, TableView], today: date) -> None:
        """Nothing is taken from any table: no row, no channel, no richness."""
        for view in tables.values():
            for channel in view.table.channels if view.table is not None else ():
                self.encodings.setdefault(channel.name, channel.encoding)
        symbols = {entry.listed.row.symbol for entry in self._entries.values()}
        for row in standing.values():
            if row.expiry and row.expiry < today.isoformat():
                continue
            entry = self._entries.get(row.identity)
            if entry is None:
                if row.symbol in symbols:  # the same name, another contract: the one that is wanted has its place
                    continue
                self._entries[row.identity] = _Entry(
                    Listed(row, ""), row.mode, set(row.channels), row.greeks, 0, self._all, ""
                )
                continue
            entry.mode = max(entry.mode, row.mode, key=RICHNESS.__getitem__)
            entry.channels.update(row.channels)
            entry.greeks = entry.greeks or row.greeks

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Account names by group."""
        return tuple(tuple(sorted(names)) for names in self._groups)

    def ordered(self) -> tuple[tuple[Wanted, ...], dict[Identity, int]]:
        """Everything wanted in the order of round robin, and the place of each."""
        places: dict[Identity, int] = {}
        wanted: list[Wanted] = []
        channels: dict[frozenset[str], tuple[str, ...]] = {}  # few distinct ones: the tuples are shared
        tokens: dict[int, str] = {}
        for identity in sorted(self._entries):
            entry = self._entries[identity]
            holder = tokens.setdefault(entry.listed.row.token, entry.listed.row.symbol)
            if holder != entry.listed.row.symbol:
                self.clashes[identity] = holder
                continue
            names = frozenset(entry.channels)
            row = entry.listed.row
            merged = AssignedInstrument(
                token=row.token,
                exchange=row.exchange,
                tradingsymbol=row.tradingsymbol,
                mode=entry.mode,
                channels=channels.setdefault(names, tuple(sorted(names))),
                expiry=row.expiry,
                strike=row.strike,
                instrument_type=row.instrument_type,
                underlying=row.underlying,
                underlying_token=row.underlying_token,
                lot_size=row.lot_size,
                tick_size=row.tick_size,
                greeks=entry.greeks,
            )
            places[identity] = len(wanted)
            wanted.append(Wanted(merged, entry.priority, self._groups.setdefault(entry.allowed, len(self._groups))))
        return tuple(wanted), places


def selector_text(selector: AccountSelector | None) -> str:
    """A selector as a person would write it: ``tier=gold, zone In (a, b)``."""
    if selector is None:
        return "any account"
    parts = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    parts += [
        f"{demand.key} {demand.operator}" + (f" ({', '.join(demand.values)})" if demand.values else "")
        for demand in selector.match_expressions
    ]
    return ", ".join(parts) or "any account"
