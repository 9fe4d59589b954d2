"""A consumer that only listens: every message of a pool, with its time of arrival, for judges to read afterwards."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from tests.support.shard_checks import Verdict, judge_stream

POLL_S = 0.1


@dataclass(frozen=True)
class Heard:
    """One message."""

    at_s: float
    channel: str
    message: Mapping[str, Any]

    @property
    def source(self) -> tuple[str, str]:
        """Account's shard and channel: sequence numbers count within them."""
        return str(self.message["shard"]), self.channel

    def symbols(self) -> set[str]:
        return {row["symbol"] for row in self.message["ticks"]}


@dataclass(repr=False)
class Tape:
    """What was heard; `mark` and `since` cut it into acts of a test."""

    heard: list[Heard] = field(default_factory=list)
    failure: BaseException | None = None

    def mark(self) -> int:
        return len(self.heard)

    def since(self, mark: int) -> list[Heard]:
        if self.failure is not None:
            raise AssertionError("the tape broke") from self.failure
        return self.heard[mark:]

    def listen(self, server: redis.Redis, pattern: str, stop: threading.Event) -> None:
        """Record until told to stop."""
        try:
            while not stop.is_set():
                try:
                    self._listen_until_broken(server, pattern, stop)
                except (redis.ConnectionError, redis.TimeoutError):
                    time.sleep(POLL_S)  # Redis was restarted; whatever was missed now shows as a hole in the numbers
        except BaseException as error:  # shown by the next `since`
            self.failure = error

    def _listen_until_broken(self, server: redis.Redis, pattern: str, stop: threading.Event) -> None:
        with server.pubsub() as subscription:  # type: ignore[no-untyped-call]
            subscription.psubscribe(pattern)
            while not stop.is_set():
                got = subscription.get_message(ignore_subscribe_messages=True, timeout=POLL_S)
                if got is not None:
                    self.heard.append(Heard(time.monotonic(), got["channel"].decode(), json.loads(got["data"])))


@contextmanager
def recording(server: redis.Redis, pattern: str) -> Iterator[Tape]:
    """A tape that runs in a thread of its own."""
    tape, stop = Tape(), threading.Event()
    thread = threading.Thread(target=tape.listen, args=(server, pattern, stop))
    thread.start()
    try:
        yield tape
    finally:
        stop.set()
        thread.join()


def judge(heard: Iterable[Heard], *, silence_s: float) -> dict[tuple[str, str], Verdict]:
    """A verdict for each shard and channel: holes in its numbers, two publishers, silences."""
    streams: dict[tuple[str, str], list[tuple[float, Mapping[str, Any]]]] = {}
    for each in heard:
        streams.setdefault(each.source, []).append((each.at_s, each.message))
    return {source: judge_stream(messages, silence_s=silence_s) for source, messages in streams.items()}


def silences(
    heard: Iterable[Heard],
    symbols: Iterable[str],
    *,
    start_s: float,
    end_s: float,
    ran_s: Callable[[float, float], float] = lambda start_s, end_s: end_s - start_s,
) -> dict[str, float]:
    """The longest time for which each of `symbols` was heard from nobody, within [start, end].

    `ran_s` says for how much of an interval the processes could run at all.
    """
    last = dict.fromkeys(symbols, start_s)
    longest = dict.fromkeys(last, 0.0)

    def end_of_silence(symbol: str, at_s: float) -> None:
        if at_s - last[symbol] > longest[symbol]:
            longest[symbol] = max(longest[symbol], ran_s(last[symbol], at_s))

    for each in heard:
        if start_s <= each.at_s <= end_s:
            for symbol in each.symbols() & last.keys():
                end_of_silence(symbol, each.at_s)
                last[symbol] = each.at_s
    for symbol in last:
        end_of_silence(symbol, end_s)
    return longest
