"""The simulator's settings."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from ticker_common.settings import ProgramSettings


class SimulatorSettings(ProgramSettings):
    """What `tickershard simulator` can be told."""

    model_config = SettingsConfigDict(env_prefix="TICKERSHARD_SIMULATOR_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65_535, description="Port to listen on; 0 takes any free one.")
    seed: int = Field(1, ge=0, description="All chance is made from it.")
    day: dt.date | None = Field(None, description="Trading day (YYYY-MM-DD); without it, today in India.")
    open_at: dt.time = Field(dt.time(9, 15), description="Where the simulated clock starts, in India.")
    speed: float = Field(1.0, gt=0, le=10_000, description="Simulated seconds per second.")
    ticks_per_second: float = Field(
        1_000, ge=0, le=1_000_000, description="Changes per second over all subscribed instruments."
    )
    frame_packets: int = Field(200, ge=1, le=3_000, description="Most packets in one frame.")
    credentials_file: Path | None = Field(
        None,
        description="JSON list of {api_key, api_secret, access_token, user_id}; default: simkey1, simtoken1, … to 9.",
    )
    accept_any: bool = Field(False, description="Any key with any token is good.")
    greeting: bool = Field(True, description="Send the text instruments_meta after an upgrade.")
    rate_limits: bool = Field(True, description="Enforce the REST API's limits per key.")
    sockets_per_key: int = Field(3, ge=1, le=100, description="Open sockets of a key; one more is answered with 429.")
    instruments_per_socket: int = Field(3_000, ge=1, le=100_000, description="Tokens of a socket; more are refused.")
    heartbeat_ms: int = Field(1_000, ge=10, le=60_000, description="Silence after which a 1-byte frame is sent.")
    token_expires_at: dt.time = Field(
        dt.time(6), description="When access tokens die, in India, by the simulated clock."
    )
    login_replaces: bool = Field(False, description="A login kills the key's earlier tokens (reported both ways).")
    refused_body: bool = Field(False, description="Give refused upgrades the REST error as body (undocumented).")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
