"""The command line: one function per verb, which parses, calls and prints."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

from ganealogy.cli import project_verbs, stage_verbs
from ganealogy.cli._groups import SectionedGroup
from ganealogy.cli.stage_verbs import FILE, SEED, OutputFile
from ganealogy.errors import GanealogyError, printable
from ganealogy.runtime import process, streams

DEBUG = "--debug"
EPILOG = """
\b
Exit codes: 0 done (a version that diverges is a result) · 2 an error to fix, on one line · 3 `calibrate`: outside ·
130 stopped by Ctrl-C · 143 by SIGTERM · 129 by a closed terminal · 1 a bug in Ganealogy, with its traceback.
"""


@click.group(
    cls=SectionedGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=EPILOG.strip("\n"),
)
@click.option(DEBUG, is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="ganealogy")
def cli(debug: bool) -> None:
    """Train a family tree of GANs under one protocol, and test which idea helped.

    \b
    dvc repro                      run what changed
    dvc repro train@v3             train version v3, all its seeds
    dvc exp run -S train.lr=1e-4   run the same tree under another protocol

    Settings are in params.yaml, versions in versions/.
    """


for verb in (project_verbs.init, *stage_verbs.VERBS):
    cli.add_command(verb)


@cli.command()
def summary() -> None:
    """Print what the ideas achieved, a table of the versions, and where the report is."""
    from rich.console import Console

    from ganealogy.report import terminal
    from ganealogy.workspace import REPORT_PAGE

    console = Console()
    console.print(terminal.summary(Path(), console.width))
    click.echo(f"\nreport     {REPORT_PAGE.resolve().as_uri()}\nMLflow UI  make ui")


def _fraction(context: click.Context, option: click.Parameter, text: str) -> float:
    from ganealogy.verdicts import power

    try:
        return power.parse_fraction(text)
    except GanealogyError as error:
        raise click.BadParameter(str(error), context, option) from None


@cli.command()
@click.argument("version")
@click.option(
    "--difference", callback=_fraction, default="10%", show_default=True, metavar="FRACTION", help="Such as 10% or 0.1."
)
@click.option(
    "--power",
    "power",
    type=click.FloatRange(0.1, 0.999),
    default=0.8,
    show_default=True,
    help="Probability of detecting a real difference.",
)
def seeds(version: str, difference: float, power: float) -> None:
    """Estimate how many seeds a comparison of VERSION with its parent needs.

    Another seed gives another number. The report tests child against parent seed by seed, at 5, 8, 12, 20 and 40 seeds;
    the more the difference varies over seeds, the more seeds it needs. This command reads the spread of the existing
    seeds, at least two of both, and prints the seeds for several differences, and how to add those of the next look.

    \b
    ganealogy seeds v8                    a difference of 10 %, detected 8 times in 10
    ganealogy seeds v8 --difference 5%    half the difference: about four times the seeds
    ganealogy seeds v8 --power 0.95       detected 19 times in 20

    A difference of 10 % means that the worse distance is 1.1 times the better one. The numbers count all edges of the
    tree and all looks. A range such as `12 seeds (5 to 20)` is what the spread, known from few seeds, leaves open.
    """
    from rich.console import Console

    from ganealogy.report import seeds as planning

    Console().print(*planning.render(planning.plan_seeds(Path(), version, difference, power)), crop=False)


@cli.command()
@click.argument("version")
@click.option("--runs", type=click.IntRange(min=2), default=5, show_default=True, help="Per kind of draws.")
def noise(version: str, runs: int) -> None:
    """Measure which random draws of a training make VERSION's numbers vary.

    It trains VERSION with only its initial weights varied, then only the order of its batches, then only the draws of
    each step (latents, augmentation, dropout), and compares their spread with that of the tree's seeds. Runs that are
    in build/store are not trained again. `dvc repro` then shows the result in the report.
    """
    from ganealogy.stages import noise

    if code := noise.run(version, runs):
        sys.exit(code)
    from rich.console import Console

    from ganealogy.files.records import read_record
    from ganealogy.report.noise import terminal
    from ganealogy.workspace import NOISE

    Console().print(terminal(read_record(NOISE, "")))
    click.echo(f"wrote {NOISE}; `dvc repro` shows it in the report")


@cli.command()
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


@cli.command()
def tree() -> None:
    """Print the family tree of all files in versions/."""
    from ganealogy.lineage import tables, versions

    tables.show(tables.FamilyTree(versions.read_family(versions.known())))


@cli.command()
@click.argument("version")
@click.option("--layers", is_flag=True, help="The layers of G and D at the size of params.yaml instead.")
def show(version: str, layers: bool) -> None:
    """Print the complete recipe of VERSION, and which ancestor sets each value.

    \b
    ganealogy show v8             its recipe
    ganealogy show v8 --layers    its networks: layers, shapes and parameters, as Keras prints them
    """
    from ganealogy.lineage import recipe, tables, versions

    member = versions.read_family([version])[version]
    if layers:
        from ganealogy.params import schema
        from ganealogy.stages import plan

        tables.show(*(tables.layers(title, found) for title, found in plan.layers(member, schema.load()).items()))
        return
    shown = tables.recipe(member, recipe.complete(member.recipe, str(member.path)))
    tables.show(shown, f"{member.file.idea.strip()}\n{member.file.source}")


@cli.command()
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> None:
    """Print the values in which the complete recipes of two versions differ."""
    from ganealogy.lineage import recipe, tables, versions

    members = versions.read_family([first, second])
    recipes = {name: recipe.complete(members[name].recipe, name) for name in (first, second)}
    tables.show(tables.difference(first, second, recipes))


@cli.command()
@click.argument("name")
@click.option("--parent", required=True, help="The version to start from.")
def new(name: str, parent: str) -> None:
    """Write versions/NAME.yaml to fill in, and add NAME to params.yaml; only NAME will be trained."""
    from ganealogy.lineage import new_version

    with process.explain_full_disk("versions", "params.yaml"):
        click.echo(f"{new_version.new(name, parent)}: fill it in, then `dvc repro`")


@cli.command()
@click.option("--follow", type=FILE, help="A run directory to post while the process --parent runs.")
@click.option("--parent", type=int, help="Process id to end with.")
@click.option("--from-store", is_flag=True, hidden=True)
def sync(follow: Path | None, parent: int | None, from_store: bool) -> None:
    """Post to MLflow what it lacks of the run directories.

    The exit code is 0 if all is posted, else 2; the warnings say why.
    """
    from ganealogy import tracking

    if from_store:
        from ganealogy import repro

        repro.post_from_store()
    elif follow is not None:
        tracking.follow(follow, parent)
    else:
        results = tracking.sync_all(Path())
        sys.exit(process.FIXABLE if any(result.warning for result in results) else process.OK)


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the first free one from 5000 on.")
def ui(port: int | None) -> None:
    """Start the MLflow UI on loopback, and print the address of the run comparison."""
    from ganealogy import tracking

    tracking.ui(port)


@cli.command()
@click.argument("version", required=False)
@click.argument("seed", type=SEED, required=False)
@click.option("--out", type=OutputFile(".onnx"), help="Default: reports/live/VERSION-SEED.onnx.")
def export(version: str | None, seed: int | None, out: Path | None) -> None:
    """Write the generator of VERSION and SEED, or of the best run, as ONNX, and compare it with torch."""
    from ganealogy.export import onnx_file, select_run

    run, _ = select_run.choose(version, seed)
    click.echo(onnx_file.export(run, out or select_run.model_path(run)))


@cli.command()
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("-n", "--count", type=click.IntRange(1, 1_000_000), default=16, show_default=True, help="Pictures.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first picture.")
@click.option("--class", "label", metavar="CLASS", help="Name or number; default: all in turn.")
@click.option(
    "--temperature",
    type=click.FloatRange(0, 10),
    default=1.0,
    show_default=True,
    help="Factor on the latents: below 1, less variety and fewer failures.",
)
def generate(source: str, out: Path | None, count: int, seed: int, label: str | None, temperature: float) -> None:
    """Generate pictures of SOURCE into the folder OUT: PNGs named by their seeds, a sheet and a manifest.

    A seed gives the same picture in any number of pictures. OUT is reports/generated/SOURCE by default.

    \b
    ganealogy generate v8                         16 pictures of its best training
    ganealogy generate v8-2 -n 1000 --seed 7      1,000 of its training with seed 2: seeds 7 to 1006
    ganealogy generate v13 --class cats out/      one class of a conditional version
    ganealogy generate models:/faces-64x64@best   from MLflow's registry
    ganealogy generate reports/live/v8-0.onnx     from an ONNX file
    """
    from ganealogy.export import generators, pictures

    generator = generators.find(source)
    number = None if label is None else generator.class_number(label)
    folder = Path("reports/generated", generator.name) if out is None else out.expanduser()
    with process.explain_full_disk(folder):
        sheet = pictures.write(generator, folder, count, seed, number, temperature)
    click.echo(f"wrote {count} picture{'s'[: count > 1]} to {folder}; the first on one sheet: {sheet.resolve().as_uri()}")


@cli.command()
@click.argument("version", required=False)
@click.argument("seed", type=SEED, required=False)
def live(version: str | None, seed: int | None) -> None:
    """Build reports/live.html, a page that generates pictures in the browser.

    It contains the generator of VERSION and SEED, or of the best run. Needs npm once.
    """
    from ganealogy.export import select_run, web_page

    page = web_page.build(*select_run.choose(version, seed))
    click.echo(f"live: {page.resolve().as_uri()} ({page.stat().st_size / 1e6:.1f} MB)")


@cli.command()
@click.option("--fix", is_flag=True, help="Only remove the broken lock file of a DVC that was killed.")
def doctor(fix: bool) -> None:
    """Check environment and workspace: ✓ good, ! worth knowing, ✗ must be fixed (exit code 2)."""
    if fix:
        from ganealogy.runtime import dvc_rwlock

        if dvc_rwlock.remove_broken(Path()):
            click.echo(f"{dvc_rwlock.RWLOCK}: removed; a killed DVC left it half-written")
        return
    from ganealogy.cli import doctor

    sys.exit(doctor.report(click.echo))


@cli.command()
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


@cli.command()
@click.argument("what", type=click.Choice(["inception"]))
def fetch(what: str) -> None:
    """Download the weights of pytorch-fid's Inception, and turn on FID in params.yaml.

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


@cli.command()
@click.argument("name")
@click.option("--path", help="For `folder`: a directory or a zip of your pictures.")
def use(name: str, path: str | None) -> None:
    """Write the preset NAME into params.yaml, and print the changes.

    NAME: demo, avatars, anime, celeba, cifar10, mnist, mnist-mlp, mnist32 or folder.
    """
    from ganealogy.params import edit

    with process.explain_full_disk("params.yaml"):
        click.echo(printable(edit.use(name, path) or f"params.yaml is already {name}'s"))


@cli.command()
@click.argument("name", required=False)
def calibrate(name: str | None) -> None:
    """Compare the number of the version NAME with the published one: inside or outside.

    It tests data, training, sampling and metric together. A version file says in `calibration` which number others
    publish, under which protocol, and which interval agrees with it. Without NAME, it lists these versions.

    \b
    ganealogy fetch inception           once: the published numbers are FIDs
    ganealogy use cifar10               the pictures, and the protocol of mimicry-dcgan
    ganealogy calibrate mimicry-dcgan   trains what is missing: hours on a GPU

    params.yaml is not changed: where it is of another protocol, an error names the keys to set. The exit code is 0
    inside and 3 outside; a seed that diverges is outside.
    """
    from ganealogy import calibrate
    from ganealogy.lineage import tables

    if name is None:
        tables.show(calibrate.table())
        return
    outcome = calibrate.run(name)
    tables.show(str(outcome))
    sys.exit(process.OK if outcome.inside else calibrate.OUTSIDE)


def main() -> None:
    """Run the verb on the command line. Exits with a code of EPILOG."""
    process.raise_on_stop()
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]  # accepted before and after the verb

    @streams.for_show()
    def run() -> None:
        try:
            code = cli.main(arguments, standalone_mode=False)
        except click.ClickException as error:  # a wrong option: click prints what is legal, and its code is 2
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            raise KeyboardInterrupt from None
        sys.exit(code if isinstance(code, int) else 0)

    sys.exit(process.report_errors(run, debug=len(arguments) < len(sys.argv) - 1))
