"""Signs of life of the shards, measured by our own monotonic clock. Pure.

A shard's Lease carries times of another machine's clock; only that it *changes* is a fact here. Silence counts only
over uninterrupted looking: after a gap in our own looking (API server away, our process paused) every shard gets a
whole new window, because during the gap they may have been unable to write, or we unable to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from ticker_operator.model.shards import Signs

POLL_S: Final = 1.0
GAP_NS: Final = 3_000_000_000  # three polls: then it was we who were away

assert POLL_S * 1e9 < GAP_NS


class Phase(IntEnum):
    """How long a shard has been silent, as far as a pass has to know."""

    FRESH = 0
    SILENT = 1  # beyond `detect_after`
    LOST = 2  # beyond `move_after`


@dataclass(slots=True)
class _Heard:
    text: str
    signs: Signs
    phase: Phase = Phase.FRESH


class HeartbeatBook:
    """What was last heard of each account's shard.

    Parameters
    ----------
    detect_after_ns, move_after_ns
        From when on a shard is silent, and lost.
    """

    def __init__(self, *, detect_after_ns: int, move_after_ns: int) -> None:
        assert GAP_NS < detect_after_ns < move_after_ns, "a gap of ours must be seen before a shard is judged"
        self._detect_after_ns = detect_after_ns
        self._move_after_ns = move_after_ns
        self._heard: dict[str, _Heard] = {}
        self._looked_ns: int | None = None

    def follow(self, accounts: frozenset[str], *, now_ns: int) -> None:
        """These accounts have shards; those that are new wait from now on, the others are forgotten."""
        for account in self._heard.keys() - accounts:
            del self._heard[account]
        for account in accounts - self._heard.keys():
            self._heard[account] = _Heard("", Signs(first_seen_ns=now_ns))

    def accounts(self) -> frozenset[str]:
        """Accounts that are followed."""
        return frozenset(self._heard)

    def look(self, beats: Mapping[str, str], *, now_ns: int) -> list[str]:
        """One successful poll: the accounts whose phase is another one now."""
        away = self._looked_ns is not None and now_ns - self._looked_ns > GAP_NS
        self._looked_ns = now_ns
        for account, heard in self._heard.items():
            text = beats.get(account, "")
            if text and text != heard.text:
                heard.text = text
                heard.signs = replace(heard.signs, renewed_ns=now_ns)
            elif away:
                renewed = None if heard.signs.renewed_ns is None else now_ns
                heard.signs = replace(heard.signs, first_seen_ns=now_ns, renewed_ns=renewed)
        return sorted([account for account, heard in self._heard.items() if self._turn(heard, now_ns)])

    def _turn(self, heard: _Heard, now_ns: int) -> bool:
        since = heard.signs.first_seen_ns if heard.signs.renewed_ns is None else heard.signs.renewed_ns
        silent_ns = now_ns - since
        phase = Phase.FRESH
        if silent_ns > self._move_after_ns:
            phase = Phase.LOST
        elif silent_ns > self._detect_after_ns:
            phase = Phase.SILENT
        changed = phase is not heard.phase
        heard.phase = phase
        return changed

    def signs(self, account: str) -> Signs:
        """Signs of life of one account's shard."""
        heard = self._heard.get(account)
        return Signs() if heard is None else heard.signs
