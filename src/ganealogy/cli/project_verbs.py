"""The verbs that make a project and test what it contains."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from ganealogy.errors import printable
from ganealogy.runtime import process


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--pictures", help="A directory, zip or tar archive of pictures; default: generated avatars.")
@click.option("--hours", type=click.FloatRange(0.02, 10_000), default=2.0, show_default=True, help="For all runs.")
@click.option("--image-size", type=click.IntRange(16, 1024), help="Pixels per side; default: what fits the pictures.")
def init(folder: Path, pictures: str | None, hours: float, image_size: int | None) -> None:
    """Make a project in FOLDER: settings for your pictures, with the reason of each.

    It looks at the pictures, times a few training steps on this machine, and proposes image size, versions and budget.

    \b
    ganealogy init faces --pictures ~/faces             two hours of training
    ganealogy init faces --pictures ~/faces --hours 12  overnight
    ganealogy init demo                                 six minutes, with generated avatars
    """
    from ganealogy.project import create, look, propose
    from ganealogy.runs.table import duration
    from ganealogy.workspace import PRESETS, SHIPPED

    folder = folder.expanduser()
    create.refuse_existing(folder)
    presets = SHIPPED / PRESETS
    with process.explain_full_disk(folder):
        if pictures is None:
            if image_size is not None:
                raise click.UsageError("--image-size is for --pictures")
            create.create(folder, (presets / "demo.yaml").read_text("utf-8"), folder.resolve().name)
            _next(folder)
            return
        seen = look.look(pictures)
        click.echo(printable(f"{pictures}: {seen.sentence()}"))
        click.echo("timing a few training steps ...")
        import torch

        from ganealogy.lineage.versions import read_family
        from ganealogy.project import speed

        proposal = propose.propose(
            seen,
            _path_from(folder, pictures),
            hours,
            torch.cuda.is_available(),
            lambda name, settings: speed.images_per_second(read_family([name])[name], settings),
            image_size,
        )
        text = create.params(
            (presets / "folder.yaml").read_text("utf-8"),
            dict(proposal.values),
            dict(proposal.reasons),
            f"{seen.sentence()}.",
        )
        create.create(folder, text, folder.resolve().name)
    for key, value in proposal.values.items():
        reason = proposal.reasons.get(key)
        click.echo(printable(f"  {key:20} {_shown(value)}" + (f"  ({reason})" if reason else "")))
    runs = len(proposal.settings.tree.versions) * len(proposal.settings.tree.seeds)
    click.echo(f"  {runs} runs take about {duration(proposal.seconds)} here")
    _next(folder)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _path_from(folder: Path, pictures: str) -> str:
    """Return the path of the pictures as params.yaml has it: relative if they lie in the project."""
    path = Path(pictures).expanduser().resolve()
    return os.path.relpath(path, folder.resolve()) if folder.resolve() in path.parents else str(path)


def _next(folder: Path) -> None:
    click.echo(
        printable(
            f"\nwrote {folder}/params.yaml, dvc.yaml, versions/, components/\n\n"
            f"  cd {shlex.quote(str(folder))}\n"
            "  dvc repro           trains and compares the versions (`ganealogy repro`: side by side)\n"
            "  ganealogy summary   what the ideas achieved"
        )
    )


VERBS = (init,)
