"""The three kinds as pydantic models, their constants, and the assignment table. Imports nothing of ours.

This door opens to the assignment table only, which every shard needs; the models (``ticker_crds.account``,
``.subscription``, ``.shard``) are imported by name, so that a shard does not pay for building them.
"""

from ticker_crds.assignment import (
    PUBLISHING_ROLES,
    AssignedInstrument,
    AssignmentError,
    AssignmentTable,
    Channel,
    Encoding,
    Mode,
    Role,
    decode_table,
    encode_table,
)

__all__ = [
    "PUBLISHING_ROLES",
    "AssignedInstrument",
    "AssignmentError",
    "AssignmentTable",
    "Channel",
    "Encoding",
    "Mode",
    "Role",
    "decode_table",
    "encode_table",
]
