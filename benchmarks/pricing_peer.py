"""A pricing package as a process of its own: answers one line of JSON for each it reads.

``python pricing_peer.py PACKAGE OPTIONS.npz`` runs in the peers' environment and so imports nothing of ours. The file
has, for each set of options, the columns price, forward, strike, rate, years and flag under ``set/column``. Requests::

    {"round": "set", "repeats": 20}   ->  {"seconds": of one pass over the set, "priced": finite volatilities}
    {"solve": "set", "into": "x.npy"} ->  {"priced": …}, volatilities in the file

A pass is what a user of the package writes: one call for all volatilities, one for all Greeks, answers as arrays.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Columns = dict[str, Any]


def py_vollib_vectorized(options: Columns) -> Any:
    from py_vollib_vectorized import get_all_greeks, vectorized_implied_volatility_black

    price, forward, strike, rate, years, flag = options.values()
    iv = vectorized_implied_volatility_black(
        price, forward, strike, rate, years, flag, return_as="numpy", on_error="ignore"
    )
    get_all_greeks(flag, forward, strike, years, rate, iv, model="black", return_as="dict")
    return iv


def fast_vollib(options: Columns) -> Any:
    from fast_vollib import fast_implied_volatility_black, get_all_greeks

    price, forward, strike, rate, years, flag = options.values()
    iv = fast_implied_volatility_black(
        price, forward, strike, rate, years, flag, return_as="numpy", backend="numba", on_error="ignore"
    )
    if np.isfinite(iv).all():  # it raises on anything else
        get_all_greeks(flag, forward, strike, years, rate, iv, model="black", return_as="dict", backend="numba")
    return iv


PACKAGES: dict[str, Callable[[Columns], Any]] = {
    "py_vollib_vectorized": py_vollib_vectorized,
    "fast_vollib": fast_vollib,
}


def main(package: str, path: str) -> None:
    """Serve until the requests end."""
    warnings.filterwarnings("ignore")
    with np.load(path) as file:
        names = dict.fromkeys(key.split("/")[0] for key in file)
        wanted = ("price", "forward", "strike", "rate", "years", "flag")
        sets = {name: {column: file[f"{name}/{column}"] for column in wanted} for name in names}
    price = PACKAGES[package]
    for options in sets.values():
        price(options)  # compiles
    print(json.dumps({"ready": package}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), price, sets)), flush=True)


def answer(request: dict[str, Any], price: Callable[[Columns], Any], sets: dict[str, Columns]) -> dict[str, Any]:
    if "solve" in request:
        iv = np.asarray(price(sets[request["solve"]]), float).ravel()
        np.save(request["into"], iv)
        return {"priced": int(np.isfinite(iv).sum())}
    options, repeats = sets[request["round"]], request["repeats"]
    started = time.perf_counter()
    for _ in range(repeats):
        iv = price(options)
    seconds = (time.perf_counter() - started) / repeats
    return {"seconds": seconds, "priced": int(np.isfinite(np.asarray(iv, float)).sum())}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
