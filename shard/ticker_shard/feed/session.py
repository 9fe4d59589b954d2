"""One socket of the broker as a state machine: bytes, clock and wishes in; messages, deadlines and changes out.

What the broker never tells us shapes this file. No request is acknowledged: the only sign that a subscription
arrived is a packet, and the broker sends one cached packet per token for every subscription, also at night. So what
is wanted and what has come are compared again and again (`ticker_shard.feed.subscriptions`).

A socket that looks open may be dead: the broker sends something at least every second or two, so silence for
`FeedSettings.silence_ms` ends the connection. One that sends heartbeats and nothing else while the market is open is
mute: `ticker_shard.feed.watchdogs` says what is done then. Frames that cannot be understood end nothing.

=================  =======================================================================================
upgrade answer     what it means, what is done
=================  =======================================================================================
101                open: everything is subscribed anew, modes included
403                the token is dead (it is checked only here): stop and wait for other credentials
429                too many sockets of this key, or too hasty: wait 30 to 40 s, also for a dead socket's slot
anything else      back-off with full jitter; failures are forgotten only after a connection lived
=================  =======================================================================================

The session decides and the shell acts: a connection is to exist exactly while the state is CONNECTING or OPEN.
What leads where is the table in `ticker_shard.feed.transitions`; being told what cannot happen raises and changes
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from random import Random
from typing import Final

from ticker_crds import Mode
from ticker_shard.feed.confirmation import Confirmation
from ticker_shard.feed.counts import SocketCounts
from ticker_shard.feed.events import BinaryKind, Change, ChangeKind, CloseReason, SessionState, SocketStatus, TextKind
from ticker_shard.feed.messages import read_text
from ticker_shard.feed.setbacks import Setbacks
from ticker_shard.feed.settings import Credentials, FeedSettings
from ticker_shard.feed.subscriptions import MILLISECOND_NS, Outgoing, Subscriptions
from ticker_shard.feed.transitions import Cause, next_state
from ticker_shard.feed.watchdogs import SECOND_NS, Action, FlowWatch
from ticker_shard.ticks.instruments import segment_of

HEARTBEAT_BYTES_MAX: Final = 1  # a frame that cannot even hold a packet count
SURE_S: Final = 1.0  # the broker says something every second: in less time nothing is missed

_NOTHING: Final = Outgoing()
_TICKS: Final = BinaryKind.TICKS  # the answer to nearly every frame; an enum looks its members up by name


class KiteSession:
    """One socket.

    Parameters
    ----------
    settings
        Limits and waits.
    chance
        Source of jitter.
    """

    def __init__(self, settings: FeedSettings, *, chance: Random) -> None:
        self._settings = settings
        self._state = SessionState.IDLE
        self._changes: list[Change] = []
        self._counts = SocketCounts()
        # credentials and attempts
        self._credentials: Credentials | None = None
        self._used: Credentials | None = None  # by the present connection or attempt, or by the last
        self._setbacks = Setbacks(settings, chance=chance)
        self._rejected_since_ns: int | None = None
        # the present connection
        self._opened_ns: int | None = None
        self._frame_ns = 0
        self._ticks_ns = 0
        self._subscriptions = Subscriptions(settings)
        self._flow = FlowWatch(settings)
        self._market: Sequence[bool] | None = None  # by segment; before anybody said so, none is open
        self._confirmation = Confirmation(self._subscriptions, self._changes)

    # -- what is so --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._state

    @property
    def missing(self) -> list[int]:
        """Wanted tokens without a packet of the wanted mode on this connection."""
        return self._subscriptions.missing

    def status(self) -> SocketStatus:
        """Everything another room may know."""
        return SocketStatus(
            state=self._state,
            wanted=self._subscriptions.wanted,
            confirmed=self._subscriptions.wanted - len(self.missing),
            unconfirmed=tuple(sorted(self._confirmation.listed)),
            last_close=self._setbacks.last,
            close_text=self._setbacks.text,
            rejected_since_ns=self._rejected_since_ns,
            opened_ns=self._opened_ns,
            flowed_ns=self._flow.flowed_ns,
            packet_ns=self._ticks_ns,
            unseen_ns=self._flow.unseen_ns,
            mute_since_ns=self._flow.mute_since_ns,
            mute_reported=self._flow.reported,
            counts=self._counts.by_name(),
        )

    def drain_changes(self) -> list[Change]:
        """What has changed since the last call, in order."""
        changes = self._changes.copy()
        self._changes.clear()
        return changes

    # -- wishes ------------------------------------------------------------------------------------------------------

    def want(self, instruments: Mapping[int, Mode], *, recycled: Collection[int] = (), now_ns: int) -> None:
        """Stream these tokens in these modes and nothing else; `outgoing` then holds the difference.

        Parameters
        ----------
        instruments
            Token → mode.
        recycled
            Tokens among them that stand for another contract than before: they are asked for anew.
        """
        self._subscriptions.want(instruments, recycled=recycled)
        self._confirmation.begin()
        self._watch_flow(now_ns)

    def ask_again(self, tokens: Collection[int]) -> None:
        """Subscribe these once more, and expect them: they have gone quiet while others flow."""
        self._subscriptions.ask_again(tokens)

    def set_market(self, is_open: Sequence[bool], *, now_ns: int) -> None:
        """Which segments trade from now on, by segment number."""
        self._market = is_open
        self._watch_flow(now_ns)

    def set_credentials(self, credentials: Credentials, *, now_ns: int) -> None:
        """Use these from the next upgrade on, or at once where that costs nothing; the same again changes nothing.

        An open socket streams on with a dead token, and a working connection is not traded for an unproven token:
        it is replaced only if the key changed, or while it brings no ticks (before the market opens, which is when
        tokens are renewed; a socket that went mute over night is replaced by the same rule).
        """
        before, self._credentials = self._credentials, credentials
        if credentials == before:
            return
        self._rejected_since_ns = None
        match self._state:
            case SessionState.IDLE | SessionState.REJECTED | SessionState.BACKING_OFF:
                self._move(Cause.CREDENTIALS)
            case SessionState.RATE_LIMITED:
                if before is not None and before.api_key != credentials.api_key:
                    self._move(Cause.CREDENTIALS)
            case SessionState.OPEN:
                self._recycle_if_idle(now_ns)
            case SessionState.CONNECTING | SessionState.STOPPED:
                pass  # `refused` looks at them again

    def stop(self) -> None:
        """Close for good."""
        if self._state is SessionState.OPEN:
            self._closed(CloseReason.STOPPED, "")
        if self._state is not SessionState.STOPPED:
            self._move(Cause.STOP)

    # -- the connection's fate ---------------------------------------------------------------------------------------

    def begin(self) -> Credentials:
        """The credentials for the attempt that starts now."""
        assert self._state is SessionState.CONNECTING, self._state
        assert self._credentials is not None
        self._used = self._credentials
        return self._credentials

    def upgraded(self, *, now_ns: int) -> None:
        """The broker accepted the upgrade: nothing is subscribed on this connection."""
        self._move(Cause.UPGRADED)
        self._counts.rare["connects"] += 1
        self._opened_ns = self._frame_ns = self._ticks_ns = now_ns
        self._rejected_since_ns = None
        self._forget_connection()
        self._flow.connected(now_ns=now_ns)
        self._changes.append(Change(ChangeKind.OPENED))

    def refused(self, status: int, *, now_ns: int, text: str = "") -> None:
        """The broker answered the upgrade with another status than 101."""
        outdated = self._used != self._credentials
        match status:
            case 403:
                self._move(Cause.CREDENTIALS if outdated else Cause.FORBIDDEN)
                self._failed(CloseReason.REJECTED, f"403 {text}".strip())
                if not outdated:
                    self._rejected_since_ns = now_ns
            case 429:
                self._move(Cause.LIMITED)
                self._failed(CloseReason.RATE_LIMITED, f"429 {text}".strip())
                self._setbacks.limited(now_ns=now_ns)
            case _:
                self._move(Cause.FAILED)
                self._failed(CloseReason.REFUSED, f"{status} {text}".strip())
                self._setbacks.back_off(now_ns=now_ns)

    def failed(self, reason: CloseReason, *, now_ns: int, text: str = "") -> None:
        """The attempt ended without an answer to the upgrade."""
        self._move(Cause.FAILED)
        self._failed(reason, text)
        self._setbacks.back_off(now_ns=now_ns)

    def lost(self, reason: CloseReason, *, now_ns: int, text: str = "") -> None:
        """The open connection has ended, or is to be ended."""
        self._move(Cause.LOST)
        assert self._opened_ns is not None
        if self._frame_ns - self._opened_ns >= self._settings.stable_ms * MILLISECOND_NS:
            self._setbacks.forget()
        self._closed(reason, text, quiet_ns=now_ns - self._flow.sure_ns(self._frame_ns))
        self._setbacks.back_off(now_ns=now_ns)

    def displaced(self, *, wait_ns: int, now_ns: int) -> None:
        """The open connection had to go for another one of ours: coming back would only displace that one."""
        self._move(Cause.DISPLACED)
        text = f"the broker ended it when another socket of this account opened; next try in {wait_ns // SECOND_NS} s"
        self._closed(CloseReason.DISPLACED, text, quiet_ns=now_ns - self._flow.sure_ns(self._frame_ns))
        self._setbacks.resume_ns = now_ns + wait_ns

    def make_way_no_more(self, *, now_ns: int) -> None:
        """The socket for which this one made way is gone: come back as after any loss."""
        if self._state is SessionState.RATE_LIMITED and self._setbacks.last is CloseReason.DISPLACED:
            self._setbacks.back_off(now_ns=now_ns)

    # -- receiving ---------------------------------------------------------------------------------------------------

    def receive_binary(self, size: int, *, packets: int = 1, now_ns: int) -> BinaryKind:
        """A binary frame of so many bytes came, which says that it has so many packets."""
        self._frame_ns = now_ns
        counts = self._counts
        counts.frames += 1
        counts.bytes += size
        if size <= HEARTBEAT_BYTES_MAX:
            counts.heartbeats += 1
            return BinaryKind.HEARTBEAT
        self._ticks_ns = now_ns
        if not self._flow.received(packets, now_ns=now_ns):
            return _TICKS
        if now_ns - self._flow.whole_ns <= SURE_S * SECOND_NS:  # everything was asked for a moment ago
            self._changes.append(Change(ChangeKind.FLOWING))
            return BinaryKind.TICKS_AGAIN
        # What changed meanwhile and does not change again is known to the broker's cache alone.
        self._subscriptions.ask_again()
        self._changes.append(Change(ChangeKind.FLOWING, quiet_ns=self._flow.asked_for_all(now_ns=now_ns)))
        return BinaryKind.TICKS_AGAIN

    def receive_text(self, payload: bytes, *, now_ns: int) -> TextKind:
        """A text frame came; whatever it holds, it is an event and a sign of life."""
        self._frame_ns = now_ns
        self._counts.frames += 1
        self._counts.bytes += len(payload)
        kind, text = read_text(payload)
        self._counts.rare[f"text_{kind}"] += 1
        self._changes.append(Change(ChangeKind.TEXT, kind, text))
        return kind

    def receive_control(self, *, now_ns: int) -> None:
        """A ping or pong came: a sign of life."""
        self._frame_ns = now_ns

    def confirm(self, tokens: Iterable[int]) -> None:
        """The first packet of the wanted mode came for these."""
        if self._state is not SessionState.OPEN:
            return  # from the last frame of a connection that has ended
        if self._subscriptions.confirm(tokens):
            self._confirmation.tell()

    # -- time --------------------------------------------------------------------------------------------------------

    def next_deadline_ns(self) -> int | None:
        """When `on_deadline` must be called at the latest; nothing: only an event can help."""
        settings = self._settings
        match self._state:
            case SessionState.OPEN:
                maybe = (self._subscriptions.next_due_ns, self._flow.due_ns, self._flow.question_due_ns)
                due = [at_ns for at_ns in maybe if at_ns is not None]
                due.append(self._frame_ns + settings.silence_ms * MILLISECOND_NS)
                if self._used != self._credentials:
                    due.append(self._ticks_ns + settings.recycle_quiet_ms * MILLISECOND_NS)
                return min(due)
            case SessionState.BACKING_OFF | SessionState.RATE_LIMITED:
                return self._setbacks.resume_ns
            case _:
                return None

    def on_deadline(self, *, now_ns: int) -> None:
        """Do what is due; harmless when nothing is."""
        match self._state:
            case SessionState.OPEN:
                quiet_ms = (now_ns - self._frame_ns) // MILLISECOND_NS
                if quiet_ms >= self._settings.silence_ms:
                    limit = self._settings.silence_ms
                    self.lost(CloseReason.SILENT, now_ns=now_ns, text=f"no frame for {quiet_ms} ms, {limit} allowed")
                    return
                if self._used != self._credentials and self._recycle_if_idle(now_ns):
                    return
                if self._climb(now_ns):
                    return
                self._ask_whether_it_answers(now_ns)
                self._subscriptions.repeat(now_ns=now_ns)
                self._confirmation.relist()
            case SessionState.BACKING_OFF | SessionState.RATE_LIMITED if now_ns >= self._setbacks.resume_ns:
                self._move(Cause.DUE)
            case _:
                pass

    # -- sending -----------------------------------------------------------------------------------------------------

    def outgoing(self, *, now_ns: int) -> Outgoing:
        """Messages that bring the broker from what it was asked to what is wanted; taken as sent."""
        if self._state is not SessionState.OPEN:
            return _NOTHING
        outgoing = self._subscriptions.outgoing(now_ns=now_ns)
        self._counts.rare["resubscribed"] += outgoing.repeated
        if outgoing.asked:
            self._flow.asked(outgoing.asked, now_ns=now_ns)
        self._confirmation.tell()
        return outgoing

    # -- private -----------------------------------------------------------------------------------------------------

    def _move(self, cause: Cause) -> None:
        self._state = next_state(self._state, cause)

    def _failed(self, reason: CloseReason, text: str) -> None:
        self._note_close(reason, text)
        self._changes.append(Change(ChangeKind.FAILED, reason, self._setbacks.text))

    def _closed(self, reason: CloseReason, text: str, *, quiet_ns: int = 0) -> None:
        self._note_close(reason, text)
        self._forget_connection()
        self._flow.disconnected()
        self._changes.append(Change(ChangeKind.CLOSED, reason, self._setbacks.text, quiet_ns))

    def _note_close(self, reason: CloseReason, text: str) -> None:
        self._setbacks.note(reason, text)
        self._counts.rare[f"closed_{reason}"] += 1

    def _forget_connection(self) -> None:
        self._subscriptions.forget()
        self._confirmation.begin()

    def _recycle_if_idle(self, now_ns: int) -> bool:
        assert self._used is not None
        assert self._credentials is not None
        other_key = self._used.api_key != self._credentials.api_key
        idle = now_ns - self._ticks_ns >= self._settings.recycle_quiet_ms * MILLISECOND_NS
        if self._used == self._credentials or not (other_key or idle):
            return False
        self._move(Cause.CREDENTIALS)
        text = "other API key" if other_key else "no ticks; proving the new token"
        self._closed(CloseReason.CREDENTIALS, text, quiet_ns=now_ns - self._flow.sure_ns(self._frame_ns))
        return True

    def _watch_flow(self, now_ns: int) -> None:
        tokens = self._subscriptions.tokens
        if self._flow.watch(len(self._trading(tokens)), wanted=len(tokens), now_ns=now_ns):
            self._changes.append(Change(ChangeKind.FLOWING))

    def _trading(self, tokens: Iterable[int]) -> list[int]:
        market = self._market
        return [] if market is None else [token for token in tokens if market[segment_of(token)]]

    def _ask_whether_it_answers(self, now_ns: int) -> None:
        due_ns = self._flow.question_due_ns
        if due_ns is not None and now_ns >= due_ns:
            tokens = self._trading(self._subscriptions.come)
            self._subscriptions.ask_for_cached(tokens)
            self._flow.questioned(len(tokens), now_ns=now_ns)

    def _climb(self, now_ns: int) -> bool:
        """Take the next step against muteness if it is due; whether it cost the connection."""
        reported = self._flow.reported
        action = self._flow.act(now_ns=now_ns)
        if action is None:
            if reported and not self._flow.reported:
                self._changes.append(Change(ChangeKind.FLOWING))
            return False
        text = f"{(now_ns - self._flow.whole_ns) // MILLISECOND_NS} ms without a tick although the market is open"
        self._counts.rare[f"mute_{action}"] += 1
        match action:
            case Action.RESUBSCRIBE:
                self._subscriptions.ask_again()
                self._changes.append(Change(ChangeKind.MUTE, action, text, self._flow.asked_for_all(now_ns=now_ns)))
            case Action.RECONNECT:
                self._changes.append(Change(ChangeKind.MUTE, action, text))
                self.lost(CloseReason.MUTE, now_ns=now_ns, text=text)
            case Action.REPORT:
                self._changes.append(Change(ChangeKind.MUTE, action, text))
        return action is Action.RECONNECT
