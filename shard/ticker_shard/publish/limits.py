"""The room's constants, and how they must relate to one another.

What breaks when a relation does not hold stands beside it; each was seen when the protocol was checked with the
relation broken (docs/handover.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MS_NS: Final = 1_000_000
SECOND_NS: Final = 1_000 * MS_NS

CALL_ROWS_MAX: Final = 100  # in json: one call blocks Redis for about half a millisecond
PACKED_CALL_ROWS_MAX: Final = 200  # in msgpack: as long
# Rows in one pipeline. Encoding them holds the loop up for 3 ms (10 in json); a third of them delivered half as much.
ROUND_ROWS_MAX: Final = 3_000
ROUND_CALLS_MAX: Final = ROUND_ROWS_MAX // CALL_ROWS_MAX  # of one channel, where a setting makes them small
BATCH_TICKS_MAX: Final = 10_000  # largest `ticks_max` the settings allow
UNANSWERED_CALLS_MAX: Final = 256  # per channel; each is two numbers. Older ones are settled as dropped
GAPS_HELD_MAX: Final = 100  # per channel, while Redis is away; further ones are merged into the last
GAP_SYMBOLS_MAX: Final = 100  # listed in a gap record; the count is always complete
GAPS_STREAM_MAX: Final = 1_000  # entries kept in the gaps stream
REFUSED_WAIT_NS: Final = 1 * SECOND_NS  # a channel that Redis refuses is tried again after this, doubling up to
REFUSED_WAIT_MAX_NS: Final = 30 * SECOND_NS  # this; its beats go on
SETTLING_SOON_NS: Final = SECOND_NS  # a settling instrument's value is repeated this often,
SETTLING_FRESH_NS: Final = 15 * SECOND_NS  # for so long: the old owner stops somewhere in it, unless it is ill; then
SETTLING_REPEAT_NS: Final = 10 * SECOND_NS  # this often
CATCH_UP_NS: Final = 15 * SECOND_NS  # longest wait of a claimant whose table is not the record's
FLUSH_NS: Final = 5 * SECOND_NS  # after the drain deadline, the longest time for what is still queued

assert max(CALL_ROWS_MAX, PACKED_CALL_ROWS_MAX) <= ROUND_ROWS_MAX, "a round holds at least one full call"


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of the hand-over, all monotonic nanoseconds; one value so that tests may scale all of them together.

    Attributes
    ----------
    beat_ns
        A held channel has a call at least this often.
    poll_ns
        A process that does not hold every channel reads the records this often.
    call_timeout_ns
        Without an answer for so long, the connection is dropped.
    silent_ns
        A record that did not change for so long belongs to nobody alive.
    yield_ns
        Without feed for so long, the channels are offered to a warm standby.
    drain_deadline_ns
        After SIGTERM, the longest wait for a successor.
    """

    beat_ns: int = 1 * SECOND_NS
    poll_ns: int = SECOND_NS // 2
    call_timeout_ns: int = 2 * SECOND_NS
    silent_ns: int = 4 * SECOND_NS
    yield_ns: int = 2 * SECOND_NS
    drain_deadline_ns: int = 90 * SECOND_NS

    def __post_init__(self) -> None:
        assert self.silent_ns > self.beat_ns + self.call_timeout_ns + self.poll_ns, (
            "a living holder of which one call was lost must not look silent: the role would be taken from it"
        )
        assert self.poll_ns < self.beat_ns, "a poll sees every beat"
        assert self.drain_deadline_ns >= 0, "0 = do not wait for a successor (no room for one beside this process)"


TIMING: Final = Timing()
