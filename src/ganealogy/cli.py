"""The command line: one verb a stage, and the verbs around them. Each parses, calls, prints."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ganealogy import process

DEBUG = "--debug"
RANKS = click.option(
    "--ranks",
    type=click.IntRange(min=1),
    default=1,
    envvar="GANEALOGY_RANKS",
    help="Processes that share each batch, a GPU each; the same as torchrun --nproc-per-node.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(DEBUG, is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="ganealogy")
def cli(debug: bool) -> None:
    """A family tree of GANs: every version trained under one protocol, and which idea helped.

    \b
    dvc repro                      run what changed: plan, download, preprocess, train, sample, evaluate, report
    dvc repro train@v3-1           train version v3 with seed 1
    dvc exp run -S train.lr=1e-4   the same tree under another protocol

    The stages are verbs here too; dvc.yaml calls them. Settings stand in params.yaml, versions in versions/.
    """


@cli.command()
def plan() -> None:
    """Check params.yaml and versions/, resolve every recipe, write build/plan, print the family."""
    from ganealogy.lineage import family, plan

    files = plan.make()
    plan.write(files)
    family.show(family.table(files["tree.json"]))


@cli.command()
def download() -> None:
    """Fetch or draw the pictures of dataset.name into data/raw.

    A public set is taken from dataset.mirror or the environment's GANEALOGY_MIRROR (a directory) where it is there.
    """
    from ganealogy import settings, stages
    from ganealogy.data import download

    with stages.stage("download"):
        download.download(settings.load().dataset.model_dump(), stages.RAW)


@cli.command()
def preprocess() -> None:
    """Decode, crop, resize, drop duplicates and split into data/packed."""
    from ganealogy import settings, stages
    from ganealogy.data import preprocess

    with stages.stage("preprocess"):
        preprocess.preprocess(settings.load().dataset.model_dump(), stages.RAW, stages.PACKED)


@cli.command()
def reference() -> None:
    """Measure the real pictures: features, and the anchors that stand beside every number."""
    from ganealogy import settings, stages

    with stages.stage("reference") as planned:
        from ganealogy.evaluation import reference

        device = stages.settle(settings.load().train)
        wanted = planned["settings"]
        reference.measure_reference(wanted, wanted["count"], stages.PACKED, stages.REFERENCE, device=device)


@cli.command()
@click.argument("version")
@click.argument("seed", type=click.IntRange(min=0))
@RANKS
def train(version: str, seed: int, ranks: int) -> None:
    """Train VERSION with SEED; an interrupted training goes on where it stopped."""
    from ganealogy import settings, stages

    if ranks > 1:
        sys.exit(stages.on_ranks(ranks, "train", version, seed, settings.load()))
    sys.exit(stages.train(version, seed, settings.load()))


@cli.command()
@click.argument("version")
@click.argument("seed", type=click.IntRange(min=0))
def sample(version: str, seed: int) -> None:
    """Draw VERSION's pictures, grid and walk between latents."""
    from ganealogy import settings, stages

    run = stages.run_directory(version, seed)
    with stages.stage("sample", run / "cost" / "sample.json", version) as planned:
        from ganealogy import sampling

        sampling.sample(run, planned["settings"], device=stages.settle(settings.load().train))


@cli.command()
@click.argument("version")
@click.argument("seed", type=click.IntRange(min=0))
@RANKS
def evaluate(version: str, seed: int, ranks: int) -> None:
    """Measure VERSION's samples against the real pictures."""
    from ganealogy import settings, stages

    if ranks > 1:
        sys.exit(stages.on_ranks(ranks, "evaluate", version, seed, settings.load()))
    run = stages.run_directory(version, seed)
    with stages.stage("evaluate", run / "cost" / "evaluate.json") as planned:
        from ganealogy.evaluation import evaluate
        from ganealogy.ranks import joined

        with joined(stages.settle(settings.load().train)) as device:
            evaluate.evaluate(run, planned["settings"], stages.REFERENCE, device=device)


@cli.command()
def report() -> None:
    """Compare the versions in reports/, and bring MLflow up to date."""
    from ganealogy import stages, tracking

    with stages.stage("report"):
        from ganealogy.report import build

        page = build.build()
    tracking.sync_all(Path())
    click.echo(f"report: {page.resolve().as_uri()}")


@cli.command()
def summary() -> None:
    """Print the table of the last report, and where to look."""
    from rich.console import Console

    from ganealogy.report import numbers

    Console().print(numbers.summary_table(Path()))
    click.echo(f"\nreport     {Path('reports/index.html').resolve().as_uri()}\nMLflow UI  make ui")


@cli.command()
@click.option("--jobs", type=click.IntRange(min=1), help="Runs at a time; as many as there is room for, unless given.")
@click.option("--address", help="A running Ray cluster's, HOST:PORT or `auto`; without it, this machine alone.")
@click.option("--gpus-per-run", type=click.IntRange(min=0), help="1 where there are GPUs; more train one run together.")
@click.option("--dashboard/--no-dashboard", default=True, help="Ray's own web page, where Ray is started here.")
def repro(jobs: int | None, address: str | None, gpus_per_run: int | None, dashboard: bool) -> None:
    """Do what `dvc repro` does, many runs side by side: on this machine, or on a Ray cluster."""
    from ganealogy.scaleout import repro

    repro.repro(jobs, address, gpus_per_run, dashboard, click.echo)


@cli.command()
def tree() -> None:
    """Draw the family: every file of versions/, trained or not."""
    from ganealogy.lineage import family, versions

    family.show(family.tree(versions.read_family(versions.known())))


@cli.command()
@click.argument("version")
def show(version: str) -> None:
    """Print VERSION's whole recipe, and which ancestor each value comes from."""
    from ganealogy.lineage import family, recipe, versions

    member = versions.read_family([version])[version]
    family.show(family.recipe(member, recipe.complete(member.recipe, str(member.path))))
    click.echo(f"{member.file.idea.strip()}\n{member.file.source}")


@cli.command()
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> None:
    """Print the values in which two versions' whole recipes differ."""
    from ganealogy.lineage import family, recipe, versions

    members = versions.read_family([first, second])
    family.show(
        family.difference(
            first, second, {name: recipe.complete(members[name].recipe, name) for name in (first, second)}
        )
    )


@cli.command()
@click.argument("name")
@click.option("--parent", required=True, help="The version that it starts from.")
def new(name: str, parent: str) -> None:
    """Write versions/NAME.yaml to fill in, and add it to params.yaml; only it will train."""
    from ganealogy.lineage import birth

    click.echo(f"{birth.new(name, parent)}: fill it in, then `dvc repro`")


@cli.command()
@click.option("--follow", type=click.Path(path_type=Path), help="One run directory, while the process --parent lives.")
@click.option("--parent", type=int, help="Process id to end with.")
def sync(follow: Path | None, parent: int | None) -> None:
    """Bring MLflow up to date with the run directories: posts what the store lacks, and nothing twice."""
    from ganealogy import tracking

    if follow is not None:
        tracking.follow(follow, parent)
    else:
        tracking.sync_all(Path())


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), help="The first free one from 5000 on, unless given.")
def ui(port: int | None) -> None:
    """Start the MLflow UI on loopback and print the address of the run comparison."""
    from ganealogy import tracking

    tracking.ui(port)


@cli.command()
@click.argument("what", type=click.Choice(["inception"]))
def fetch(what: str) -> None:
    """Get the weights of pytorch-fid's Inception and add it to evaluate.extractors, so that FID is measured."""
    from ganealogy import presets, settings
    from ganealogy.data.fetch import mirror
    from ganealogy.evaluation.weights import fetch_weights

    fetch_weights(mirror(settings.load().dataset.mirror))
    presets.add_extractor(what)
    click.echo("params.yaml: evaluate.extractors has inception now; `dvc repro` measures FID")


@cli.command()
@click.argument("name")
@click.option("--path", help="For `folder`: a directory or a zip of your pictures.")
def use(name: str, path: str | None) -> None:
    """Write the preset NAME (demo, anime, celeba, mnist, mnist32, folder) into params.yaml, and show what changed."""
    from ganealogy import presets

    click.echo(presets.use(name, path) or f"params.yaml is already {name}'s")


def main() -> None:
    sys.exit(process.report_errors(lambda: cli(), debug=DEBUG in sys.argv))
