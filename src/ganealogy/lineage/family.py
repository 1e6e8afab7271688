"""The family as people see it in a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from ganealogy.lineage.recipe import leaves


def show(tree: dict[str, Any], console: Console | None = None) -> None:
    """Print build/plan/tree.json's content as a table: children below their parents."""
    table = Table(title="the family", title_justify="left", caption=_protocol(tree), caption_justify="left")
    for column in ("version", "idea", "what changes", "D", "G"):
        table.add_column(column, justify="right" if column in "DG" else "left", overflow="fold")
    for depth, member in _ordered(tree["versions"]):
        counts = member["parameters"]
        table.add_row(
            "  " * depth + ("└ " if depth else "") + member["name"] + ("" if member["listed"] else " (not trained)"),
            member["title"],
            changes(member["changes"]),
            f"{counts['discriminator']:,}",
            f"{counts['generator']:,}",
        )
    (console or Console()).print(table, markup=False)


def changes(block: dict[str, Any] | None) -> str:
    """A version's `changes` in one line: `loss.real_target 0.9`."""
    if block is None:
        return "a root: all of it"
    return ", ".join(f"{key.removeprefix('adversary.')} {_text(value)}" for key, value in leaves(block).items())


def _text(value: Any) -> str:
    """A value as people read it; a scheduled one as its ends."""
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict) and {"from", "to"} <= set(value):
        return f"{value['from']} → {value['to']}"
    return "none" if value is None else str(value)


def _ordered(
    members: list[dict[str, Any]], parent: str | None = None, depth: int = 0
) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for member in members:
        if member["parent"] == parent:
            found += [(depth, member), *_ordered(members, member["name"], depth + 1)]
    return found


def _protocol(tree: dict[str, Any]) -> str:
    data, train = tree["dataset"], tree["protocol"]
    return (
        f"{data['name']} {data['image_size']}×{data['image_size']} · {train['kimg']:g} kimg in batches of "
        f"{train['batch_size']} · base rate {train['lr']:g} · seeds {', '.join(map(str, tree['seeds']))}"
    )
