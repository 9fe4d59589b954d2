"""How a history of hand-overs ended."""

from __future__ import annotations

from tests.support.handover_world import World, scaled_price


def one_holder_each(world: World) -> bool:
    """Each channel has exactly one process that believes it holds it, and Redis names that one."""
    holding = {
        channel: [pod.core.handover.process for pod in world.pods if pod.running and pod.core.handover.holds(channel)]
        for channel in world.channels
    }
    return holding == {channel: [world.twin.records[channel].holder] for channel in world.channels}


def newest_values(world: World) -> dict[str, dict[bytes, int]]:
    """What the last values say, in paise."""
    return {
        channel: {name: scaled_price(row) for name, row in world.twin.last[channel].items()}
        for channel in world.channels
    }


def market(world: World) -> dict[str, dict[bytes, int]]:
    """What they ought to say."""
    prices = {f"NFO:X{slot}".encode(): price for slot, price in world.prices.items()}
    return dict.fromkeys(world.channels, prices)
