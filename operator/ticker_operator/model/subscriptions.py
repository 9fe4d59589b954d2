"""A subscription as planning sees it: what to stream, how, where to."""

from __future__ import annotations

from dataclasses import dataclass

from ticker_crds import Encoding, Mode
from ticker_crds.subscription import AccountSelector


@dataclass(frozen=True, slots=True)
class RequestedInstrument:
    """One entry of ``instruments``; `mode` `None` means the subscription's."""

    symbol: str
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    """One TickerSubscription.

    Attributes
    ----------
    name, uid, generation, created
        From its metadata; `created` is RFC 3339 text, which sorts by age.
    instruments
        As requested, in any order.
    selects
        Whether it uses `selector` instead of `instruments`.
    mode, greeks, channel, priority, encoding
        From its spec. `greeks` concerns options only. `channel` `None`: derived per instrument; the prefix is put in
        front of either.
    account_selector
        Which accounts may stream it; `None` means any.
    paused
        Annotated: nothing is added for it and, while any subscription is paused, nothing is taken away.
    deleting
        Being deleted: as if it were not there.
    fault
        Why its spec cannot be understood, in words; empty when it can.
    """

    name: str
    uid: str = ""
    generation: int = 0
    created: str = ""
    instruments: tuple[RequestedInstrument, ...] = ()
    selects: bool = False
    mode: Mode = Mode.FULL
    greeks: bool = True
    channel: str | None = None
    priority: int = 0
    account_selector: AccountSelector | None = None
    encoding: Encoding = Encoding.JSON
    paused: bool = False
    deleting: bool = False
    fault: str = ""

    @property
    def age_order(self) -> tuple[str, str]:
        """Oldest first; the name decides between two of the same second."""
        return (self.created, self.name)
