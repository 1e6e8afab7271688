"""The verbs that read results: numbers, plans for more seeds, pictures, MLflow."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ganealogy.cli._json import JSON, emit
from ganealogy.cli.stage_verbs import FILE, SEED, OutputFile
from ganealogy.errors import GanealogyError
from ganealogy.runtime import process

UNDECIDED = 3


@click.command()
@JSON
def summary(as_json: bool) -> None:
    """Print what the ideas achieved, a table of the versions, and where the report is."""
    if as_json:
        from ganealogy.report import as_json as results

        emit(results.summary(Path()))
        return
    from rich.console import Console

    from ganealogy.report import terminal
    from ganealogy.workspace import REPORT_PAGE

    console = Console()
    console.print(terminal.summary(Path(), console.width))
    click.echo(f"\nreport     {REPORT_PAGE.resolve().as_uri()}\nMLflow UI  ganealogy ui")


@click.command()
@click.argument("version")
@click.option("--against", metavar="VERSION", help="Default: its parent.")
@click.option(
    "--require",
    type=click.Choice(["better", "worse", "equivalent", "not-worse"]),
    help="Exit with 0 if it is so, 1 if it is not, 3 while that is open.",
)
@JSON
def judge(version: str, against: str | None, require: str | None, as_json: bool) -> None:
    """Print the verdict on VERSION, and with --require answer by the exit code.

    \b
    ganealogy judge v8                                     against its parent
    ganealogy judge v17 --against v16 --require better     0 yes, 1 no, 3 open

    The verdict of a parent counts all edges of the tree. Repeated looks are allowed: it is given at 5, 8, 12, 20 and 40
    seeds only, and a word once given stays.
    """
    from dataclasses import asdict

    from ganealogy.report import as_json as results
    from ganealogy.report.verdict_table import effect, effect_range, verdict_label

    metric, other, verdict, remark = results.judge(Path(), version, against)
    answer = results.answer(verdict, require) if require else None
    if as_json:
        emit(
            {
                "version": version,
                "against": other,
                "metric": metric,
                **asdict(verdict),
                "require": require,
                "answer": answer,
            }
        )
    else:
        between = effect_range(metric, verdict)
        changed = " ".join(filter(None, (effect(metric, verdict), f"({between})" if between else "")))
        click.echo(f"{version} against {other}: {verdict_label(verdict)} {changed}\n{verdict.why}; {remark}")
    if require:
        sys.exit({True: process.OK, False: process.UNEXPECTED, None: UNDECIDED}[answer])


def _fraction(context: click.Context, option: click.Parameter, text: str) -> float:
    from ganealogy.verdicts import power

    try:
        return power.parse_fraction(text)
    except GanealogyError as error:
        raise click.BadParameter(str(error), context, option) from None


@click.command()
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
@JSON
def seeds(version: str, difference: float, power: float, as_json: bool) -> None:
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

    if as_json:
        emit(planning.as_json(planning.plan_seeds(Path(), version, difference, power)))
        return
    Console().print(*planning.render(planning.plan_seeds(Path(), version, difference, power)), crop=False)


@click.command()
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


@click.command()
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


@click.command()
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
    click.echo(
        f"wrote {count} picture{'s'[: count > 1]} to {folder}; the first on one sheet: {sheet.resolve().as_uri()}"
    )


@click.command()
@click.argument("version", required=False)
@click.argument("seed", type=SEED, required=False)
@click.option("--out", type=OutputFile(".onnx"), help="Default: reports/live/VERSION-SEED.onnx.")
def export(version: str | None, seed: int | None, out: Path | None) -> None:
    """Write the generator of VERSION and SEED, or of the best run, as ONNX, and compare it with torch."""
    from ganealogy.export import onnx_file, select_run

    run, _ = select_run.choose(version, seed)
    click.echo(onnx_file.export(run, out or select_run.model_path(run)))


@click.command()
@click.argument("version", required=False)
@click.argument("seed", type=SEED, required=False)
def live(version: str | None, seed: int | None) -> None:
    """Build reports/live.html, a page that generates pictures in the browser.

    It contains the generator of VERSION and SEED, or of the best run. Needs npm once.
    """
    from ganealogy.export import select_run, web_page

    page = web_page.build(*select_run.choose(version, seed))
    click.echo(f"live: {page.resolve().as_uri()} ({page.stat().st_size / 1e6:.1f} MB)")


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the first free one from 5000 on.")
def ui(port: int | None) -> None:
    """Start the MLflow UI on loopback, and print the address of the run comparison."""
    from ganealogy import tracking

    tracking.ui(port)


@click.command()
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


@click.command()
@click.argument("version")
@click.argument("text", required=False)
def conclude(version: str, text: str | None) -> None:
    """Write what you conclude from VERSION's numbers into versions/VERSION.yaml.

    The report and `ganealogy show` print it below the verdict, and mark it as stale once the numbers of VERSION or its
    parent change. It trains nothing anew. Without TEXT, the conclusion that is there is of the present numbers from now
    on.

    \b
    ganealogy conclude v8 "Helps; keep it."
    ganealogy conclude v8                      it still holds for the new numbers
    """
    from ganealogy.lineage.conclude import conclude
    from ganealogy.report.collect import collect
    from ganealogy.report.conclusions import numbers

    with process.explain_full_disk("versions"):
        path = conclude(version, text, numbers(collect(), version))
    click.echo(f"wrote {path}; the report has it after `dvc repro`")


VERBS = (summary, judge, conclude, seeds, noise, calibrate, generate, export, live, ui, sync)
