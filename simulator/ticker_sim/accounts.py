"""Who may connect: keys, secrets, access tokens, the login exchange, and how many sockets a key has.

Documented: the upgrade is the only moment at which a socket's credentials are looked at; a token dies at 06:00 in
India; a request token is good once and for minutes; the checksum is SHA-256 over api_key + request_token + api_secret.
Reported by users: 429 for the fourth socket of a key. Reported both ways: whether a second login kills the first token
(`login_replaces`, off).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ticker_sim.trading_days import IST

SOCKETS_PER_KEY: Final = 3
TOKENS_PER_KEY: Final = 8  # good at once; the oldest goes first
REQUEST_TOKENS_MAX: Final = 1_000
REQUEST_TOKEN_LIFE_NS: Final = 5 * 60 * 1_000_000_000
ACCOUNTS_MAX: Final = 1_000  # beyond it no account is made up for an unknown key
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class SessionRefusedError(Exception):
    """The login exchange failed; the text is the broker's."""


class AccountsFullError(ValueError):
    """No room for another account."""


@dataclass(slots=True)
class Account:
    """One app of the broker's developer console, with its user."""

    api_key: str
    api_secret: str
    user_id: str
    redirect_url: str = "http://127.0.0.1/"
    tokens: dict[str, int] = field(default_factory=dict)  # access token → simulated ns at which it dies
    sockets: int = 0


def default_accounts() -> list[tuple[str, str, str, str]]:
    """(api_key, api_secret, access_token, user_id) of the nine built-in accounts."""
    return [(f"simkey{n}", f"simsecret{n}", f"simtoken{n}", f"SIM{n:03d}") for n in range(1, 10)]


def token_dies_ns(issued_ns: int, *, at: dt.time) -> int:
    """The first moment after `issued_ns` at which the clock in India shows `at`."""
    issued = dt.datetime.fromtimestamp(issued_ns // 1_000_000_000, IST)
    dies = dt.datetime.combine(issued.date(), at, IST)
    if dies <= issued:
        dies += dt.timedelta(days=1)
    return int(dies.timestamp()) * 1_000_000_000


class Accounts:
    """All accounts.

    Parameters
    ----------
    accept_any
        Any key with any token is good; unknown keys get an account when they come first.
    expire_at
        Time of day in India at which tokens die.
    login_replaces
        A new login kills the tokens before it.
    seed
        Of the tokens made here.
    """

    def __init__(
        self,
        *,
        accept_any: bool = False,
        expire_at: dt.time = dt.time(6),
        login_replaces: bool = False,
        sockets_per_key: int = SOCKETS_PER_KEY,
        seed: int = 0,
    ) -> None:
        self.accept_any = accept_any
        self._expire_at = expire_at
        self._login_replaces = login_replaces
        self.sockets_per_key = sockets_per_key
        self._chance = random.Random(f"accounts/{seed}")  # noqa: S311 - these tokens guard nothing
        self._accounts: dict[str, Account] = {}
        self._request_tokens: dict[str, tuple[str, int]] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def register(self, account: Account, *, access_token: str | None, now_ns: int) -> None:
        """Add an account, with a token that is good from the start."""
        self._accounts[account.api_key] = account
        if access_token:
            self.grant(account.api_key, access_token, now_ns=now_ns, only=True)

    def find(self, api_key: str) -> Account | None:
        """The account of a key; under `accept_any` there always is one."""
        if api_key not in self._accounts and self.accept_any and len(self._accounts) < ACCOUNTS_MAX:
            self._accounts[api_key] = Account(api_key, "", f"ANY{len(self._accounts):04d}")
        return self._accounts.get(api_key)

    def is_good(self, api_key: str, access_token: str, *, now_ns: int) -> bool:
        """Whether these credentials are good now."""
        account = self.find(api_key)
        if account is None:
            return False
        if self.accept_any:
            return bool(access_token)
        return now_ns < account.tokens.get(access_token, 0)

    def grant(self, api_key: str, access_token: str, *, now_ns: int, only: bool) -> None:
        """Make a token good until the next expiry; with `only`, no other one any more.

        Raises
        ------
        AccountsFullError
            The key is unknown and there are `ACCOUNTS_MAX` accounts.
        """
        account = self._accounts.get(api_key)
        if account is None:
            if len(self._accounts) >= ACCOUNTS_MAX:
                raise AccountsFullError(f"api_key: it is unknown, and there are {ACCOUNTS_MAX:,} accounts already")
            account = self._accounts[api_key] = Account(api_key, "", f"NEW{len(self._accounts):04d}")
        if only:
            account.tokens.clear()
        account.tokens[access_token] = token_dies_ns(now_ns, at=self._expire_at)
        while len(account.tokens) > TOKENS_PER_KEY:
            del account.tokens[next(iter(account.tokens))]

    def revoke(self, api_key: str, access_token: str | None = None) -> int:
        """Kill one token of a key, or all; answers how many died."""
        account = self._accounts.get(api_key)
        if account is None:
            return 0
        doomed = [token for token in account.tokens if access_token in (None, token)]
        for token in doomed:
            del account.tokens[token]
        return len(doomed)

    def issue_request_token(self, api_key: str, *, now_ns: int) -> str:
        """What the login page hands out."""
        while len(self._request_tokens) >= REQUEST_TOKENS_MAX:
            del self._request_tokens[next(iter(self._request_tokens))]
        token = self._made_up()
        self._request_tokens[token] = (api_key, now_ns)
        return token

    def exchange(self, api_key: str, request_token: str, checksum: str, *, now_ns: int) -> tuple[Account, str]:
        """A session for a request token; answers the account and its new access token.

        Parameters
        ----------
        now_ns
            Simulated time, from which the token's expiry follows.

        Raises
        ------
        SessionRefusedError
            Unknown key, used or old request token, wrong checksum.
        """
        account = self.find(api_key)
        owner, issued_ns = self._request_tokens.pop(request_token, (None, 0))
        if account is None or owner != api_key or now_ns - issued_ns > REQUEST_TOKEN_LIFE_NS:
            raise SessionRefusedError("Token is invalid or has expired.")
        wanted = session_checksum(api_key, request_token, account.api_secret)
        if not hmac.compare_digest(wanted.encode(), checksum.encode()):
            raise SessionRefusedError("Invalid checksum.")
        access_token = self._made_up()
        self.grant(api_key, access_token, now_ns=now_ns, only=self._login_replaces)
        return account, access_token

    def _made_up(self) -> str:
        return "".join(self._chance.choices(_ALPHABET, k=32))


def session_checksum(api_key: str, request_token: str, api_secret: str) -> str:
    """Lower-case hexadecimal SHA-256 of the three, one after the other."""
    return hashlib.sha256(f"{api_key}{request_token}{api_secret}".encode()).hexdigest()
