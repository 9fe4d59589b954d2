"""Ticks as columns: decode, validate, newest state per instrument. Pure."""

from ticker_shard.ticks.decode import DecodedFrame, FrameFault, FrameReport, decode_frame
from ticker_shard.ticks.engine import Engine, EngineMissingError
from ticker_shard.ticks.greeks import GreeksCalculator
from ticker_shard.ticks.instruments import InstrumentTable, build_instruments, divisor_of, segment_of
from ticker_shard.ticks.processor import ProcessedFrame, TickProcessor
from ticker_shard.ticks.quarantine import Quarantine, Sample
from ticker_shard.ticks.rows import (
    Greek,
    PacketKind,
    PricingOutcome,
    Slots,
    TickRows,
    Word,
    empty_rows,
    join_rows,
    unpriced_rows,
)
from ticker_shard.ticks.state import InstrumentState
from ticker_shard.ticks.underlying import PricingRules
from ticker_shard.ticks.validate import RejectReason, RowFlag, TickValidator, ValidationRules

__all__ = [
    "DecodedFrame",
    "Engine",
    "EngineMissingError",
    "FrameFault",
    "FrameReport",
    "Greek",
    "GreeksCalculator",
    "InstrumentState",
    "InstrumentTable",
    "PacketKind",
    "PricingOutcome",
    "PricingRules",
    "ProcessedFrame",
    "Quarantine",
    "RejectReason",
    "RowFlag",
    "Sample",
    "Slots",
    "TickProcessor",
    "TickRows",
    "TickValidator",
    "ValidationRules",
    "Word",
    "build_instruments",
    "decode_frame",
    "divisor_of",
    "empty_rows",
    "join_rows",
    "segment_of",
    "unpriced_rows",
]
