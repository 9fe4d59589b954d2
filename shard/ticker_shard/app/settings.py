"""Settings of ``tickershard shard``, frozen at the door. Below this file nobody reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from ticker_common.settings import ProgramSettings
from ticker_crds.constants import (
    ACCOUNT_NAME_CHARS_MAX,
    INSTRUMENTS_PER_SOCKET_MAX,
    REPRICE_MS_MIN,
    SOCKETS_MAX,
    YEARLY_MAX,
    YEARLY_MIN,
)
from ticker_shard.ticks.engine import Engine
from ticker_shard.ticks.sessions import MarketHours

_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


class ShardSettings(ProgramSettings):
    """Everything one shard process is told. Secrets come from files, never from here."""

    model_config = SettingsConfigDict(env_prefix="TICKERSHARD_SHARD_")

    account: str = Field(
        description="The account whose shard this is.", min_length=1, max_length=ACCOUNT_NAME_CHARS_MAX, pattern=_NAME
    )
    namespace: str = Field("default", description="The pool: its namespace.", max_length=63, pattern=_NAME)
    source: Literal["kubernetes", "folder"] = Field(
        "kubernetes", description="Where assignment and token come from and the status goes to."
    )
    folder: Path | None = Field(None, description="With source=folder: the account's folder.")
    secret_name: str | None = Field(
        None, description="With source=kubernetes: the Secret that holds api_key and access_token.", max_length=253
    )
    instance: str | None = Field(
        None,
        description="With source=kubernetes: the pod's UID. With a folder it is read from the file instance-id.",
        max_length=128,
        pattern=r"^[A-Za-z0-9._-]+$",
    )
    ticker_url: str = Field("wss://ws.kite.trade", description="The broker's socket (ws:// or wss://).")
    sockets: int = Field(1, description="Sockets of this account.", ge=1, le=SOCKETS_MAX)
    instruments_per_socket: int = Field(
        INSTRUMENTS_PER_SOCKET_MAX, description="Instruments on one socket.", ge=1, le=INSTRUMENTS_PER_SOCKET_MAX
    )
    redis_url_file: Path = Field(description="A file that holds the Redis URL; read again when it changes.")
    prefix: str = Field(
        "ticker",
        description="What every Redis name begins with; an ACL may limit the user to it.",
        max_length=64,
        pattern=r"^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)*$",
    )
    window_ms: int = Field(100, description="A batch leaves at the latest after this time.", ge=1, le=10_000)
    ticks_max: int = Field(1_000, description="A batch leaves at the latest with this many ticks.", ge=1, le=10_000)
    silence_ms: int = Field(7_000, description="No frame for so long: reconnect.", ge=1_000, le=120_000)
    mute_ms: int = Field(
        12_000,
        description="Only heartbeats for so long, the market open: subscribe again, then reconnect, then report.",
        ge=1_000,
        le=600_000,
    )
    stall_floor_s: float = Field(
        60.0, description="An instrument on a socket that flows is never called stalled for less.", ge=2, le=3_600
    )
    stall_multiple: float = Field(
        25.0, description="An instrument is stalled after so many times its mean pause, or longer.", gt=1, le=1_000
    )
    engine: Engine = Field(
        Engine.AUTO,
        description="How frames are taken: native (one compiled pass), numpy (the reference), or auto.",
    )
    validation: bool = Field(
        True,
        description="Refuse rows that cannot be true; off, only what would corrupt the newest values is refused.",
    )
    market_hours: MarketHours = Field(
        MarketHours.SCHEDULE,
        description="Whether the market is open: by the weekly schedule, always (a simulated day), or never.",
    )
    confirm_after_s: float = Field(
        9.0,
        description="An instrument without a packet for so long is listed as unconfirmed and waited for no more.",
        ge=0.1,
        le=600,
    )
    stream_max: int = Field(
        0,
        description="Messages that each channel's stream in Redis keeps, about; 0 = there is none.",
        ge=0,
        le=1_000_000,
    )
    circuit_failures: int = Field(
        2,
        description="So many failures of Redis in a row open the circuit: rows wait, the newest of each.",
        ge=1,
        le=10,
    )
    circuit_wait_first_ms: int = Field(
        50, description="While the circuit is open: the wait before the first attempt; it doubles.", ge=10, le=1_000
    )
    circuit_wait_max_ms: int = Field(
        1_000,
        description="The longest such wait. A lost call and one wait must not make a living shard look silent (4 s).",
        ge=50,
        le=1_900,
    )
    backpressure_fill: float = Field(
        0.8, description="A queue this full, as a fraction of its ceiling, keeps newest values only.", ge=0.1, le=1
    )
    backpressure_conflate_ms: int = Field(
        1_000, description="Redis took nothing for so long: newest values only.", ge=100, le=60_000
    )
    backpressure_shed_ms: int = Field(
        2_500, description="Redis took nothing for so long: options are not priced again either.", ge=200, le=120_000
    )
    backpressure_calm_ms: int = Field(
        1_000,
        description="So long below half of a threshold, and its level of backpressure is left.",
        ge=100,
        le=60_000,
    )
    drain_deadline_s: float = Field(90.0, description="After SIGTERM, the longest wait for a successor.", ge=0, le=600)
    rate: float = Field(
        0.065,
        description="Interest a year for pricing options, continuously compounded, as a fraction (0.065 = 6.5 %).",
    )
    dividend_yield: float = Field(
        0.0,
        description="Dividends a year, as a fraction; used where an option is priced on its index or equity itself.",
    )
    underlying_stale_s: float = Field(
        15.0, description="An underlying's price that is older prices no option.", ge=0.5, le=3_600
    )
    reprice_ms: int = Field(
        1_000,
        description="An option follows its underlying at the latest after this time; 0 = only when it ticks itself.",
        ge=0,
        le=60_000,
    )
    host: str = Field("0.0.0.0", description="Where probes and metrics listen.")  # noqa: S104 - kubelet asks the pod's address
    port: int = Field(8080, description="Port of probes and metrics; 0 = any free one.", ge=0, le=65_535)
    api_url: str | None = Field(
        None, description="The API server, if not the one of KUBERNETES_SERVICE_HOST and _PORT (https://host:port)."
    )
    service_account_dir: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        description="Where the pod's token and CA certificate lie; the token is read again before it expires.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least important line.")

    @field_validator("ticker_url")
    @classmethod
    def _socket_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError("must be ws://host[:port] or wss://host[:port]")
        if parts.query or parts.username or parts.password:
            raise ValueError("must not carry credentials or a query: they come from the account's token")
        return value

    @field_validator("rate", "dividend_yield")
    @classmethod
    def _fraction(cls, value: float) -> float:
        if not YEARLY_MIN <= value <= YEARLY_MAX:  # also refuses what is not a number
            raise ValueError(
                f"must be a fraction a year between {YEARLY_MIN} and {YEARLY_MAX} (6.5 % is 0.065), this is {value}"
            )
        return value

    @field_validator("reprice_ms")
    @classmethod
    def _off_or_bounded(cls, value: int) -> int:
        if 0 < value < REPRICE_MS_MIN:
            raise ValueError(f"must be 0 (off) or at least {REPRICE_MS_MIN}, this is {value}")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.circuit_wait_first_ms > self.circuit_wait_max_ms:
            raise ValueError(
                f"circuit_wait_first_ms ({self.circuit_wait_first_ms}) must not be above circuit_wait_max_ms "
                f"({self.circuit_wait_max_ms})"
            )
        if self.backpressure_conflate_ms >= self.backpressure_shed_ms:
            raise ValueError(
                f"backpressure_conflate_ms ({self.backpressure_conflate_ms}) must be below backpressure_shed_ms "
                f"({self.backpressure_shed_ms})"
            )
        return self

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "folder" and self.folder is None:
            raise ValueError("source=folder needs --folder (TICKERSHARD_SHARD_FOLDER): the account's folder")
        if self.source == "kubernetes":
            if self.secret_name is None:
                raise ValueError("source=kubernetes needs --secret-name (TICKERSHARD_SHARD_SECRET_NAME)")
            if self.instance is None:
                raise ValueError("source=kubernetes needs --instance (TICKERSHARD_SHARD_INSTANCE): the pod's UID")
        return self

    @property
    def capacity(self) -> int:
        """Instruments that fit on this account's sockets."""
        return self.sockets * self.instruments_per_socket
