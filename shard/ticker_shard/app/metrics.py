"""What ``/metrics`` shows, collected when it is asked for: the hot path pays nothing for it.

Labels are outcomes, reasons and names of our own making; never an instrument (9,000 series), a URL or a credential.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ticker_shard.feed import FeedStatus
from ticker_shard.publish.backpressure import BackpressureMonitor, Level
from ticker_shard.publish.breaker import BreakerState, CircuitBreaker
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.latency import Latency
from ticker_shard.publish.ledger import Ledger

NS_PER_S: Final = 1_000_000_000
BUCKETS_JOINED: Final = 4  # four of the latency's buckets double the time: 29 series
Families = Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]


@dataclass(slots=True)
class Counts:
    """What the wiring counts itself; plain numbers, exported as they are."""

    malformed: dict[str, int] = field(default_factory=dict)  # fault → frames or packets that could not be read
    flagged: dict[str, int] = field(default_factory=dict)  # flag → accepted rows that are odd
    tables: dict[str, int] = field(default_factory=dict)  # verdict or fault → tables read
    statuses: dict[str, int] = field(default_factory=dict)  # outcome → writes
    outages: dict[str, int] = field(default_factory=dict)  # cause → connections of confirmed instruments lost or mute
    stalls: dict[str, int] = field(default_factory=dict)  # stalled, asked, recovered, missed → instruments
    credentials: dict[str, int] = field(default_factory=dict)  # outcome → reads
    loop_lag_max_s: float = 0.0

    def add(self, group: dict[str, int], name: str, number: int = 1) -> None:
        """Count `number` more under `name`."""
        group[name] = group.get(name, 0) + number


@dataclass(frozen=True, slots=True)
class Sample:
    """Where the metrics are read."""

    ledger: Ledger
    latency: Latency
    feed: FeedStatus
    stalled: int
    counts: Counts
    deaths: Mapping[str, int]
    pricings: Mapping[str, int]
    repriced: int
    phase: Phase
    leaving: bool
    ready: bool
    speaks: bool
    assigned: int
    applied_revision: int
    acknowledged_revision: int
    engine: str
    crowded_frames: int
    circuit: CircuitBreaker
    backpressure: BackpressureMonitor
    refused_channels: int


class ShardCollector(Collector):
    """Turns a `Sample` into metric families."""

    def __init__(self, sample: Callable[[], Sample]) -> None:
        self._sample = sample

    def collect(self) -> Families:
        """All families, at this moment."""
        sample = self._sample()
        yield from _ledger(sample.ledger)
        yield _latency(sample.latency)
        yield from _feed(sample.feed)
        yield _gauge("instruments_stalled", "Instruments quiet for long on a socket that flows.", sample.stalled)
        yield from _process(sample)
        yield from _redis(sample)
        yield from _backpressure(sample.backpressure)
        for name, text, label, group in (
            ("malformed", "Frames and packets that could not be read.", "fault", sample.counts.malformed),
            ("flagged_rows", "Accepted rows that are odd.", "flag", sample.counts.flagged),
            ("assignment_tables", "Tables read, by what became of them.", "outcome", sample.counts.tables),
            ("credentials_reads", "Reads of the credentials, by outcome.", "outcome", sample.counts.credentials),
            ("status_writes", "Writes of the status, by outcome.", "outcome", sample.counts.statuses),
            ("feed_outages", "Connections lost that carried confirmed instruments.", "cause", sample.counts.outages),
            (
                "feed_stalls",
                "Instruments quiet on a flowing socket: what was found and done.",
                "event",
                sample.counts.stalls,
            ),
            ("option_pricings", "Option rows priced, by what became of them.", "outcome", sample.pricings),
            ("task_deaths", "Background tasks that ended although they must not.", "task", sample.deaths),
        ):
            yield _counter(name, text, label, group)


def make_registry(sample: Callable[[], Sample]) -> CollectorRegistry:
    """A registry of this process alone: ours, memory and CPU, garbage collection."""
    registry = CollectorRegistry()
    registry.register(ShardCollector(sample))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"tickershard_{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((str(key),), value)
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tickershard_{name}", text, value=value)


def _one_of(name: str, text: str, label: str, words: Iterable[str], *, now: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"tickershard_{name}", text, labels=(label,))
    for word in words:
        family.add_metric((word,), int(word == now))
    return family


def _transitions(name: str, text: str, counts: Mapping[tuple[str, str], int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"tickershard_{name}", text, labels=("from", "to"))
    for pair, count in counts.items():
        family.add_metric(pair, count)
    return family


def _ledger(ledger: Ledger) -> Families:
    rows = CounterMetricFamily(
        "tickershard_rows",
        "Rows times channels by what became of them; received is the sum of the others and of those in flight.",
        labels=("outcome", "reason"),
    )
    for outcome in ("received", "published", "conflated", "withheld", "superseded", "repeated"):
        rows.add_metric((outcome, ""), getattr(ledger, outcome))
    for reason, count in ledger.rejected.items():
        rows.add_metric(("rejected", str(reason)), count)
    for cause, count in ledger.dropped.items():
        rows.add_metric(("dropped", str(cause)), count)
    yield rows
    balance = ledger.balance()
    yield _gauge(
        "rows_in_flight", "Rows times channels in queues and unanswered calls, counted there.", balance.in_flight
    )
    yield _gauge("ledger_difference", "Received minus everything else: anything but 0 is a bug.", balance.difference)
    for name, text, value in (
        ("messages", "Messages accepted by Redis.", ledger.messages),
        ("messages_lost", "Messages given up: the holes in seq that consumers see.", ledger.lost_messages),
        ("rows_unrouted", "Rows of instruments that are not assigned.", ledger.unrouted),
        ("gap_records", "Gap records published.", ledger.gaps),
        ("gap_records_lost", "Gap records given up with their channel; its next holder declares.", ledger.lost_gaps),
    ):
        yield CounterMetricFamily(f"tickershard_{name}", text, value=value)
    seconds = CounterMetricFamily(
        "tickershard_gap_instrument_seconds",
        "Instruments times seconds of the gap records published.",
        labels=("cause",),
    )
    for reason, instrument_ns in ledger.gap_instrument_ns.items():
        seconds.add_metric((reason,), instrument_ns / NS_PER_S)
    yield seconds


def _redis(sample: Sample) -> Families:
    yield from _circuit(sample.circuit)
    yield _gauge(
        "channels_refused", "Channels that Redis refuses although it works; the others go on.", sample.refused_channels
    )


def _circuit(circuit: CircuitBreaker) -> Families:
    yield _one_of(
        "redis_circuit_state", "1 for the circuit's state.", "state", [state.value for state in BreakerState],
        now=circuit.state.value,
    )  # fmt: skip
    yield _transitions(
        "redis_circuit_transitions",
        "Changes of the circuit's state.",
        {(before.value, after.value): count for (before, after), count in circuit.transitions.items()},
    )


def _backpressure(monitor: BackpressureMonitor) -> Families:
    yield _one_of(
        "backpressure_level", "1 for how much gives way.", "level", [level.word for level in Level],
        now=monitor.level.word,
    )  # fmt: skip
    yield _transitions(
        "backpressure_transitions",
        "Changes of the level of backpressure.",
        {(before.word, after.word): count for (before, after), count in monitor.transitions.items()},
    )
    yield _gauge(
        "queue_fill", "The fullest queue, as a fraction of its ceiling, when last looked at.", monitor.load.fill
    )


def _latency(latency: Latency) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    total = 0
    for place, (edge_ms, count) in enumerate(zip(latency.edges_ms(), latency.counts, strict=True), start=1):
        total += count
        if place % BUCKETS_JOINED == 0:
            buckets.append((f"{edge_ms / 1e3:.6g}", total))
    buckets.append(("+Inf", total))
    return HistogramMetricFamily(
        "tickershard_publish_latency_seconds",
        "From a frame's arrival to Redis' acknowledgement, per row; rewrites excluded.",
        buckets=buckets,
        sum_value=latency.total_ns / NS_PER_S,
    )


def _feed(feed: FeedStatus) -> Families:
    states = GaugeMetricFamily(
        "tickershard_socket_state", "1 for the state each socket is in.", labels=("socket", "state")
    )
    totals: dict[str, int] = {}
    for number, socket in enumerate(feed.sockets):
        states.add_metric((str(number), socket.state.value), 1)
        for name, count in socket.counts.items():
            totals[name] = totals.get(name, 0) + count
    yield states
    yield _counter(
        "feed_events", "What happened on the sockets; closed_silent and mute_* are the watchdogs.", "event", totals
    )
    mute = sum(socket.mute_since_ns is not None for socket in feed.sockets)
    yield _gauge("sockets_mute", "Sockets with heartbeats and no ticks while the market is open.", mute)
    yield CounterMetricFamily(
        "tickershard_frame_errors",
        "Frames whose processing raised: a bug; the connection stays.",
        value=feed.callback_errors,
    )
    yield _gauge("sockets_open", "Sockets that are open.", feed.open)
    if feed.sockets_accepted is not None:
        text = "How many sockets the broker let stand when it last refused or displaced one; absent when it did not."
        yield _gauge("sockets_accepted", text, feed.sockets_accepted)
    yield _gauge("instruments_wanted", "Instruments the feed is to stream.", feed.wanted)
    yield _gauge("instruments_confirmed", "Instruments whose packet in the wanted mode came.", feed.confirmed)
    yield _gauge("instruments_unconfirmed", "Instruments given up for silent.", len(feed.unconfirmed))


def _process(sample: Sample) -> Families:
    yield _one_of(
        "phase", "1 for where this process is in the hand-over.", "phase", [phase.value for phase in Phase],
        now=sample.phase.value,
    )  # fmt: skip
    yield CounterMetricFamily(
        "tickershard_options_repriced",
        "Option rows published once more because their underlying moved.",
        value=sample.repriced,
    )
    yield _gauge("leaving", "1 while this process offers its channels.", int(sample.leaving))
    yield _gauge("ready", "What /readyz answers.", int(sample.ready))
    yield _gauge("speaks", "1 while this process has the shard's voice (its Lease).", int(sample.speaks))
    yield _gauge("instruments_assigned", "Instruments of the table in force.", sample.assigned)
    yield _gauge("assignment_applied_revision", "Revision of the table in force.", sample.applied_revision)
    yield _gauge("assignment_acknowledged_revision", "Revision acknowledged.", sample.acknowledged_revision)
    engine = GaugeMetricFamily("tickershard_engine", "1 for how frames are taken: native or numpy.", labels=("engine",))
    engine.add_metric((sample.engine,), 1)
    yield engine
    yield CounterMetricFamily(
        "tickershard_crowded_frames",
        "Frames with so many packets of one instrument that the native engine left them to numpy.",
        value=sample.crowded_frames,
    )
    yield _gauge("loop_lag_max_seconds", "The longest the event loop was late.", sample.counts.loop_lag_max_s)
