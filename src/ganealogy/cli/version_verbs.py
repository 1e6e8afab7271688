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
@click.option("--all", "everything", is_flag=True, help="Also those that come with Ganealogy and are not used here.")
@JSON
def tree(everything: bool, as_json: bool) -> None:
    """Print the family tree: the project's own versions, those of params.yaml, and their ancestors."""
    from ganealogy.lineage import tables, versions

    names = versions.known() if everything else versions.in_use()
    family = versions.read_family(names)
    if as_json:
        emit([versions.described(version) for version in family.values()])
        return
    tables.show(tables.FamilyTree(family))
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
    tables.show(shown, f"{member.file.idea.strip()}\n{member.file.source}", *_conclusion(member))


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
@click.option("--parent", required=True, help="The version to start from.")
def new(name: str, parent: str) -> None:
    """Write versions/NAME.yaml to fill in, and add NAME to params.yaml; only NAME will be trained."""
    from ganealogy.lineage import new_version

    with process.explain_full_disk("versions", "params.yaml"):
        click.echo(f"{new_version.new(name, parent)}: fill it in, then `dvc repro`")


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


VERBS = (tree, show, diff, new, check, use)
