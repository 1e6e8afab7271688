"""Versions as tables and trees for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from ganealogy.lineage.changes import changes
from ganealogy.lineage.flatten import as_text
from ganealogy.lineage.recipe import flatten
from ganealogy.lineage.versions import Version
from ganealogy.record_types import PlannedVersion, Recipe, TreeJson


def table(plan: TreeJson, times: Mapping[str, str] | None = None) -> Table:
    """Return the versions of a plan: children below their parents, changes, parameters and operations.

    `times`: version → what a run of it takes on this machine, where that is known.
    """
    recipes = {member["name"]: member["recipe"] for member in plan["versions"]}
    shown = Table(title="versions", title_justify="left", caption=_protocol(plan), caption_justify="left")
    shown.add_column("version", no_wrap=True)
    shown.add_column("idea", overflow="fold")
    shown.add_column("what changes", overflow="fold")
    shown.add_column("D", justify="right", no_wrap=True)
    shown.add_column("G", justify="right", no_wrap=True)
    shown.add_column("MFLOP", justify="right", no_wrap=True)
    if times:
        shown.add_column("a run", justify="right", no_wrap=True)
    for depth, member in _ordered(plan["versions"]):
        counts, parent = member["parameters"] or {}, member["parent"]
        lines = changes(member["changes"], recipes[parent], member["recipe"]) if parent else []
        shown.add_row(
            "  " * depth + ("└ " if depth else "") + member["name"] + ("" if member["listed"] else " (not trained)"),
            escape(member["title"]),
            escape("\n".join(str(line).removeprefix("adversary.") for line in lines)) or "a root: the complete recipe",
            *(f"{counts[name]:,}" if name in counts else "–" for name in ("discriminator", "generator")),
            "–" if member["flops"] is None else f"{member['flops'] / 1e6:,.0f}",
            *([times.get(member["name"], "–")] if times else []),
        )
    return shown


def tree(family: dict[str, Version]) -> Tree:
    """Return all versions as a tree of titles."""
    top = Tree("versions", hide_root=True)
    branches: dict[str | None, Tree] = {None: top}
    for name, version in family.items():
        branches[name] = branches[version.parent].add(f"[bold]{name}[/bold] {escape(version.file.title)}")
    return top


def recipe(version: Version, completed: Recipe) -> Table:
    """Return the values of a version's complete recipe, and the ancestor or default that each comes from."""
    shown = Table(title=f"{version.name}: {escape(version.file.title)}", title_justify="left")
    for column in ("key", "value", "from"):
        shown.add_column(column, overflow="fold")
    for key, value in flatten(completed).items():
        origin = version.origins.get(key, "default")
        own = origin == version.name
        shown.add_row(key, escape(as_text(value)), origin, style="bold" if own else "")
    return shown


def difference(first: str, second: str, recipes: dict[str, Recipe]) -> Table:
    """Return the values in which two complete recipes differ."""
    left, right = flatten(recipes[first]), flatten(recipes[second])
    shown = Table()
    for column in ("key", first, second):
        shown.add_column(column, overflow="fold")
    for key in dict.fromkeys([*left, *right]):
        if (key in left, left.get(key)) != (key in right, right.get(key)):
            shown.add_row(key, *(escape(as_text(side[key])) if key in side else "–" for side in (left, right)))
    return shown


def show(*parts: Table | Tree) -> None:
    console = Console()
    for part in parts:
        console.print(part)


def _ordered(
    members: Iterable[PlannedVersion], parent: str | None = None, depth: int = 0
) -> list[tuple[int, PlannedVersion]]:
    """Return (depth, member), children after their parent."""
    members = list(members)
    found = []
    for member in members:
        if member["parent"] == parent:
            found += [(depth, member), *_ordered(members, member["name"], depth + 1)]
    return found


def _seeds(plan: TreeJson) -> str:
    """Return such as `seeds 0, 1, 2`, or `5 seeds, 8 of v7`."""
    seeds = {member["name"]: member["seeds"] for member in plan["versions"] if member["listed"]}
    fewest = min(seeds.values(), key=len)
    more = [f"{len(those)} of {name}" for name, those in seeds.items() if len(those) > len(fewest)]
    return ", ".join([f"{len(fewest)} seeds", *more]) if more else f"seeds {', '.join(map(str, fewest))}"


def _protocol(plan: TreeJson) -> str:
    data, train = plan["dataset"], plan["protocol"]
    return (
        f"{data['name']} {data['image_size']}×{data['image_size']} · {train['kimg']:g} kimg in batches of "
        f"{train['batch_size']} · base learning rate {train['lr']:g} · {_seeds(plan)}"
    )
