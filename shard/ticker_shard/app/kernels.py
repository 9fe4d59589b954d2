"""Every kernel of the shard, compiled before it is needed: ``python -m ticker_shard.app.kernels``.

The shard calls `warm_up` before it connects: with a warm cache that loads machine code (a fraction of a second), with a
cold one it compiles (many seconds), and either is over before the first frame. The image runs this module while it is
built, once more for processors without AVX2, and ``make kernels`` runs it before the tests.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from typing import Final

from ticker_common.logs import configure_logging
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.publish.encode import make_encoders
from ticker_shard.publish.encode import warm_up as warm_up_encoders
from ticker_shard.ticks import Engine, InstrumentState, TickProcessor, build_instruments

log = logging.getLogger(__name__)

_TOKEN: Final = 256 + 2
# Two packets, of 184 bytes and of 8: one frame, as the broker would send it.
_FRAME: Final = b"\x00\x02" + b"".join(
    len(packet).to_bytes(2) + packet for packet in (_TOKEN.to_bytes(4) + bytes(180), _TOKEN.to_bytes(4) + bytes(4))
)


def warm_up(engine: Engine) -> Engine:
    """Load or compile whatever the shard will call; how frames are taken then.

    Parameters
    ----------
    engine
        As in the settings.

    Raises
    ------
    EngineMissingError
        When the native engine was asked for and cannot be had.
    """
    started = time.perf_counter()
    used = _warm_up_ticks(engine)
    if importlib.util.find_spec("numba") is not None:
        _warm_up_pricing()
    warm_up_encoders(make_encoders(native=used is Engine.NATIVE).values())
    log.info("kernels are ready", extra={"engine": used.value, "seconds": round(time.perf_counter() - started, 3)})
    return used


def _warm_up_ticks(engine: Engine) -> Engine:
    row = AssignedInstrument(_TOKEN, "NFO", "WARM-UP", Mode.FULL, ("warm-up",))
    processor = TickProcessor(state=InstrumentState(), engine=engine)
    processor.configure(build_instruments(AssignmentTable("", 1, (Channel("warm-up"),), (row,))))
    if engine is Engine.AUTO and processor.engine is Engine.NUMPY:
        log.warning("frames are taken by numpy: numba cannot be imported")
    processor.warm_up(_FRAME)
    return processor.engine


def _warm_up_pricing() -> None:
    from ticker_shard.ticks import greeks_native

    greeks_native.warm_up()


if __name__ == "__main__":
    configure_logging(level="info")
    warm_up(Engine.AUTO)
