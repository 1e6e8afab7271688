"""Format numbers, names and protocols for people; page, Markdown and terminal share these functions."""

from __future__ import annotations

import re
from typing import Any, cast

from ganealogy.params.budget_text import describe, train_count
from ganealogy.record_types import TrainingProtocol
from ganealogy.report.compute import Effect
from ganealogy.report.findings import Findings, Version, number
from ganealogy.verdicts.metric_kinds import KINDS, split

EXTRACTORS = {
    "layout_edges_32_64": "layout and edges",
    "layout_32": "the layout, 8×8 cells",
    "edges_64": "edges in 4×4 cells",
    "pixel8": "8×8 pixels",
    "effnet_lite0": "EfficientNet-Lite0",
    "effnet_lite0_64": "EfficientNet-Lite0 at 64×64",
    "inception": "Inception",
}


def figure(value: Any) -> str:
    """Format a number with four significant digits, without an exponent for usual sizes; a dash for None."""
    value = number(value)
    if value is None:
        return "–"
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        digits = max(0, 4 - max(1, len(str(int(abs(value))))) if abs(value) >= 1 else 4)
        return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def count(value: Any) -> str:
    value = number(value)
    return "–" if value is None else f"{value:,.0f}"


def memory(size: Any) -> str:
    size = number(size)
    return "–" if size is None else f"{size / 2**20:,.0f} MiB"


def operations(flops: Any) -> str:
    """Format a number of floating-point operations: `634 MFLOP`."""
    flops = number(flops)
    if flops is None:
        return "–"
    powers = [(unit, power) for power, unit in ((18, "E"), (15, "P"), (12, "T"), (9, "G")) if flops >= 10**power]
    unit, power = powers[0] if powers else ("M", 6)
    return f"{flops / 10**power:,.{0 if flops >= 100 * 10**power else 1}f} {unit}FLOP"


def change(ratio: float) -> str:
    """Format a ratio of distances: `−12 %`, `0 %`, or `×2.3` from twice on."""
    if ratio >= 2:
        return f"×{ratio:.3g}"
    percent = round(100 * (ratio - 1))
    return f"{percent:+d} %".replace("-", "−") if percent else "0 %"


def effect_over_seeds(effect: Effect) -> str:
    """Format an effect with the range of its seeds: `−12 % (−20 % to −3 %)`."""
    ends = f" ({change(effect.low)} to {change(effect.high)})" if effect.seeds > 1 else ""
    return f"{change(effect.ratio)}{ends}"


def duration(seconds: Any) -> str:
    seconds = number(seconds)
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def metric_label(metric: str) -> tuple[str, str]:
    """Return (measure, features): `fd_pixel8` → ("Fréchet distance", "8×8 pixels")."""
    if metric == "fid":
        return "FID", "pytorch-fid's Inception"
    if metric == "swd":
        return "Sliced Wasserstein distance", "7×7 patches"
    kind, extractor = split(metric)
    label = KINDS[kind].label if kind in KINDS else kind.replace("_", " ")
    return label, EXTRACTORS.get(extractor, extractor.replace("_", " "))


def short_metric(metric: str) -> str:
    """Return a label of a word or two: `fd_pixel8` → "FD pixel8"."""
    kind, extractor = split(metric)
    word = KINDS[kind].short if kind in KINDS else kind.capitalize()
    return f"{word} {extractor}".strip()


def plural(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}{'' if number_of == 1 else 's'}"


def joined(words: list[str]) -> str:
    """Join such as `v1, v2 and v3`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def seed_count(findings: Findings) -> str:
    """Return the number of seeds per version: `5 seeds`, or `5 to 8 seeds` where versions differ."""
    counts = [len(version.seeds) for version in findings.listed] or [0]
    low, high = min(counts), max(counts)
    return plural(high, "seed") if low == high else f"{low} to {plural(high, 'seed')}"


def seed_list(findings: Findings) -> str:
    """Return the seeds: `0, 1, 2`, or `0, 1, 2; v7 also 5, 6` where versions differ."""
    more = [f"{name} also {', '.join(map(str, seeds))}" for name, seeds in findings.more_seeds.items()]
    return "; ".join([", ".join(map(str, findings.shared_seeds)) or "no seed of all versions", *more])


def what_changed(version: Version) -> str:
    """Return the version's changes in one line."""
    if version.parent is None:
        words = ["root: a complete recipe of its own"]
    else:
        words = [str(change) for change in version.changes] or ([] if version.started else ["only the text"])
    return "; ".join(filter(None, [*words, version.started]))


def dataset_title(findings: Findings) -> str:
    name = findings.manifest.get("title") or findings.dataset.get("name") or "unknown pictures"
    return f"{name}, {image_size(findings)}"


def image_size(findings: Findings) -> str:
    side = findings.manifest.get("image_size") or findings.dataset.get("image_size")
    return f"{side}×{side}" if side else "size unknown"


def shown_as_pixels(findings: Findings) -> bool:
    """Return whether the pages scale these pictures without smoothing, which would blur small ones."""
    from ganealogy.files.images import TILE  # imported here: the terminal's tables need no Pillow

    side = number(findings.manifest.get("image_size") or findings.dataset.get("image_size"))
    return side is not None and side <= TILE / 2


def credit(findings: Findings) -> str:
    """Return the end of a sentence that credits the pictures: "by Lisa Wischofsky", "collected by …"; or empty.

    Of the user's own pictures: which they are.
    """
    if findings.manifest.get("source") == "folder":
        found = (findings.manifest.get("counts") or {}).get("found")
        name = str(findings.manifest.get("title")).partition(": ")[2] or "an unnamed folder"
        return f"from {name} ({count(found)} found, sha256 {str(findings.manifest.get('dataset'))[:12]})"
    artist = str(findings.manifest.get("artist") or "").strip()
    return artist if not artist or re.match(r"(collected|drawn|made|photographed|by)\b", artist) else f"by {artist}"


def identities(findings: Findings) -> str:
    """Return how many people the splits share: what is copied of a known person, held-out pictures do not show."""
    train, holdout, both = (count(findings.manifest["identities"][side]) for side in ("train", "holdout", "both"))
    return (
        f"{train} in training, {holdout} held out, {both} of them on both sides: the floor is lower than for new "
        "people, and a copied person is not noticed"
    )


def _budget(findings: Findings) -> str:
    """Return the budget in kimg and in epochs; empty if the plan has none that is possible."""
    numbers = {key: number(findings.train.get(key)) for key in ("kimg", "epochs", "batch_size")}
    protocol = {key: value for key, value in numbers.items() if value is not None and 0 < value < 1e9}
    pictures = train_count(findings.manifest) if protocol.get("batch_size") else None
    return describe(cast(TrainingProtocol, protocol), pictures)


def protocol_line(findings: Findings) -> str:
    """Return the protocol that all versions share, in one line."""
    train, evaluate = findings.train, findings.evaluate
    parts = [
        f"{plural(len(findings.listed), 'version')} × {seed_count(findings)}",
        _budget(findings),
        f"batch {train['batch_size']}" if train.get("batch_size") else "",
        f"base learning rate {train['lr']:g}" if number(train.get("lr")) is not None else "",
        f"width {train['width']}" if train.get("width") else "",
        str(train.get("precision") or ""),
    ]
    fakes = findings.sample.get("count")
    if fakes and "reals" in evaluate:
        most = evaluate["reals"]
        reals = "all training pictures" if most is None else f"at most {count(most)} real pictures"
        parts.append(f"{count(fakes)} samples against {reals}")
    return " · ".join(part for part in parts if part)
