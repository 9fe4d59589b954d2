"""Every name that two programs must spell alike: API group, labels, annotations, field managers, conditions, reasons.

A reason is one word that a script may match; what a person needs to know goes into the message beside it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

GROUP: Final = "tickershard.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "ticker"

LABEL_CREDENTIALS: Final = f"{GROUP}/credentials"  # "true" on a Secret that an account may name
LABEL_ACCOUNT: Final = f"{GROUP}/account"
LABEL_SHARD: Final = f"{GROUP}/shard"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "ticker-operator"

ANNOTATION_PAUSED: Final = f"{GROUP}/paused"  # "true" on any of the three kinds
ANNOTATION_RESUME: Final = f"{GROUP}/resume"  # on a TickerShard: the blocked release hash that may be applied again
ANNOTATION_RELEASE_HASH: Final = f"{GROUP}/release-hash"  # on the Deployment: what an undo rewinds
ANNOTATION_RELEASE: Final = (
    f"{GROUP}/release"  # on the Deployment: the operator's knobs, for a shard that starts during a hold
)
ANNOTATION_TEMPLATE_HASH: Final = f"{GROUP}/template-hash"

FINALIZER_DRAIN: Final = f"{GROUP}/drain"

MANAGER_OPERATOR: Final = "ticker-operator"
MANAGER_ROLLOUT: Final = "ticker-operator-rollout"
MANAGER_SHARD: Final = "ticker-shard"

INSTRUMENTS_PER_SOCKET_MAX: Final = 3_000  # the broker's limit
SOCKETS_MAX: Final = 3  # the broker's limit for one API key
ACCOUNT_NAME_CHARS_MAX: Final = 40  # so that every derived name and label value fits into 63
SUBSCRIPTION_INSTRUMENTS_MAX: Final = 2_000  # client-side apply still fits its annotation
CHANNELS_PER_ACCOUNT_MAX: Final = 64
COMMODITY_EXCHANGES: Final = frozenset({"MCX", "NCO"})  # an option turns into a futures position there
YEARLY_MIN: Final = -0.05  # of rates a year as fractions; beyond these somebody wrote per cent
YEARLY_MAX: Final = 0.30
REPRICE_MS_MIN: Final = 50
UNRESOLVED_LISTED_MAX: Final = 50
UNCONFIRMED_LISTED_MAX: Final = 100
CONDITIONS_MAX: Final = 16  # above the number of types any kind has
CONDITION_MESSAGE_CHARS_MAX: Final = 1_024
ROLLOUT_HISTORY_MAX: Final = 32  # above the revisions a Deployment keeps (10): every undo finds its release here
SYMBOL_CHARS_MAX: Final = 64
CHANNEL_CHARS_MAX: Final = 100
PRIORITY_MAX: Final = 1_000
POD_TEMPLATE_ENTRIES_MAX: Final = 32  # labels, annotations, tolerations… an account may add to its pod

TICKER_URL: Final = "wss://ws.kite.trade"  # the real broker
API_URL: Final = "https://api.kite.trade"


class Kind(StrEnum):
    """The three kinds."""

    ACCOUNT = "KiteAccount"
    SUBSCRIPTION = "TickerSubscription"
    SHARD = "TickerShard"


PLURALS: Final[dict[Kind, str]] = {
    Kind.ACCOUNT: "kiteaccounts",
    Kind.SUBSCRIPTION: "tickersubscriptions",
    Kind.SHARD: "tickershards",
}


class Condition(StrEnum):
    """Condition types over all kinds; which kind has which is in its model."""

    READY = "Ready"
    CREDENTIALS_VALID = "CredentialsValid"
    CONNECTED = "Connected"
    DRAINING = "Draining"
    PAUSED = "Paused"
    RESOLVED = "Resolved"
    ASSIGNED = "Assigned"
    STREAMING = "Streaming"
    DEGRADED = "Degraded"
    PROGRESSING = "Progressing"
    ROLLED_BACK = "RolledBack"
    CAPACITY_EXCEEDED = "CapacityExceeded"
    ZERO_GAP = "ZeroGap"


class Reason(StrEnum):
    """Condition and event reasons. Each is used with a message in plain words, with numbers."""

    # readiness and streaming
    STREAMING = "Streaming"  # everything assigned is confirmed and published
    CONFIRMING = "Confirming"  # connected; some instruments have not sent their first packet
    STANDBY = "Standby"  # warm, but another process holds the channels
    STARTING = "Starting"  # no report from the shard yet
    SHARD_SILENT = "ShardSilent"  # no sign of life in the shard's Lease
    NOTHING_ASSIGNED = "NothingAssigned"
    SUSPENDED = "Suspended"
    MARKET_CLOSED = "MarketClosed"
    # credentials
    ACCEPTED = "Accepted"
    TOKEN_REJECTED = "TokenRejected"  # the broker answered 403
    SECRET_MISSING = "SecretMissing"
    SECRET_KEY_MISSING = "SecretKeyMissing"
    SECRET_NOT_LABELLED = "SecretNotLabelled"
    UNKNOWN = "Unknown"
    # connection
    CONNECTED = "Connected"
    CONNECTING = "Connecting"
    RATE_LIMITED = "RateLimited"  # the broker answered 429
    DISCONNECTED = "Disconnected"
    FEED_MUTE = "FeedMute"  # open, and nothing but heartbeats while the market is open
    INSTRUMENTS_STALLED = "InstrumentsStalled"  # some are quiet on sockets that flow
    REDIS_UNREACHABLE = "RedisUnreachable"
    REDIS_REFUSED = "RedisRefused"  # authentication or permission
    LEDGER_MISMATCH = "LedgerMismatch"
    BACKPRESSURE = "Backpressure"  # Redis answers, and takes ticks much more slowly than they come
    HEALTHY = "Healthy"
    # resolution and assignment
    RESOLVED = "Resolved"
    PARTLY_RESOLVED = "PartlyResolved"
    NOT_RESOLVED = "NotResolved"
    NO_INSTRUMENT_DUMP = "NoInstrumentDump"
    NOT_SUPPORTED = "NotSupported"
    CHANNEL_CONFLICT = "ChannelConflict"
    ASSIGNED = "Assigned"
    PARTLY_ASSIGNED = "PartlyAssigned"
    NO_ACCOUNT = "NoAccount"
    CAPACITY_EXCEEDED = "CapacityExceeded"
    WITHIN_CAPACITY = "WithinCapacity"
    TOO_MANY_CHANNELS = "TooManyChannels"
    ENDPOINT_NOT_ALLOWED = "EndpointNotAllowed"
    # workload and roll-out
    AVAILABLE = "Available"
    ROLLING_OUT = "RollingOut"
    WAITING_FOR_OTHER_SHARD = "WaitingForOtherShard"
    STALLED = "Stalled"
    ROLLED_BACK = "RolledBack"
    CURRENT = "Current"
    DRIFT_HEALED = "DriftHealed"
    SURGE = "Surge"  # a new pod streams before the old one stops
    NO_SPARE_SOCKET = "NoSpareSocket"  # three sockets: the old pod stops first
    # lifecycle
    DRAINING = "Draining"
    DRAINED = "Drained"
    NOT_DRAINING = "NotDraining"
    DRAIN_DEADLINE = "DrainDeadline"
    PAUSED = "Paused"
    NOT_PAUSED = "NotPaused"
    ACTIVE = "Active"
    INVALID = "Invalid"
    # events
    MOVED = "Moved"
    RESUMED = "Resumed"
