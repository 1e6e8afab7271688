"""Versions as tables and trees for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.tree import Tree

from ganealogy.lineage import ideas
from ganealogy.lineage.changes import changes
from ganealogy.lineage.flatten import as_text
from ganealogy.lineage.recipe import complete, flatten
from ganealogy.lineage.versions import Version
from ganealogy.params.budget_text import describe, packed_pictures
from ganealogy.record_types import Recipe
from ganealogy.runtime.tables import GAP, Column, Fitted, indent, text, widest
from ganealogy.tree_types import PlannedVersion, TreeJson

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType, RenderResult

    from ganealogy.lineage.ablations import Ablation
    from ganealogy.lineage.layers import Layer

LONGEST_CHANGE = 72
"""Letters of a change in the plan's table; `ganealogy diff` has the rest."""
BELOW = "(below)"
"""Stands in a table for a value that is too long for its column."""
NARROW = 80


def table(plan: TreeJson, times: Mapping[str, str] | None = None) -> Fitted:
    """Return the versions of a plan: children below their parents, changes, parameters and operations.

    `times`: version → what a run of it takes on this machine, where that is known. A narrow terminal shows ideas in
    place of changes.
    """
    recipes = {member["name"]: member["recipe"] for member in plan["versions"]}
    columns = [
        Column("version"),
        Column("idea", wraps=True),
        Column("what changes", wraps=True, spare=4),
        Column("D", right=True, spare=3),
        Column("G", right=True, spare=2),
        Column("MFLOP", right=True, spare=1),
        *([Column("a run", right=True)] if times else []),
    ]
    ordered = _ordered(plan["versions"])
    deepest = max((depth for depth, _ in ordered), default=0)
    rows = []
    for depth, member in ordered:
        counts, parent = member["parameters"] or {}, member["parent"]
        lines = changes(member["changes"], recipes[parent], member["recipe"]) if parent else []
        words = [_shortened(str(line).removeprefix("adversary.")) for line in lines]
        if not parent:
            words.append("a root: the complete recipe")
        if start := member.get("from"):
            words.append(f"starts from {start['version']} at {start['kimg']:g} kimg")
        listed = "" if member["listed"] else " (not trained)"
        rows.append(
            [
                indent(depth, deepest, NARROW) + ("└ " if depth else "") + member["name"] + listed,
                member["title"],
                "\n".join(words),
                *(f"{counts[name]:,}" if name in counts else "–" for name in ("discriminator", "generator")),
                "–" if member["flops"] is None else f"{member['flops'] / 1e6:,.0f}",
                *([times.get(member["name"], "–")] if times else []),
            ]
        )
    return Fitted(columns, rows, title="versions", caption=_protocol(plan))


@dataclass(frozen=True)
class FamilyTree:
    """All versions as a tree of titles; a tree too deep for the terminal has smaller steps."""

    family: Mapping[str, Version]
    fold: bool = True
    """Count versions that take another one apart beside that one, in place of showing them."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wholes = self._folded() if self.fold else {}
        folded = Counter(wholes.values())
        shown = {name: each for name, each in self.family.items() if name not in wholes}
        depths: dict[str | None, int] = {None: -1}
        for name, version in shown.items():
            depths[name] = depths[version.parent] + 1
        deepest = max(depths.values())
        if 8 * deepest > options.max_width:
            for depth, name in _in_order(shown):
                prefix = indent(depth, deepest, options.max_width) + ("└ " if depth else "")
                yield text(f"{prefix}{name} {self._title(name, folded[name])}")
            return
        top = Tree("versions", hide_root=True)
        branches: dict[str | None, Tree] = {None: top}
        for name, version in shown.items():
            label = text(f"{name} {self._title(name, folded[name])}")
            label.stylize("bold", 0, len(name))
            branches[name] = branches[version.parent].add(label)
        yield top

    def _folded(self) -> dict[str, str]:
        """Return ablation → the version that it takes apart, if that is in the family and nothing grows from it."""
        grown = {parent for each in self.family.values() for parent in each.parents}
        return {
            name: each.file.ablates.version
            for name, each in self.family.items()
            if each.file.ablates and each.file.ablates.version in self.family and name not in grown
        }

    def _title(self, name: str, ablations: int) -> str:
        """Return the title, a merge's other parent, what is left out, whose ideas are replaced, and the ablations."""
        version = self.family[name]
        remarks = [f"with {other}" for other in version.parents[1:]]
        remarks += [f"without {' and '.join(version.file.without)}"] if version.file.without else []
        if replaced := ideas.newly_overwritten(version, self.family):
            remarks.append(f"replaces {', '.join(replaced)}")
        remarks += [f"{ablations} ablation{'s'[: ablations != 1]}"] if ablations else []
        return f"{version.file.title} ({'; '.join(remarks)})" if remarks else version.file.title


@dataclass(frozen=True)
class Values:
    """A table of dotted keys with their values; those too long for their column follow it, each over the full width."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Key, values, and as many more cells as `headings` names."""
    title: str = ""
    values: Sequence[int] = (1,)
    """Columns with values."""
    bold: set[int] = field(default_factory=set)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        rows = [[row[0].removeprefix("adversary.") if width < NARROW else row[0], *row[1:]] for row in self.rows]
        columns = range(len(self.headings))
        others = sum(widest([self.headings[at], *(row[at] for row in rows)]) for at in columns if at not in self.values)
        room = (width - others - GAP * len(self.headings)) // len(self.values)
        fits = max(room, len(BELOW), *(len(self.headings[at]) for at in self.values))
        below = []
        for row in rows:
            for at in self.values:
                if widest([row[at]]) > fits:
                    of = f" ({self.headings[at]})" if len(self.values) > 1 else ""
                    below.append(f"{row[0]}{of}: {row[at]}")
                    row[at] = BELOW
        yield Fitted([Column(heading) for heading in self.headings], rows, self.title, bold=self.bold).table(width)
        yield from map(text, below)


def recipe(version: Version, completed: Recipe) -> Values:
    """Return the values of a version's complete recipe, and the ancestor or default that each comes from."""
    rows = [[key, as_text(value), version.origins.get(key, "default")] for key, value in flatten(completed).items()]
    own = {index for index, row in enumerate(rows) if row[-1] == version.name}
    return Values(["key", "value", "from"], rows, f"{version.name}: {version.file.title}", bold=own)


def layers(title: str, found: Sequence[Layer]) -> Fitted:
    """Return the layers of a network, with their shapes and parameters, and the totals."""
    columns = [
        Column("layer", spare=1),
        Column("kind", wraps=True),
        Column("output", right=True),
        Column("parameters", right=True),
        Column("fixed", right=True),
    ]
    rows = [
        [layer.name, layer.kind, "×".join(map(str, layer.shape)) or "–", f"{layer.trained:,}", f"{layer.fixed:,}"]
        for layer in found
    ]
    sums = [sum(layer.trained for layer in found), sum(layer.fixed for layer in found)]
    rows.append(["", "in all", "", *(f"{each:,}" for each in sums)])
    return Fitted(columns, rows, title=title, bold={len(rows) - 1})


def ablations(title: str, found: Sequence[Ablation], family: Mapping[str, Version]) -> Fitted:
    """Return what each ablation changes in its parent, or why it is refused."""
    columns = [Column("version"), Column("what it changes, or why it is refused", wraps=True, spare=1)]
    rows = []
    for each in found:
        if each.refused or each.version is None:
            rows.append([each.name, f"refused: {each.refused}"])
            continue
        parent = family[each.version.parents[0]]
        # With the defaults of components: what is left out may be a parameter that the recipe without it lacks.
        before, after = (complete(side.recipe, str(side.path)) for side in (parent, each.version))
        lines = changes(after, before, after)
        rows.append([each.name, "; ".join(map(str, lines))])
    return Fitted(columns, rows, title=title)


def difference(first: str, second: str, recipes: dict[str, Recipe]) -> Values:
    """Return the values in which two complete recipes differ."""
    found = differences(recipes[first], recipes[second])
    rows = [[key, *("–" if side is None else as_text(side) for side in sides)] for key, *sides in found]
    return Values(["key", first, second], rows, values=(1, 2))


def differences(first: Recipe, second: Recipe) -> list[tuple[str, Any, Any]]:
    """Return (dotted key, value, value) where two complete recipes differ; a key that one lacks is None."""
    left, right = flatten(first), flatten(second)
    return [
        (key, left.get(key), right.get(key))
        for key in dict.fromkeys([*left, *right])
        if (key in left, left.get(key)) != (key in right, right.get(key))
    ]


def show(*parts: RenderableType) -> None:
    """Print tables, trees and plain texts on standard output."""
    console = Console()
    for part in parts:
        console.print(text(part) if isinstance(part, str) else part)


def _shortened(change: str) -> str:
    return change if len(change) <= LONGEST_CHANGE else f"{change[: LONGEST_CHANGE - 1]}…"


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


def _in_order(family: Mapping[str, Version], parent: str | None = None, depth: int = 0) -> list[tuple[int, str]]:
    """Return (depth, name), children after their parent."""
    found = []
    for name, version in family.items():
        if version.parent == parent:
            found += [(depth, name), *_in_order(family, name, depth + 1)]
    return found


def _seeds(plan: TreeJson) -> str:
    """Return such as `seeds 0, 1, 2`, or `5 seeds, 8 of v7`."""
    seeds = {member["name"]: member["seeds"] for member in plan["versions"] if member["listed"]}
    fewest = min(seeds.values(), key=len)
    more = [f"{len(those)} of {name}" for name, those in seeds.items() if len(those) > len(fewest)]
    return ", ".join([f"{len(fewest)} seeds", *more]) if more else f"seeds {', '.join(map(str, fewest))}"


def _protocol(plan: TreeJson) -> str:
    data, train = plan["dataset"], plan["protocol"]
    budget = describe(train, packed_pictures(data))
    return (
        f"{data['name']} {data['image_size']}×{data['image_size']} · {budget} in batches of {train['batch_size']} "
        f"· base learning rate {train['lr']:g}{_unmoved(plan)} · {_seeds(plan)}"
    )


def _unmoved(plan: TreeJson) -> str:
    """Return which listed versions have rates of their own: ` (not of v6 and v10; of v5 for G alone)`."""
    wholly: list[str] = []
    partly: list[str] = []
    for member in plan["versions"]:
        both: Mapping[str, Any] = member["recipe"].get("optimizers", {})
        optimizers = {network: each for network, each in both.items() if each is not None}
        follow = [name[0].upper() for name, each in optimizers.items() if isinstance(each.get("lr"), str)]
        if member["listed"] and optimizers and len(follow) < len(optimizers):
            (partly if follow else wholly).append(member["name"] + "".join(f" for {name} alone" for name in follow))
    said = [f"not of {' and '.join(wholly)}" if wholly else "", f"of {' and '.join(partly)}" if partly else ""]
    return f" ({'; '.join(filter(None, said))})" if any(said) else ""
