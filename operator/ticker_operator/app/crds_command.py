"""``tickershard crds``: print the CustomResourceDefinitions, check or write the files that hold them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ticker_crds.reference import reference
from ticker_crds.schema import definitions

REFERENCE_FILE = "docs/reference.md"
FOLDERS = ("crds", "charts/tickershard/files/crds")  # helm packages nothing from outside of a chart


@click.command("crds")
@click.option(
    "--check",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compare the files of this folder with the models; exit code 1 and the files' names where they differ.",
)
@click.option("--reference", "as_reference", is_flag=True, help="Print the reference of all fields as Markdown.")
@click.option(
    "--write",
    "root",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help=f"Write crds/*.yaml, the chart's copies and {REFERENCE_FILE} below this folder.",
)
def command(folder: Path | None, as_reference: bool, root: Path | None) -> None:
    """Print the CustomResourceDefinitions as YAML, ready for `kubectl apply --server-side -f -`."""
    if sum((folder is not None, as_reference, root is not None)) > 1:
        raise click.UsageError("--check, --reference and --write exclude each other")
    if folder is not None:
        drifted = drift(folder)
        for line in drifted:
            click.echo(line, err=True)
        sys.exit(1 if drifted else 0)
    if as_reference:
        click.echo(reference(), nl=False)
    elif root is not None:
        for path in write(root):
            click.echo(path)
    else:
        click.echo("---\n".join(definitions().values()), nl=False)


def drift(folder: Path) -> list[str]:
    """What is wrong with the files of `folder`, a line each."""
    wanted = definitions()
    lines = []
    for name, content in wanted.items():
        path = folder / name
        if not path.is_file():
            lines.append(f"{path}: missing; run `make generate`")
        elif path.read_text(encoding="utf-8") != content:
            lines.append(f"{path}: differs from the models; run `make generate`")
    strangers = sorted(path for path in folder.glob("*.yaml") if path.name not in wanted)
    lines.extend(f"{path}: no kind of ours; remove it" for path in strangers)
    return lines


def write(root: Path) -> list[Path]:
    """Write the generated files below `root`; those that changed."""
    wanted = {root / folder / name: content for folder in FOLDERS for name, content in definitions().items()}
    wanted[root / REFERENCE_FILE] = reference()
    changed = []
    for path, content in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            changed.append(path)
    return changed
