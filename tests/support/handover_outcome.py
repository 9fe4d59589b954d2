"""How a history of hand-overs ended."""

from __future__ import annotations

from tests.support.handover_world import World, scaled_price
from tests.support.lane_world import LaneWorld


def one_holder_each(world: World) -> bool:
    """Each channel has exactly one process that believes it holds it, and Redis names that one."""
    holding = {
        channel: [pod.core.handover.process for pod in world.pods if pod.running and pod.core.handover.holds(channel)]
        for channel in world.channels
    }
    return holding == {channel: [world.twin.records[channel].holder] for channel in world.channels}


def holders_of_everything(world: World) -> list[str]:
    """Processes that hold all that they are to publish: every channel, and every lane of it."""
    shards = [(pod.name, pod.core.handover) for pod in world.pods if pod.running]
    return [name for name, handover in shards if handover.held and set(handover.held) == set(handover.channels)]


def one_voice_each(world: LaneWorld) -> bool:
    """Each instrument is published by one process, in each channel."""
    return all(len(world.voices(channel, slot)) == 1 for channel in world.channels for slot in world.prices)


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
