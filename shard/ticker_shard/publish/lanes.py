"""Lanes: an account's instruments in as many parts as it has sockets, so that they can change hands socket by socket.

Each lane of a channel has a fence record, message numbers and an owner's name of its own: lane 1 those that an account
with one socket has, lane k those of the member ``<account>/<k>``. Inside this room a lane is simply a channel of its
own, under `lane_name`; only at the doors is it split again into the channel and the member. Which instrument is in
which lane follows from the table and the number of parts alone (`ticker_shard.ticks.placement`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ticker_crds import AssignedInstrument
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.placement import place

_MARK = "/"  # no channel's name holds it


def lane_name(channel: str, lane: int) -> str:
    """What a channel's lane is called in this room; the first is called as the channel."""
    return channel if lane == 1 else f"{channel}{_MARK}{lane}"


@lru_cache(maxsize=1_024)  # asked for at every call
def split_lane(name: str) -> tuple[str, int]:
    """(channel, lane) of a name."""
    channel, _, lane = name.partition(_MARK)
    return channel, int(lane or 1)


def channel_of(name: str) -> str:
    """The channel that a lane is part of."""
    return name.partition(_MARK)[0]


def lane_member(member: str, lane: int) -> str:
    """The account's name in a lane's fence record, numbers and messages."""
    return member if lane == 1 else f"{member}{_MARK}{lane}"


def lanes_of(table: InstrumentTable, *, parts: int, lanes: int, capacity: int) -> InstrumentTable:
    """`table` with a channel for each lane of each channel.

    Parameters
    ----------
    table
        As assigned.
    parts
        In how many lanes the instruments are.
    lanes
        How many lanes there are; those beyond `parts` are empty.
    capacity
        Instruments in one lane, at most; what finds no room streams nowhere, and is in the first.
    """
    if lanes == 1:
        return table
    tokens = [row.token for row in table.instruments if row is not None]
    socket_of = place(tokens, sockets=parts, capacity=capacity).socket_of
    renamed: dict[tuple[tuple[str, ...], int], tuple[str, ...]] = {}

    def in_lane(row: AssignedInstrument) -> AssignedInstrument:
        key = (row.channels, socket_of.get(row.token, 0) + 1)
        if key not in renamed:
            renamed[key] = tuple(lane_name(channel, key[1]) for channel in row.channels)
        return row if renamed[key] == row.channels else replace(row, channels=renamed[key])

    instruments = tuple(row and in_lane(row) for row in table.instruments)
    channels = tuple(
        replace(channel, name=lane_name(channel.name, lane))
        for lane in range(1, lanes + 1)
        for channel in table.channels
    )
    slots: dict[str, list[int]] = {channel.name: [] for channel in channels}
    for slot, row in enumerate(instruments):
        for name in dict.fromkeys(row.channels) if row is not None else ():
            if name in slots:
                slots[name].append(slot)
    members = {name: np.array(found, np.int32) for name, found in slots.items()}
    return replace(table, channels=channels, instruments=instruments, members=members)


def same_channel(name: str, names: Iterable[str]) -> bool:
    """Whether one of `names` is a lane of the channel that `name` is a lane of."""
    channel = channel_of(name)
    return any(channel_of(other) == channel for other in names)
