"""The command line: one verb a stage, and the verbs around them. Each parses, calls, prints."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ganealogy.runtime import process

DEBUG = "--debug"
RANKS = click.option(
    "--ranks",
    type=click.IntRange(min=1),
    default=1,
    envvar="GANEALOGY_RANKS",
    help="Processes that share each batch, a GPU each; the same as torchrun --nproc-per-node.",
)


EPILOG = """
\b
Exit codes: 0 done (a version that diverged is a result, too) · 2 a fault that you can cure, told in one line ·
130 stopped by Ctrl-C · 143 stopped by SIGTERM · 1 a fault in Ganealogy, with its traceback.
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}, epilog=EPILOG.strip("\n")
)
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
    from ganealogy.lineage import tables
    from ganealogy.stages import plan

    process.die_with_parent()
    files = plan.make()
    with process.explain_full_disk(plan.PLAN):
        plan.write(files)
    tables.show(tables.table(files["tree.json"]))


@cli.command()
def download() -> None:
    """Fetch or draw the pictures of dataset.name into data/raw.

    A public set is taken from dataset.mirror or the environment's GANEALOGY_MIRROR (a directory) where it is there.
    """
    from ganealogy.data import download
    from ganealogy.params import schema
    from ganealogy.stages import _stage

    with _stage.stage("download", outs=[_stage.RAW]) as planned:
        mirror = schema.load().dataset.mirror
        download.download({**planned["settings"], "mirror": mirror}, _stage.RAW)


@cli.command()
def preprocess() -> None:
    """Decode, crop, resize, drop duplicates and split into data/packed."""
    from ganealogy.data import preprocess
    from ganealogy.runtime import memory
    from ganealogy.stages import _stage

    memory.keep_freed()
    with _stage.stage("preprocess", deps=[_stage.RAW], outs=[_stage.PACKED]) as planned:
        preprocess.preprocess(planned["settings"], _stage.RAW, _stage.PACKED)


@cli.command()
def reference() -> None:
    """Measure the real pictures: features, and the anchors that stand beside every number."""
    from ganealogy.params import schema
    from ganealogy.stages import _stage

    with _stage.stage("reference", deps=[_stage.PACKED], outs=[_stage.REFERENCE]) as planned:
        from ganealogy.data import packed
        from ganealogy.evaluation import reference

        _stage.verify_packed(packed.read_manifest(_stage.PACKED), _stage.PACKED)
        device = _stage.setup_device(schema.load().train)
        wanted = planned["settings"]
        places = (_stage.PACKED, _stage.REFERENCE)
        reference.measure_reference(wanted, wanted["count"], *places, device=device, kept=_stage.features_directory())


@cli.command()
@click.argument("version")
@click.argument("seed", type=click.IntRange(min=0))
@RANKS
def train(version: str, seed: int, ranks: int) -> None:
    """Train VERSION with SEED; an interrupted training goes on where it stopped."""
    from ganealogy.params import schema
    from ganealogy.stages import _stage, train

    if ranks > 1:
        sys.exit(_stage.launch_with_torchrun(ranks, "train", version, seed, schema.load()))
    sys.exit(train.train(version, seed, schema.load()))


@cli.command()
@click.argument("version")
@click.argument("seed", type=click.IntRange(min=0))
def sample(version: str, seed: int) -> None:
    """Draw VERSION's pictures, grid and walk between latents."""
    from ganealogy.params import schema
    from ganealogy.stages import _stage

    run = _stage.run_directory(version, seed)
    cost = run / "cost" / "sample.json"
    with _stage.stage("sample", cost, version, deps=[run / "train"], outs=[run / "sample"]) as planned:
        from ganealogy.sampling import sample

        sample.sample(run, planned["settings"], device=_stage.setup_device(schema.load().train))


@cli.command()
@click.argument("version", required=False)
@click.argument("seed", type=click.IntRange(min=0), required=False)
@click.option("--real", type=click.Path(path_type=Path), help="Real pictures: a folder, zip, .npy, .npz or statistics.")
@click.option("--fake", type=click.Path(path_type=Path), help="Pictures to measure against them.")
@click.option("--extractor", "extractors", multiple=True, help="As often as needed; effnet_lite0 and pixel8 if none.")
@click.option("--json", type=click.Path(path_type=Path), help="Where to write the numbers and their protocols.")
@click.option(
    "--save-statistics", type=click.Path(path_type=Path), help="Where to write the reals' mu and sigma, .npz."
)
@RANKS
def evaluate(
    version: str | None,
    seed: int | None,
    ranks: int,
    real: Path | None,
    fake: Path | None,
    extractors: tuple[str, ...],
    json: Path | None,
    save_statistics: Path | None,
) -> None:
    """Measure VERSION's samples of SEED against the real pictures, as a stage does; or any two sets of pictures.

    \b
    ganealogy evaluate --real photos/ --fake samples.zip --extractor inception
    """
    if (version is None) == (real is None) or (seed is None) != (version is None):
        raise click.UsageError("give VERSION and SEED, or --real and --fake")
    if real is not None:
        if fake is None and save_statistics is None:
            raise click.UsageError("--real needs --fake, or --save-statistics")
        _evaluate_alone(real, fake, extractors, json, save_statistics)
        return
    if fake or extractors or json or save_statistics:
        raise click.UsageError("--fake, --extractor, --json and --save-statistics go with --real")
    assert version is not None and seed is not None
    _evaluate_run(version, seed, ranks)


def _evaluate_alone(
    real: Path, fake: Path | None, extractors: tuple[str, ...], json: Path | None, save_statistics: Path | None
) -> None:
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


def _evaluate_run(version: str, seed: int, ranks: int) -> None:
    from ganealogy.params import schema
    from ganealogy.stages import _stage

    if ranks > 1:
        sys.exit(_stage.launch_with_torchrun(ranks, "evaluate", version, seed, schema.load()))
    run = _stage.run_directory(version, seed)
    deps = [run / "sample", run / "train" / "run.json", _stage.REFERENCE, _stage.PACKED / "train.npy"]
    with _stage.stage("evaluate", run / "cost" / "evaluate.json", deps=deps, outs=[run / "evaluate"]) as planned:
        from ganealogy.evaluation import evaluate
        from ganealogy.runtime.distributed import process_group

        places, kept = (_stage.REFERENCE, _stage.PACKED), _stage.features_directory()
        with process_group(_stage.setup_device(schema.load().train)) as device:
            evaluate.evaluate(run, planned["settings"], *places, device=device, kept=kept)


@cli.command()
@click.option("--exp", "experiments", is_flag=True, help="Compare these DVC experiments: reports/compare.html.")
@click.argument("names", metavar="[EXPERIMENT]...", nargs=-1)
def report(experiments: bool, names: tuple[str, ...]) -> None:
    """Compare the versions in reports/, and bring MLflow up to date.

    \b
    ganealogy report --exp faster wider      two experiments side by side, read from git and DVC's cache
    ganealogy report --exp workspace faster  the files as they lie here, and an experiment
    """
    from ganealogy import tracking
    from ganealogy.stages import _stage

    if experiments or names:
        if not experiments:
            raise click.UsageError("experiments are named after --exp: ganealogy report --exp A B")
        from ganealogy.report import compare

        click.echo(f"comparison: {compare.compare(list(names)).resolve().as_uri()}")
        return
    with _stage.stage("report", deps=_stage.report_inputs(), outs=_stage.REPORTS):
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


def _share(context: click.Context, option: click.Parameter, text: str) -> float:
    from ganealogy.errors import GanealogyError
    from ganealogy.verdicts import power

    try:
        return power.parse_share(text)
    except GanealogyError as error:
        raise click.BadParameter(str(error), context, option) from None


@cli.command()
@click.argument("version")
@click.option(
    "--difference", callback=_share, default="10%", show_default=True, metavar="SHARE", help="To resolve: 10% or 0.1."
)
@click.option(
    "--power",
    "wanted",
    type=click.FloatRange(0.1, 0.999),
    default=0.8,
    show_default=True,
    help="The chance with which a difference that is there shall be shown.",
)
@click.option("--metric", help="The one that leads the report, unless given.")
def seeds(version: str, difference: float, wanted: float, metric: str | None) -> None:
    """Say how many more seeds would tell VERSION from its parent.

    One training says little: another seed gives another number. The report tests child against parent over seeds, and
    the more they scatter, the more seeds a difference takes. This reads the spread of the seeds that are there, two of
    each at least, and prints the seeds for several differences and the edit of params.yaml.

    \b
    ganealogy seeds v8                    a difference of 10 %, found 8 times in 10
    ganealogy seeds v8 --difference 5%    a finer one: about four times the seeds
    ganealogy seeds v8 --power 0.95       found 19 times in 20

    A difference of 10 % means that the worse distance is 1.1 times the better. The report judges all edges of the tree
    at once, so an edge has to pass a stricter level (Holm); the last column is for an edge that is the only one.
    """
    from rich.console import Console

    from ganealogy.report import seeds as planning

    Console().print(*planning.shown(planning.outlook(Path(), version, difference, wanted, metric)))


@cli.command()
@click.option("--jobs", type=click.IntRange(min=1), help="Runs at a time; as many as there is room for, unless given.")
@click.option("--address", help="A running Ray cluster's, HOST:PORT or `auto`; without it, this machine alone.")
@click.option("--gpus-per-run", type=click.IntRange(min=0), help="1 where there are GPUs; more train one run together.")
@click.option("--dashboard/--no-dashboard", default=True, help="Ray's own web page, where Ray is started here.")
def repro(jobs: int | None, address: str | None, gpus_per_run: int | None, dashboard: bool) -> None:
    """Do what `dvc repro` does, many runs side by side: on this machine, or on a Ray cluster."""
    from ganealogy.cluster import repro

    repro.repro(jobs, address, gpus_per_run, dashboard, click.echo)


@cli.command()
def tree() -> None:
    """Draw the family: every file of versions/, trained or not."""
    from ganealogy.lineage import tables, versions

    tables.show(tables.tree(versions.read_family(versions.known())))


@cli.command()
@click.argument("version")
def show(version: str) -> None:
    """Print VERSION's whole recipe, and which ancestor each value comes from."""
    from ganealogy.lineage import recipe, tables, versions

    member = versions.read_family([version])[version]
    tables.show(tables.recipe(member, recipe.complete(member.recipe, str(member.path))))
    click.echo(f"{member.file.idea.strip()}\n{member.file.source}")


@cli.command()
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> None:
    """Print the values in which two versions' whole recipes differ."""
    from ganealogy.lineage import recipe, tables, versions

    members = versions.read_family([first, second])
    tables.show(
        tables.difference(
            first, second, {name: recipe.complete(members[name].recipe, name) for name in (first, second)}
        )
    )


@cli.command()
@click.argument("name")
@click.option("--parent", required=True, help="The version that it starts from.")
def new(name: str, parent: str) -> None:
    """Write versions/NAME.yaml to fill in, and add it to params.yaml; only it will train."""
    from ganealogy.lineage import new_version

    with process.explain_full_disk("versions", "params.yaml"):
        click.echo(f"{new_version.new(name, parent)}: fill it in, then `dvc repro`")


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
@click.argument("version", required=False)
@click.argument("seed", type=click.IntRange(min=0), required=False)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="reports/live/VERSION-SEED.onnx, unless given."
)
def export(version: str | None, seed: int | None, out: Path | None) -> None:
    """Write the generator of VERSION and SEED as ONNX, checked against torch; without them, the best run's."""
    from ganealogy.export import select_run
    from ganealogy.export.onnx_file import export

    run, _ = select_run.choose(version, seed)
    click.echo(export(run, out or select_run.model_path(run)))


@cli.command()
@click.argument("version", required=False)
@click.argument("seed", type=click.IntRange(min=0), required=False)
def live(version: str | None, seed: int | None) -> None:
    """Build reports/live.html, a page that makes new pictures in the browser, with the best run's generator in it.

    Or with that of VERSION and SEED. It needs npm, once.
    """
    from ganealogy.export import select_run
    from ganealogy.export.web_page import build

    page = build(*select_run.choose(version, seed))
    click.echo(f"live: {page.resolve().as_uri()} ({page.stat().st_size / 1e6:.1f} MB)")


@cli.command()
@click.option("--quick", is_flag=True, help="Leave DVC's cache unhashed.")
def doctor(quick: bool) -> None:
    """Check the environment and the workspace: a line each, ✓ good, ! worth knowing, ✗ to be mended (exit code 2)."""
    from ganealogy.cli import doctor

    sys.exit(doctor.report(quick, click.echo))


@cli.command()
def mend() -> None:
    """Remove the half-written file by which a DVC that was killed stops every later one; `make repro` begins so."""
    from ganealogy.runtime import dvc_rwlock

    if dvc_rwlock.remove_broken(Path()):
        click.echo(f"{dvc_rwlock.RWLOCK}: a DVC was killed while it wrote it; removed")


@cli.command()
@click.argument("what", type=click.Choice(["inception"]))
def fetch(what: str) -> None:
    """Get the weights of pytorch-fid's Inception and add it to evaluate.extractors, so that FID is measured."""
    from ganealogy.data.fetch import mirror
    from ganealogy.evaluation.extractors._inception_weights import fetch_weights
    from ganealogy.params import edit, schema

    with process.explain_full_disk("build/weights", schema.PARAMS):
        fetch_weights(mirror(schema.load().dataset.mirror))
        edit.add_extractor(what)
    click.echo("params.yaml: evaluate.extractors has inception now; `dvc repro` measures FID")


@cli.command()
@click.argument("name")
@click.option("--path", help="For `folder`: a directory or a zip of your pictures.")
def use(name: str, path: str | None) -> None:
    """Write the preset NAME into params.yaml, and show what changed.

    NAME: demo, anime, celeba, mnist, mnist-mlp, mnist32 or folder.
    """
    from ganealogy.params import edit

    with process.explain_full_disk("params.yaml"):
        click.echo(edit.use(name, path) or f"params.yaml is already {name}'s")


@cli.command(context_settings={"allow_interspersed_args": False})  # options are the command's
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def warm(command: tuple[str, ...]) -> None:
    """Run COMMAND, `dvc repro` say; the stages that it starts find torch loaded, which saves each a second or two.

    They do and leave the same. `make repro` works so.
    """
    from ganealogy import warm

    sys.exit(warm.run(command))


def main() -> None:
    """Run the verb on the command line. Exits as EPILOG says."""
    process.raise_on_sigterm()
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]  # before the verb or behind it

    def run() -> None:
        try:
            code = cli.main(arguments, standalone_mode=False)
        except click.ClickException as error:  # a wrong option: click says what is legal, and its code is 2
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            raise KeyboardInterrupt from None
        sys.exit(code if isinstance(code, int) else 0)

    sys.exit(process.report_errors(run, debug=len(arguments) < len(sys.argv) - 1))
