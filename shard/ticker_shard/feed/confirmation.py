"""What a socket tells of its subscriptions: that a token stays unconfirmed, and that everything is confirmed. Pure."""

from __future__ import annotations

from ticker_shard.feed.events import Change, ChangeKind
from ticker_shard.feed.subscriptions import Subscriptions


class Confirmation:
    """Compares what was told with what is so.

    Parameters
    ----------
    subscriptions
        What is wanted and what has come.
    changes
        Where the session's changes are collected.

    Attributes
    ----------
    listed
        Tokens that were told to be unconfirmed.
    """

    def __init__(self, subscriptions: Subscriptions, changes: list[Change]) -> None:
        self._subscriptions, self._changes = subscriptions, changes
        self._announced = False
        self.listed: frozenset[int] = frozenset()

    def begin(self) -> None:
        """Something else is wanted, or on another connection: everything is to be confirmed once more."""
        self._announced = False
        self.relist()

    def relist(self) -> None:
        """Tell of tokens that have stayed unconfirmed, or no longer do."""
        listed = self._subscriptions.listed
        if listed != self.listed:
            self.listed = listed
            self._changes.append(Change(ChangeKind.UNCONFIRMED, str(len(listed))))

    def tell(self) -> None:
        """`relist`, and tell when everything wanted is confirmed, once."""
        self.relist()
        if not self._announced and not self._subscriptions.missing:
            self._announced = True
            self._changes.append(Change(ChangeKind.CONFIRMED, str(self._subscriptions.wanted)))
