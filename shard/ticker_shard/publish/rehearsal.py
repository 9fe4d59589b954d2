"""The rehearsal: what a warm process proves before it counts as standby, so that nobody depends on what would fail.

One call under epoch 0, which nobody ever holds, with real rows: Redis must refuse it, and then connection, scripts and
encoder work. What Redis forbids this user is asked beside it (`forbidden`); while anything is, there is no rehearsal.
"""

from __future__ import annotations

from ticker_shard.publish import fence
from ticker_shard.publish.calls import CallMaker
from ticker_shard.publish.fence import Answer, Request, Trouble, TroubleKind
from ticker_shard.publish.handover import Handover, Phase
from ticker_shard.ticks.instruments import InstrumentTable


class Rehearsal:
    """Asks once a beat until Redis has refused.

    Parameters
    ----------
    handover
        Is told when it went as it must.
    calls
        Makes the call.

    Attributes
    ----------
    forbidden
        What Redis will not let this user do; set by whoever asked.
    """

    def __init__(self, *, handover: Handover, calls: CallMaker) -> None:
        self.forbidden: Trouble | None = None
        self._handover, self._calls = handover, calls
        self._due_ns = 0
        self._turn = 0

    def due_ns(self, table: InstrumentTable | None) -> int | None:
        """When to ask; `None` while there is nothing to ask."""
        handover = self._handover
        ready = handover.phase is Phase.WARMING and handover.warm and table is not None
        return self._due_ns if ready and not handover.terminating and self.forbidden is None else None

    def requests(self, table: InstrumentTable | None, *, now_ns: int, wall_ns: int) -> list[Request]:
        """The call, if it is due; an account without channels has nothing to prove."""
        due_ns = self.due_ns(table)
        if table is None or due_ns is None or now_ns < due_ns:
            return []
        self._due_ns = now_ns + self._handover.timing.beat_ns
        if not table.channels:
            self._handover.rehearsed()
            return []
        names = sorted(channel.name for channel in table.channels)
        name = names[self._turn % len(names)]
        return [self._calls.rehearsal(name, wall_ns=wall_ns)]

    def answered(self, answer: Answer) -> Trouble | None:
        """Take in the answer; what is wrong with it, unless that has a name already."""
        match answer:
            case fence.Fenced() | fence.Rewound():
                if self._handover.phase is Phase.WARMING and self._handover.warm:
                    self._handover.rehearsed()
            case fence.Accepted() | fence.Stale():
                # Epoch 0 is nobody's: a record that says so was written by something else.
                return Trouble(TroubleKind.REFUSED, "the rehearsal was not refused: a fence record has epoch 0")
            case _:
                # Named with the round's other failures, asked again after a beat: of another channel, because one
                # that Redis refuses must not keep the others from being published.
                self._turn += 1
        return None
