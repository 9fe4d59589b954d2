"""What the documents point at is there: files, headings, make targets, flags, metrics; and their Python is Python."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from ticker_operator.app.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
METRICS = "".join(path.read_text() for path in ROOT.glob("*/ticker_*/app/metrics.py"))
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page: Path, *languages: str) -> list[str]:
    """Fenced code in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def anchors(page: Path) -> set[str]:
    """As the usual renderers make them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@EACH
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@EACH
def test_make_targets_exist(page: Path) -> None:
    inline = re.findall(r"`make ([a-z-]+)", page.read_text())
    shell = "".join(blocks(page, "", "sh", "console"))
    typed = re.findall(r"^(?:\$ )?(?:\w+=\S+ )*make ([a-z-]+)", shell, re.MULTILINE)

    assert {*inline, *typed} <= TARGETS


@EACH
def test_flags_of_commands_exist(page: Path) -> None:
    for verb, rest in re.findall(r"tickershard (operator|shard|simulator|local|crds)\b([^`\n]*)", page.read_text()):
        known = {flag for option in command(verb).params for flag in (*option.opts, *option.secondary_opts)}
        assert set(re.findall(r"(?<!\S)(--[a-z-]+)", rest)) <= known | {"--help"}, (verb, rest)


def command(verb: str) -> click.Command:
    found = main.get_command(click.Context(main), verb)
    assert found is not None
    return found


@EACH
def test_tests_exist(page: Path) -> None:
    for file, name in re.findall(r"`(?:tests/)?(\w+/test_\w+\.py)(?:::(\w+))?`", page.read_text()):
        text = (ROOT / "tests" / file).read_text()
        assert not name or f"def {name}(" in text, f"{file}::{name}"


@EACH
def test_metrics_exist(page: Path) -> None:
    missing = [name for name in counters(page) if f'{name}"' not in METRICS]

    assert missing == []


def counters(page: Path) -> list[str]:
    """Names of counters that the page mentions, without prefix and suffix."""
    return re.findall(r"[`…]_?(?:tickershard_)?([a-z_]+)_total\b", page.read_text())


@EACH
def test_python_is_python(page: Path) -> None:
    compiled = [compile(text, str(page), "exec") for text in blocks(page, "python")]

    assert len(compiled) == page.read_text().count("```python\n"), "no block was overlooked"


def test_the_checks_find_what_they_look_for() -> None:
    texts = "".join(page.read_text() for page in PAGES)

    assert len(blocks(ROOT / "docs" / "consumers.md", "python")) == 3
    assert "the-tape" in anchors(ROOT / "docs" / "simulator.md")
    assert len(re.findall(r"`make ([a-z-]+)", texts)) > 10
    assert re.search(r"tickershard simulator --port", texts)
    assert len([name for page in PAGES for name in counters(page)]) > 15
    assert len(re.findall(r"`\w+/test_\w+\.py::\w+`", texts)) > 40
