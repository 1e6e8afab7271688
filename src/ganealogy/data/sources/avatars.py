"""Draw DiceBear avatars, without network access: an avatar depends on style and index alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from ganealogy.data import workers
from ganealogy.data.archives import ZipPictures, write_stored
from ganealogy.errors import one_of
from ganealogy.files.atomic import writing
from ganealogy.record_types import DatasetSettings
from ganealogy.runtime.progress import track

INPUTS = ("style", "count")
DEFAULT_COUNT = 10_000
SIDE = 128
"""Pixels per side, for any image_size: another image_size must not draw everything again."""
BACKGROUND = "#e8eef4"
"""Pale and cool: no style uses it for skin, hair or paper."""
CHUNK = 64
ARCHIVE = "avatars.zip"
ARCHIVES = (ARCHIVE,)


def credit(settings: DatasetSettings) -> dict[str, str]:
    """Return artist and licence from the style's definition. Raises: GanealogyError if the style is unknown."""
    meta = definition(settings["style"]).get("meta", {})
    creator, licence, source = (meta.get(part, {}) for part in ("creator", "license", "source"))
    return {
        "title": f"{source.get('name') or settings['style']} avatars, drawn by DiceBear",
        "artist": creator.get("name") or "unknown",
        "licence": licence.get("name") or "none stated",
        "licence_url": licence.get("url") or "",
        "url": source.get("url") or "https://www.dicebear.com",
        "drawn_with": ", ".join(f"{name} {version(name)}" for name in ("dicebear-core", "dicebear-styles", "resvg-py")),
    }


def styles() -> list[str]:
    """Return the names of the installed styles, sorted."""
    names = (entry.name for entry in package_files("dicebear_styles").iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def definition(style: str) -> dict[str, Any]:
    """Return the definition of a style. Raises: GanealogyError with the known styles."""
    if style not in styles():
        raise one_of("style", style, styles(), "dataset.style")
    return json.loads(package_files("dicebear_styles").joinpath(f"{style}.json").read_text("utf-8"))


def fetch(settings: DatasetSettings, raw: Path, mirror: Path | None) -> list[str]:
    """Draw `count` avatars into one archive, in parallel. Raises: GanealogyError if the style is unknown."""
    count, style = settings.get("count") or DEFAULT_COUNT, settings["style"]
    definition(style)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    drawings = workers.parallel_map(draw, chunks, load_style, (style,), min(workers.count(), len(chunks)))

    def entries() -> Iterator[tuple[str, bytes]]:
        for chunk, contents in zip(chunks, drawings, strict=True):
            for index, content in zip(chunk, contents, strict=True):
                yield f"{style}/{index:06d}.png", content

    with writing(raw / ARCHIVE) as file:
        write_stored(file, track(entries(), f"drawing {style}", count, "avatars"))
    return [ARCHIVE]


def load_style(style: str) -> Any:
    """Return the parsed style; 0.1 s, once per process."""
    from dicebear import Style

    return Style(definition(style))


def draw(style: Any, indices: range) -> list[bytes]:
    """Return PNGs of the avatars whose seeds are `indices`."""
    import resvg_py
    from dicebear import Avatar

    return [
        resvg_py.svg_to_bytes(
            svg_string=Avatar(style, {"seed": str(index)}).to_string(),
            width=SIDE,
            height=SIDE,
            background=BACKGROUND,
            skip_system_fonts=True,  # fonts differ between machines, and so would pictures
        )
        for index in indices
    ]


def pictures(files: list[Path]) -> ZipPictures:
    return ZipPictures(files[0])
