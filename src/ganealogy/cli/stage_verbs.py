"""The verbs of the stages, which dvc.yaml runs, and `measure`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ganealogy.cli._json import JSON, emit
from ganealogy.errors import printable
from ganealogy.runtime import process

SEED = click.IntRange(min=0)


class SeedList(click.ParamType):  # type: ignore[type-arg]
    """`0,2,5`, `0-4` or both."""

    name = "SEEDS"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> list[int]:
        seeds: list[int] = []
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
                self.fail(f"{value!r}: give seeds such as 0, 0,2,5 or 0-4", parameter, context)
            seeds += range(int(first), int(last or first) + 1)
        return list(dict.fromkeys(seeds))


class OutputFile(click.Path):
    """A file to write. Only one of the same kind, by its ending, is replaced: a wrong name costs no picture."""

    def __init__(self, suffix: str) -> None:
        super().__init__(path_type=Path, dir_okay=False)
        self.suffix = suffix

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Path:
        path = Path(str(super().convert(value, parameter, context))).expanduser()
        if path.exists() and path.suffix.lower() != self.suffix:
            self.fail(f"{path} exists and is no {self.suffix} file: choose another name", parameter, context)
        return path


SEEDS = click.option("--seeds", type=SeedList(), help="Such as 0,2,5 or 0-4; default: those of the plan.")
FILE = click.Path(path_type=Path)
RANKS = click.option(
    "--ranks",
    type=click.IntRange(min=1),
    default=1,
    envvar="GANEALOGY_RANKS",
    help="Processes that share each batch, with one GPU each (torchrun --nproc-per-node).",
)


@click.command()
@JSON
def plan(as_json: bool) -> None:
    """Check params.yaml and all versions, write build/plan, and print the versions.

    With the time that the runs take, for recipes that were measured on this machine before their first training.
    """
    from ganealogy.lineage import tables, versions
    from ganealogy.params import schema
    from ganealogy.stages import _side_by_side, _weights, plan

    tree = plan.run()
    if as_json:
        emit(tree)
        return
    for file, why in versions.misnamed().items():
        process.warn(f"versions/{file} is not read: {why}")
    settings = schema.load()
    for why in _weights.not_measured(settings.evaluate.extractors, settings.evaluate.lead).values():
        process.warn(f"fid: not measured: {why}")
    times, sentence = _side_by_side.times_of_plan(settings)
    tables.show(tables.table(tree, times))
    if sentence:
        click.echo(sentence)


@click.command()
def inputs() -> None:
    """Note in data/inputs.json what DVC does not see: your pictures, mirrors, weights, the package, components."""
    from ganealogy.stages import inputs

    inputs.run()


@click.command()
def download() -> None:
    """Download or draw the pictures of dataset.name into data/raw.

    A public data set is copied from dataset.mirror, or from the directory in GANEALOGY_MIRROR, if its files are there.
    """
    from ganealogy.stages import download

    download.run()


@click.command()
def preprocess() -> None:
    """Decode, crop, resize, drop duplicates and split into data/packed."""
    from ganealogy.stages import preprocess

    preprocess.run()


@click.command()
def reference() -> None:
    """Measure the real pictures: their features, and the anchors of each metric."""
    from ganealogy.stages import reference

    reference.run()


@click.command()
@click.argument("version")
@SEEDS
@RANKS
def train(version: str, seeds: list[int] | None, ranks: int) -> None:
    """Train the seeds of VERSION side by side, and resume those that were interrupted.

    \b
    ganealogy train v3              all its seeds, as many at a time as the machine has room for
    ganealogy train v3 --seeds 1    one of them

    Results are kept in build/store: a seed that is there is taken, not trained. GANEALOGY_JOBS limits the number at a
    time, GANEALOGY_THREADS sets the threads of each (train.threads).
    """
    from ganealogy.stages import train

    sys.exit(train.run(version, seeds, ranks))


@click.command()
@click.argument("version")
@SEEDS
def sample(version: str, seeds: list[int] | None) -> None:
    """Generate pictures, a grid and a walk between latents from each seed of VERSION."""
    from ganealogy.stages import sample

    sys.exit(sample.run(version, seeds))


@click.command()
@click.argument("version")
@SEEDS
@RANKS
def evaluate(version: str, seeds: list[int] | None, ranks: int) -> None:
    """Measure the samples of each seed of VERSION; see `measure` for any two sets of pictures."""
    from ganealogy.stages import evaluate

    sys.exit(evaluate.run(version, seeds, ranks))


@click.command()
@click.option("--real", type=FILE, required=True, help="Real pictures: a folder, zip, .npy, .npz or statistics.")
@click.option("--fake", type=FILE, help="Pictures to compare with them.")
@click.option(
    "--extractor", "extractors", multiple=True, help="Repeatable; default: layout_edges_32_64, effnet_lite0 and pixel8."
)
@click.option("--json", type=OutputFile(".json"), help="File to write the numbers and their protocols to.")
@click.option("--save-statistics", type=OutputFile(".npz"), help="File (.npz) to write mu and sigma of the reals to.")
def measure(
    real: Path, fake: Path | None, extractors: tuple[str, ...], json: Path | None, save_statistics: Path | None
) -> None:
    """Measure any two sets of pictures: FID and the other metrics.

    \b
    ganealogy measure --real photos/ --fake samples.zip --extractor inception
    """
    if fake is None and save_statistics is None:
        raise click.UsageError("--real needs --fake, or --save-statistics")
    for option, written in (("--json", json), ("--save-statistics", save_statistics)):
        if written is not None and any(side is not None and _is_same(written, side) for side in (real, fake)):
            raise click.UsageError(f"{option} {written} is one of the sets that are measured: choose another name")
    import torch
    from rich.console import Console

    from ganealogy.evaluation import standalone

    torch.set_num_threads(process.threads(torch.get_num_threads()))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result = standalone.run(real, fake, extractors, json=json, save_statistics=save_statistics, device=device)
    if result is not None:
        Console().print(standalone.table(result))
        for note in result.notes:
            click.echo(note)
    for written in filter(None, (json, save_statistics)):
        click.echo(f"wrote {written}")


def _is_same(one: Path, other: Path) -> bool:
    other = other.expanduser()
    return one.exists() and other.exists() and one.samefile(other)


@click.command()
@click.option("--exp", "experiments", is_flag=True, help="Compare these DVC experiments: reports/compare.html.")
@click.option("--projects", is_flag=True, help="The ideas on the data of these projects: reports/across.html.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
def report(experiments: bool, projects: bool, names: tuple[str, ...]) -> None:
    """Compare the versions in reports/, and post new runs to MLflow.

    \b
    ganealogy report --exp faster wider      compare two experiments, read from git and DVC's cache
    ganealogy report --exp workspace faster  compare the workspace and an experiment
    ganealogy report --projects . ../faces   do the ideas help on other pictures, too? folders or experiments
    """
    from ganealogy import tracking

    if experiments or projects or names:
        if experiments == projects:
            raise click.UsageError(
                "experiments are named after --exp, projects after --projects: ganealogy report --exp A B"
            )
        if projects:
            from ganealogy.report import across

            page, rows = across.write(names)
            for row in rows:
                click.echo(printable(f"{row.child} ({row.title}, against {row.parent}): {row.sentence}"))
                if row.heterogeneity:
                    click.echo(f"  {row.heterogeneity}")
            click.echo(f"page: {page.resolve().as_uri()}")
            return
        from ganealogy.report import compare

        click.echo(f"comparison: {compare.compare(list(names)).resolve().as_uri()}")
        return
    from ganealogy.stages import report

    page = report.run()
    tracking.sync_all(Path())
    click.echo(f"report: {page.resolve().as_uri()}")


VERBS = (inputs, plan, download, preprocess, reference, train, sample, evaluate, measure, report)
