"""The verbs that show, compare and add versions."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from ganealogy.cli._json import JSON, emit
from ganealogy.errors import GanealogyError, printable
from ganealogy.runtime import process

if TYPE_CHECKING:
    from ganealogy.lineage.versions import Version


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also those not used here, and ablations.")
@JSON
def tree(everything: bool, as_json: bool) -> None:
    """Print the family tree: the project's own versions, those of params.yaml, and their ancestors."""
    from ganealogy.lineage import tables, versions

    names = versions.known() if everything else versions.in_use()
    family = versions.read_family(names)
    if as_json:
        emit([versions.described(version) for version in family.values()])
        return
    tables.show(tables.FamilyTree(family, fold=not everything))
    if others := len(set(versions.known()) - set(family)):
        click.echo(f"{others} more come with Ganealogy: ganealogy tree --all")


@click.command()
@click.argument("version")
@click.option("--layers", is_flag=True, help="The layers of G and D at the size of params.yaml instead.")
def show(version: str, layers: bool) -> None:
    """Print the complete recipe of VERSION, which ancestor sets each value, and what was concluded of it.

    \b
    ganealogy show v8             its recipe
    ganealogy show v8 --layers    its networks: layers, shapes and parameters, as Keras prints them
    """
    from ganealogy.lineage import recipe, tables, versions

    member = versions.read_family([version])[version]
    if layers:
        from ganealogy.params import schema
        from ganealogy.stages import plan

        settings = schema.load()
        size = f"{settings.dataset.image_size}×{settings.dataset.image_size}, {settings.dataset.channels} channels"
        for network, found in plan.layers(member, settings).items():
            if found:  # a version without a game has no discriminator
                tables.show(tables.layers(f"{version}: {network}, {size}", found))
        return
    shown = tables.recipe(member, recipe.complete(member.recipe, str(member.path)))
    tables.show(shown, f"{member.file.idea.strip()}\n{member.file.source}", *_ideas(member), *_conclusion(member))


def _ideas(version: Version) -> list[str]:
    """Return which ancestors' ideas are in force, in a line; nothing for a version without such ancestors."""
    from ganealogy.lineage import ideas, versions

    family = versions.read_family([version.name])
    kept, lost = ideas.in_force(version, family), ideas.overwritten(version, family)
    parts = [f"in force: {', '.join(kept)}"] if kept else []
    parts += [f"nothing is left of {', '.join(lost)}"] if lost else []
    return [f"Its ancestors' ideas: {'; '.join(parts)}"] if parts else []


def _conclusion(version: Version) -> list[str]:
    """Return the version's conclusion in a line, with what to know about it where there are results."""
    from ganealogy.report import collect, conclusions
    from ganealogy.report.findings import Conclusion

    if (conclusion := version.file.conclusion) is None:
        return []
    line = f"Conclusion: {conclusion.text.strip()}"
    with suppress(GanealogyError):  # no plan yet
        findings = collect.collect()
        for each in findings.listed:
            if each.name == version.name:
                each.conclusion = Conclusion(conclusion.text, conclusion.numbers or "")  # newer than the plan's, maybe
                line += f" ({remark})" if (remark := conclusions.remark(findings, each)) else ""
    return [line]


@click.command()
@click.argument("first")
@click.argument("second")
@JSON
def diff(first: str, second: str, as_json: bool) -> None:
    """Print the values in which the complete recipes of two versions differ."""
    from ganealogy.lineage import recipe, tables, versions

    members = versions.read_family([first, second])
    recipes = {name: recipe.complete(members[name].recipe, name) for name in (first, second)}
    if as_json:
        emit(
            {
                key: dict(zip((first, second), sides, strict=True))
                for key, *sides in tables.differences(*recipes.values())
            }
        )
        return
    tables.show(tables.difference(first, second, recipes))


@click.command()
@click.argument("name")
@click.option("--parent", "parents", required=True, multiple=True, help="The version to start from; two are merged.")
def new(name: str, parents: tuple[str, ...]) -> None:
    """Write versions/NAME.yaml to fill in, and add NAME to params.yaml; only NAME will be trained.

    \b
    ganealogy new my-idea --parent v8                  v8 plus one idea
    ganealogy new together --parent v8 --parent v23    what both branches changed
    """
    from ganealogy.lineage import new_version

    if len(parents) > 2:
        raise click.BadParameter(f"{len(parents)} versions; a merge has two", param_hint="--parent")
    with process.explain_full_disk("versions", "params.yaml"):
        path = new_version.new(name, parents[0], other="".join(parents[1:]))
        click.echo(f"{path}: fill it in, then `dvc repro`")


@click.command()
@click.argument("version")
@click.option("--only", is_flag=True, help="Its root with each idea alone.")
@click.option("--pairs", is_flag=True, help="VERSION without each pair of ideas.")
@click.option("--split", is_flag=True, help="The changes of VERSION itself: each alone, and each left out.")
@click.option("--yes", is_flag=True, help="Write them without asking.")
def ablate(version: str, only: bool, pairs: bool, split: bool, yes: bool) -> None:
    """Take VERSION apart: which of its stacked ideas carries it?

    It makes versions that lack one ancestor's idea each, such as v12-without-v7. First it prints what each would be,
    which are refused and why, and how long the others train, and asks. They are trained like any other version; the
    report compares them in a table of its own, and no verdict of the tree depends on them.

    \b
    ganealogy ablate v12            v12 without each ancestor's idea
    ganealogy ablate v12 --only     the root with each idea alone
    ganealogy ablate v12 --pairs    v12 without each pair of ideas
    ganealogy ablate v6 --split     v6 is a bundle: each of its changes alone, and each left out
    """
    from ganealogy.lineage import ablations, tables, versions
    from ganealogy.params import schema
    from ganealogy.project import ablate, speed
    from ganealogy.stages import _side_by_side

    settings, family = schema.load(), versions.read_family([*versions.known(), version])
    whole = family[version]
    found = ablations.alone(whole, family) if only else []
    found += ablations.leave_out(whole, family, 2) if pairs else []
    found += ablations.split(whole, family) if split else []
    found = ablate.checked(found or ablations.leave_out(whole, family), settings)
    tables.show(tables.ablations(f"{version}: {whole.file.title}", found, family))
    new = [each for each in found if not each.refused]
    if not new:
        click.echo("nothing to train")
        return
    runs = ablate.seconds(whole, new, settings, speed.images_per_second)
    takes = _side_by_side.sentence(runs, _side_by_side.slots(settings.train)) if runs else ""
    click.echo(takes or f"{len(new) * len(settings.tree.seeds)} runs; how long is known once the pictures are packed")
    if yes or click.confirm(f"Write {len(new)} versions, and add them to params.yaml?"):
        with process.explain_full_disk("versions", "params.yaml"):
            for path in ablate.write(new):
                click.echo(f"wrote {path}")
        click.echo("`ganealogy repro` trains them, the versions side by side")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def check(names: tuple[str, ...]) -> int:
    """Test your own versions and components in seconds, before hours of training.

    NAME: a version or a component; by default all of the project's own, or without any the versions of params.yaml.

    A version is planned and trained for four steps on random pictures, on the CPU: losses are finite, every parameter
    of G and D is trained, a training that is saved and loaded ends in the same bytes, and G's pictures do not depend on
    their batch. Of a component, imports, builder and parameters are checked. The exit code is 2 if anything is wrong.

    \b
    ganealogy check              all of your own
    ganealogy check my-idea      a version
    ganealogy check mine         a component: components/adversary/losses/mine.py
    """
    from ganealogy.project import check

    wrong = False
    for found in check.check(list(names)):
        wrong = wrong or bool(found.faults)
        for fault in found.faults:
            click.echo(printable(f"✗ {found.name}: {fault}"))
        if not found.faults:
            click.echo(printable(f"✓ {found.name}" + (f": {found.note}" if found.note else "")))
    return 2 if wrong else 0


@click.command()
@click.argument("name")
@click.option("--path", help="For `folder`: a directory or a zip of your pictures.")
def use(name: str, path: str | None) -> None:
    """Write the preset NAME into params.yaml, and print the changes.

    NAME: demo, avatars, anime, notebook, celeba, cifar10, mnist, mnist-mlp, mnist32 or folder.
    """
    from ganealogy.params import edit

    with process.explain_full_disk("params.yaml"):
        click.echo(printable(edit.use(name, path) or f"params.yaml is already {name}'s"))


VERBS = (tree, show, diff, new, ablate, check, use)
