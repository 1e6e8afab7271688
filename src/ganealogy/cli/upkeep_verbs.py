"""The verbs that run everything, and keep environment and workspace in order."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

from ganealogy.cli._json import JSON, emit
from ganealogy.errors import GanealogyError
from ganealogy.runtime import process


@click.command()
@click.option("--jobs", type=click.IntRange(min=1), help="Runs at a time; default: as many as fit.")
@click.option("--address", help="Address of a running Ray cluster, HOST:PORT or `auto`; default: this machine.")
@click.option("--gpus-per-run", type=click.IntRange(min=0), help="On a cluster; default: what train.runs_per_gpu says.")
@click.option("--dashboard/--no-dashboard", default=True, help="Ray's web page, of a cluster.")
def repro(jobs: int | None, address: str | None, gpus_per_run: int | None, dashboard: bool) -> None:
    """Do what `dvc repro` does, with the runs of all versions side by side, on this machine or a Ray cluster."""
    from ganealogy import repro

    if address is None:
        if gpus_per_run is not None:
            raise click.UsageError("--gpus-per-run needs --address; on this machine set train.runs_per_gpu")
        sys.exit(repro.repro(jobs))
    from ganealogy.cluster import fill

    with fill.on_cluster(address, jobs, gpus_per_run, dashboard) as on_cluster:
        sys.exit(repro.repro(fill=on_cluster))


def _budget(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    from ganealogy.settle import parse_budget

    try:
        return None if text is None else parse_budget(text)
    except GanealogyError as error:
        raise click.BadParameter(str(error), context, option) from None


@click.command()
@click.argument("names", nargs=-1, metavar="[VERSION]...")
@click.option("--at-most", type=click.IntRange(5, 40), default=40, show_default=True, help="Seeds of a version.")
@click.option("--budget", callback=_budget, metavar="TIME", help="Start no look that ends later, such as 6h or 30m.")
@click.option("--dry-run", is_flag=True, help="Print the next look and what it takes, and train nothing.")
def settle(names: tuple[str, ...], at_most: int, budget: float | None, dry_run: bool) -> None:
    """Add seeds until the verdicts of VERSIONs are settled; by default those of all edges.

    Looks are planned: at 5, 8, 12, 20 and 40 seeds. Before each, seeds are added to the edges that are still open, in
    tree.more_seeds of params.yaml, and trained. An edge stops at a word, at the last look, or when no word is likely
    any more. However many looks are taken, at most one tree in twenty without any difference shows one.

    \b
    ganealogy settle                        all edges, up to 40 seeds
    ganealogy settle v8 --at-most 20        the edge of v8
    ganealogy settle --budget 6h --dry-run  what the next look would take

    Stopped, it continues from there.
    """
    from ganealogy import settle
    from ganealogy.lineage import tables

    if dry_run:
        look = settle.load(names, at_most, budget)
        look.check_budget()
        tables.show(settle.table(look))
        click.echo(settle.sentence(look))
        return
    for look in settle.settle(names, at_most, budget):
        tables.show(settle.table(look))
        click.echo(settle.sentence(look))


@click.command()
@click.option("--fix", is_flag=True, help="Only remove the broken lock file of a DVC that was killed.")
@JSON
def doctor(fix: bool, as_json: bool) -> None:
    """Check environment and workspace: ✓ good, ! worth knowing, ✗ must be fixed (exit code 2)."""
    if fix:
        from ganealogy.runtime import dvc_rwlock

        if dvc_rwlock.remove_broken(Path()):
            click.echo(f"{dvc_rwlock.RWLOCK}: removed; a killed DVC left it half-written")
        return
    from ganealogy.cli import doctor

    if as_json:
        findings = list(doctor.examine())
        emit([{"mark": finding.mark, "text": finding.text} for finding in findings])
        sys.exit(doctor.exit_code(findings))
    sys.exit(doctor.report(click.echo))


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--ignore-unknown", is_flag=True, help="Also if some revisions cannot be read.")
def gc(yes: bool, ignore_unknown: bool) -> None:
    """Remove finished and unfinished runs that no branch, tag or experiment names.

    Every finished run stays in build/store, so that a value changed and changed back trains nothing. This says how much
    it would free, and asks. A removed run can be trained again. `dvc gc` is for DVC's own cache.
    """
    from ganealogy.runs import gc, store

    garbage = gc.find()
    if garbage.unknown and not ignore_unknown:
        raise gc.unreadable(garbage.unknown)
    stages = Counter(entry.record["stage"] for entry in garbage.entries)
    parts = [f"{count} of {stage}" for stage, count in stages.items()]
    parts += [f"{len(garbage.unfinished)} unfinished"] if garbage.unfinished else []
    if not parts:
        click.echo(f"nothing to remove; {garbage.kept} results are in use")
        return
    click.echo(f"frees {garbage.bytes / 1e6:,.0f} MB: results {', '.join(parts)}; {garbage.kept} in use stay")
    if yes or click.confirm("Remove them?"):
        for entry in garbage.entries:
            store.remove(entry.path)
        for folder in garbage.unfinished:
            process.remove_unless_held(folder)


@click.command()
@click.argument("what", type=click.Choice(["inception"]))
def fetch(what: str) -> None:
    """Download the weights of pytorch-fid's Inception, and turn on FID in params.yaml.

    A mirror (GANEALOGY_MIRROR, dataset.mirror) and torch's cache are used before the network. `dvc repro` does the same
    by itself where evaluate.extractors has inception.

    In a folder without params.yaml, it downloads the weights for `ganealogy measure --extractor inception` there.
    """
    from ganealogy.data.fetch import mirror
    from ganealogy.evaluation.extractors._inception_weights import fetch_weights
    from ganealogy.params import edit, schema
    from ganealogy.workspace import PARAMS

    with process.explain_full_disk("build/weights", "params.yaml"):
        path = fetch_weights(mirror(schema.load().dataset.mirror if PARAMS.exists() else None))
        if not PARAMS.exists():
            click.echo(f"wrote {path}; `ganealogy measure` in this folder can compute FID with --extractor inception")
            return
        edit.add_extractor(what)
    click.echo("params.yaml: evaluate.extractors has inception now; `dvc repro` measures FID")


VERBS = (repro, settle, doctor, gc, fetch)
