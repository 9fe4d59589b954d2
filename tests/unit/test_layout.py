"""The house's shape, where breaking it would hurt in a way no other test explains."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("client", "common", "crds", "operator", "shard", "simulator")


def test_no_source_root_is_a_package_itself() -> None:
    """operator/__init__.py would shadow the standard library's operator and kill the interpreter."""
    assert [root for root in SOURCE_ROOTS if (ROOT / root / "__init__.py").exists()] == []


def test_each_source_root_holds_exactly_one_package() -> None:
    packages = {root: [path.parent.name for path in (ROOT / root).glob("*/__init__.py")] for root in SOURCE_ROOTS}

    assert all(len(found) == 1 and found[0].startswith("ticker_") for found in packages.values()), packages
