"""Settings of ``tickershard operator``, frozen at the door. Below this file nobody reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from ticker_common.settings import ProgramSettings
from ticker_crds.constants import REPRICE_MS_MIN, YEARLY_MAX, YEARLY_MIN
from ticker_operator.desired import ShardKnobs
from ticker_operator.model import Strategy
from ticker_operator.planning import FailoverLimits
from ticker_operator.reconcile.decide import Policy
from ticker_operator.reconcile.gather import Rules
from ticker_operator.reconcile.heartbeats import GAP_NS
from ticker_operator.reconcile.loop import LoopSettings
from ticker_operator.reconcile.reloader import Timing

SECOND_NS: Final = 1_000_000_000
NAME: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
PREFIX: Final = r"^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)*$"


def addresses(value: tuple[str, ...]) -> tuple[str, ...]:
    """Endpoints that accounts may name, without a closing slash; refused with the form that they must have."""
    for url in value:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname or parts.query or parts.username:
            raise ValueError("must be ws(s)://host[:port][/path] or http(s)://host[:port][/path]")
    return tuple(url.rstrip("/") for url in value)


class OperatorSettings(ProgramSettings):
    """Everything the operator is told. Secrets never pass here: the operator needs none."""

    model_config = SettingsConfigDict(env_prefix="TICKERSHARD_OPERATOR_")

    namespace: str = Field(
        "default", description="The pool: the namespace that is watched.", max_length=63, pattern=NAME
    )
    kubeconfig: Path | None = Field(
        None, description="A kubeconfig, instead of the pod's service account (or the usual kubeconfig outside a pod)."
    )
    lease_name: str = Field(
        "tickershard-operator",
        description="The Lease that one operator of the pool holds.",
        max_length=63,
        pattern=NAME,
    )
    endpoints_allowed: tuple[str, ...] = Field(
        (), description="An address beside the broker's own that an account may name (a simulator's)."
    )

    # planning
    strategy: Strategy = Field(Strategy.ROUND_ROBIN, description="How instruments are spread over accounts.")
    quiet_ms: int = Field(1_000, description="A change waits for so much quiet.", ge=0, le=60_000)
    plan_interval_s: float = Field(5.0, description="Under load, at most one full plan in this time.", ge=0.1, le=600)
    resync_s: float = Field(60.0, description="Everything is listed afresh this often.", ge=1, le=3_600)
    detect_after_s: float = Field(
        5.0, description="A shard without a sign of life for so long is silent.", gt=3, le=600
    )
    move_after_s: float = Field(15.0, description="A silent shard's instruments move after so long.", gt=3, le=3_600)
    start_after_s: float = Field(
        180.0, description="A new shard may take so long to its first sign of life.", ge=1, le=7_200
    )
    hold_down_s: float = Field(
        60.0, description="After a failure an account gets nothing new for so long.", ge=0, le=7_200
    )
    drain_deadline_s: float = Field(
        300.0, description="A deleted account may take so long to give its instruments away.", ge=0, le=86_400
    )
    max_moves_per_minute: int = Field(600, description="Moves for balance alone.", ge=0, le=1_000_000)

    # shards
    shard_image: str = Field(description="Image of the shards.", min_length=1, max_length=1_024)
    shard_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        None, description="Of the shards' image."
    )
    shard_image_pull_secrets: tuple[str, ...] = Field((), description="Name of a Secret to pull the image with.")
    redis_secret: str = Field(
        "tickershard-redis",
        description="Secret whose key url is mounted into the shards.",
        max_length=253,
        pattern=NAME,
    )
    prefix: str = Field(
        "ticker",
        description="What every Redis name begins with.",
        max_length=64,
        pattern=PREFIX,
    )
    shard_window_ms: int | None = Field(
        None, description="A batch leaves at the latest after this time.", ge=1, le=10_000
    )
    shard_ticks_max: int | None = Field(None, description="A batch leaves at the latest with so many.", ge=1, le=10_000)
    shard_silence_ms: int | None = Field(None, description="No frame for so long: reconnect.", ge=1_000, le=120_000)
    shard_mute_ms: int | None = Field(None, description="Only heartbeats for so long: act.", ge=1_000, le=600_000)
    shard_market_hours: Literal["schedule", "always", "never"] | None = Field(
        None, description="Whether the market is open: by the weekly schedule, always (a simulated day), never."
    )
    shard_confirm_after_s: float | None = Field(
        None, description="An instrument without a packet for so long is waited for no more.", ge=0.1, le=600
    )
    shard_rate: float | None = Field(None, description="Interest a year for pricing options, as a fraction.")
    shard_dividend_yield: float | None = Field(None, description="Dividends a year, as a fraction.")
    shard_underlying_stale_s: float | None = Field(
        None, description="An underlying's price that is older prices no option.", ge=0.5, le=3_600
    )
    shard_reprice_ms: int | None = Field(
        None, description="An option follows its underlying at the latest after this time; 0 = off.", ge=0, le=60_000
    )
    shard_stream_max: int | None = Field(
        None,
        description="Messages that each channel's stream keeps, for replay; 0 = there is none.",
        ge=0,
        le=1_000_000,
    )
    shard_circuit_failures: int | None = Field(
        None, description="So many failures of Redis in a row open the circuit.", ge=1, le=10
    )
    shard_circuit_wait_first_ms: int | None = Field(
        None, description="While it is open: the wait before the first attempt; it doubles.", ge=10, le=1_000
    )
    shard_circuit_wait_max_ms: int | None = Field(None, description="The longest such wait.", ge=50, le=1_900)
    shard_backpressure_fill: float | None = Field(
        None, description="A queue this full, as a fraction of its ceiling: newest values only.", ge=0.1, le=1
    )
    shard_backpressure_conflate_ms: int | None = Field(
        None, description="Redis took nothing for so long: newest values only.", ge=100, le=60_000
    )
    shard_backpressure_shed_ms: int | None = Field(
        None, description="Redis took nothing for so long: options are not priced again either.", ge=200, le=120_000
    )
    shard_backpressure_calm_ms: int | None = Field(
        None, description="So long below half of a threshold: one level back.", ge=100, le=60_000
    )
    shard_drain_deadline_s: int = Field(90, description="A shard waits so long for its successor.", ge=0, le=600)
    shard_log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Of the shards.")
    rollout_deadline_s: int = Field(600, description="A roll-out that takes longer is stalled.", ge=30, le=86_400)
    shard_resources: dict[str, Any] = Field(default_factory=dict, description="Requests and limits, as JSON.")
    shard_pod_labels: dict[str, str] = Field(default_factory=dict, description="Labels of the pods, as JSON.")
    shard_pod_annotations: dict[str, str] = Field(default_factory=dict, description="Annotations of the pods, as JSON.")
    shard_node_selector: dict[str, str] = Field(default_factory=dict, description="Node selector, as JSON.")
    shard_tolerations: tuple[dict[str, Any], ...] = Field((), description="A toleration, as JSON.")
    shard_affinity: dict[str, Any] = Field(default_factory=dict, description="Affinity, as JSON.")
    shard_priority_class: str | None = Field(None, description="PriorityClass of the pods.", max_length=253)

    # process
    host: str = Field("0.0.0.0", description="Where probes and metrics listen.")  # noqa: S104 - kubelet asks the pod's address
    port: int = Field(8080, description="Port of probes and metrics; 0 = any free one.", ge=0, le=65_535)
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least important line.")

    @field_validator("shard_rate", "shard_dividend_yield")
    @classmethod
    def _fraction(cls, value: float | None) -> float | None:
        if value is not None and not YEARLY_MIN <= value <= YEARLY_MAX:  # also refuses what is not a number
            raise ValueError(
                f"must be a fraction a year between {YEARLY_MIN} and {YEARLY_MAX} (6.5 % is 0.065), this is {value}"
            )
        return value

    @field_validator("shard_reprice_ms")
    @classmethod
    def _off_or_bounded(cls, value: int | None) -> int | None:
        if value is not None and 0 < value < REPRICE_MS_MIN:
            raise ValueError(f"must be 0 (off) or at least {REPRICE_MS_MIN}, this is {value}")
        return value

    @field_validator("endpoints_allowed")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return addresses(value)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.move_after_s <= self.detect_after_s:
            raise ValueError(
                f"move_after_s ({self.move_after_s:g}) must be above detect_after_s ({self.detect_after_s:g}): a shard "
                "is silent before it is lost"
            )
        assert self.detect_after_s * SECOND_NS > GAP_NS
        first_ms, max_ms = self.shard_circuit_wait_first_ms, self.shard_circuit_wait_max_ms
        if first_ms is not None and max_ms is not None and first_ms > max_ms:
            raise ValueError(
                f"shard_circuit_wait_first_ms ({first_ms}) must not be above shard_circuit_wait_max_ms ({max_ms})"
            )
        conflate_ms, shed_ms = self.shard_backpressure_conflate_ms, self.shard_backpressure_shed_ms
        if conflate_ms is not None and shed_ms is not None and conflate_ms >= shed_ms:
            raise ValueError(
                f"shard_backpressure_conflate_ms ({conflate_ms}) must be below shard_backpressure_shed_ms ({shed_ms})"
            )
        return self

    def knobs(self) -> ShardKnobs:
        """What a shard's template is rendered from."""
        return ShardKnobs(
            image=self.shard_image,
            redis_secret=self.redis_secret,
            image_pull_policy=self.shard_image_pull_policy,
            image_pull_secrets=self.shard_image_pull_secrets,
            prefix=self.prefix,
            window_ms=self.shard_window_ms,
            ticks_max=self.shard_ticks_max,
            silence_ms=self.shard_silence_ms,
            mute_ms=self.shard_mute_ms,
            market_hours=self.shard_market_hours,
            confirm_after_s=self.shard_confirm_after_s,
            rate=self.shard_rate,
            dividend_yield=self.shard_dividend_yield,
            underlying_stale_s=self.shard_underlying_stale_s,
            reprice_ms=self.shard_reprice_ms,
            stream_max=self.shard_stream_max,
            circuit_failures=self.shard_circuit_failures,
            circuit_wait_first_ms=self.shard_circuit_wait_first_ms,
            circuit_wait_max_ms=self.shard_circuit_wait_max_ms,
            backpressure_fill=self.shard_backpressure_fill,
            backpressure_conflate_ms=self.shard_backpressure_conflate_ms,
            backpressure_shed_ms=self.shard_backpressure_shed_ms,
            backpressure_calm_ms=self.shard_backpressure_calm_ms,
            drain_deadline_s=self.shard_drain_deadline_s,
            log_level=self.shard_log_level,
            rollout_deadline_s=self.rollout_deadline_s,
            resources=self.shard_resources,
            pod_labels=self.shard_pod_labels,
            pod_annotations=self.shard_pod_annotations,
            node_selector=self.shard_node_selector,
            tolerations=self.shard_tolerations,
            affinity=self.shard_affinity,
            priority_class=self.shard_priority_class,
        )

    def loop(self) -> LoopSettings:
        """The loop's part."""
        return LoopSettings(
            rules=Rules(
                namespace=self.namespace,
                endpoints_allowed=frozenset(self.endpoints_allowed),
                drain_deadline_s=self.drain_deadline_s,
            ),
            policy=Policy(
                knobs=self.knobs(),
                prefix=self.prefix,
                strategy=self.strategy,
                limits=FailoverLimits(
                    detect_after_ns=int(self.detect_after_s * SECOND_NS),
                    move_after_ns=int(self.move_after_s * SECOND_NS),
                    start_after_ns=int(self.start_after_s * SECOND_NS),
                    hold_down_ns=int(self.hold_down_s * SECOND_NS),
                ),
            ),
            timing=Timing(quiet_s=self.quiet_ms / 1e3, interval_s=self.plan_interval_s, resync_s=self.resync_s),
            moves_per_minute_max=self.max_moves_per_minute,
        )
