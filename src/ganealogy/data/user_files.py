"""Keep the user's files out of stage outputs, which DVC empties before it runs a stage."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from ganealogy import components
from ganealogy.data.names import printable_name, quoted
from ganealogy.errors import GanealogyError
from ganealogy.workspace import (
    PACKED,
    PLAN,
    RAW,
    REFERENCE,
    REPORT_FIGURES,
    REPORT_PROGRESS,
    REPORT_SAMPLES,
    RUNS,
    main_root,
)

OUTPUTS = (RAW, PACKED, REFERENCE)
PROJECT = ("build", "reports", "versions", "src", "presets", ".git", ".dvc")
"""Folders of the project, which no pictures may lie in, beside `OUTPUTS`."""
OWN = {
    str(PLAN): r"tree\.json|(stages|versions)/[^/]+\.json",
    str(PACKED): r"(train|holdout)(-labels)?\.npy|manifest\.json|left-out\.csv",
    str(REFERENCE): r"[^/]+\.(npz|npy|json|safetensors)|real\.png",
    str(RUNS): r"""(?x) [^/]+/train/[^/]+/(run\.json | metrics\.jsonl | grids/\d+\.png | weights/[^/]+\.safetensors)
        | [^/]+/sample/[^/]+/(sample\.json | images[^/]*\.npy | (grid|strip)[^/]*\.png | walk\.webp)
        | [^/]+/evaluate/[^/]+/(metrics\.json | neighbours\.png)
        | [^/]+/cost/[^/]+/[^/]+\.json
        | (?! [^/]+/(train|sample|evaluate|cost/[^/]+)/ ).*  # in no output""",
    str(REPORT_FIGURES): r"(curves|interpolation|samples)\.png",
    str(REPORT_SAMPLES): r"real-pictures\.png|[^/]+-samples\.png",
    str(REPORT_PROGRESS): r"[^/]+-seed\d+\.(webp|png)",
}
"""Output → the files that stages write there. `RAW` depends on the source."""
OF_THE_SYSTEM = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini|\.nfs.*")
TEMPORARY = re.compile(r"\..*\.tmp|\.kaggle-.*")
SHOWN = 5
KEPT = "kept"
"""Folder that the error's command moves files to."""


def check_path(path: Path, key: str, around: bool = True) -> Path:
    """Return `path`, which exists, if stages leave it alone. `around`: refuse a folder that contains outputs, too.

    Raises: GanealogyError when it lies in an output or another folder of the project, or contains one.
    """
    shown = f"{key} = {printable_name(str(path))!r}"
    real = path.resolve()
    for root in dict.fromkeys((Path.cwd(), main_root())):
        for own in (*map(str, OUTPUTS), *PROJECT):
            folder, is_output = root / own, own in map(str, OUTPUTS)
            if any(_same(folder, place) for place in (real, *real.parents)) and (is_output or not _same(folder, real)):
                why = "which DVC empties before it runs a stage" if is_output else "a folder of the project's own"
                source, target = os.path.relpath(real), f"my-{real.name}"
                raise GanealogyError(
                    f"{shown} is {own} or lies in it, {why}: move it, `mv {quoted(source)} {quoted(target)}`, "
                    f"and set {key} to {printable_name(target)}"
                )
            if _same(folder, real) or (around and any(_same(real, place) for place in folder.resolve().parents)):
                raise GanealogyError(
                    f"{shown} is or contains {own}, a folder of the project's own: name a folder of pictures alone, "
                    f"and set {key} to it"
                )
    return path


def check_outputs() -> None:
    """Raises: GanealogyError naming files in outputs that no stage wrote, which DVC would delete."""
    strangers = sorted({stranger for output in (str(RAW), *OWN) for stranger in _strangers(Path(output))})
    if not strangers:
        return
    names = ", ".join(printable_name(str(path)) for path in strangers[:SHOWN])
    more = f" and {len(strangers) - SHOWN} more" if len(strangers) > SHOWN else ""
    targets = {path: Path(KEPT) / path.parent for path in strangers[: 4 * SHOWN]}
    moves = "; ".join(
        f"mkdir -p {quoted(str(target))} && mv -n {quoted(str(path))} {quoted(str(target))}/"
        for path, target in targets.items()
    )
    raise GanealogyError(f"{names}{more}: not written by a stage, and DVC would delete it; move it: `{moves}`")


def _strangers(output: Path) -> set[Path]:
    """Return what no stage wrote: a whole folder if nothing in it is a stage's, otherwise files."""
    pattern, own, others = _own(output), {output, *output.parents}, []
    for folder, folders, names in os.walk(output, followlinks=False):
        folders[:] = [name for name in folders if not TEMPORARY.fullmatch(name)]
        for name in (*names, *(name for name in folders if Path(folder, name).is_symlink())):
            file = Path(folder, name)
            if pattern.fullmatch(file.relative_to(output).as_posix()):
                own.update(file.parents)
            elif not (OF_THE_SYSTEM.fullmatch(name) or TEMPORARY.fullmatch(name)):
                others.append(file)
    return {next(path for path in (*reversed(file.parents), file) if path not in own) for file in others}


def _own(output: Path) -> re.Pattern[str]:
    if output != RAW:
        return re.compile(OWN[str(output)])
    try:
        files = list(json.loads((RAW / "source.json").read_text("utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):  # a download that did not finish
        sources = (components.load("data.sources", name) for name in components.known("data.sources"))
        files = [name for source in sources for name in getattr(source, "ARCHIVES", ())]
    return re.compile("|".join(map(re.escape, ("source.json", *map(str, files)))))


def _same(one: Path, other: Path) -> bool:
    """Return whether both are one file or folder, under whatever name."""
    try:
        return one.samefile(other)
    except OSError:
        return False
