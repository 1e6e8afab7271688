"""How numbers, names and protocols are written for people, the same in the page, the Markdown and the terminal."""

from __future__ import annotations

import re
from typing import Any

from ganealogy.report.columns import split
from ganealogy.report.findings import Findings, Version, number

EXTRACTORS = {"pixel8": "8×8 pixels", "effnet_lite0": "EfficientNet-Lite0", "inception": "Inception"}
MEASURES = {
    "fd": "Fréchet distance",
    "fid": "FID",
    "fd_inf": "Fréchet distance, N → ∞",
    "kid": "KID",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "vendi": "Vendi score",
    "diversity": "Diversity",
    "is": "Inception Score",
    "memorised": "Memorised share",
}


def figure(value: Any) -> str:
    """A number with four significant digits and no exponent where people expect none; a dash for none."""
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
    """(measure, features): `fd_pixel8` → ("Fréchet distance", "8×8 pixels")."""
    if metric == "fid":
        return "FID", "pytorch-fid's Inception"
    kind, extractor = split(metric)
    return MEASURES.get(kind, kind.replace("_", " ")), EXTRACTORS.get(extractor, extractor.replace("_", " "))


def short_metric(metric: str) -> str:
    """`fd_pixel8` → "FD pixel8": for where there is room for a word or two."""
    kind, extractor = split(metric)
    word = kind.upper() if kind in ("fd", "fid", "kid", "is") else "FD∞" if kind == "fd_inf" else kind.capitalize()
    return f"{word} {extractor}".strip()


def plural(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}{'' if number_of == 1 else 's'}"


def what_changed(version: Version) -> str:
    """The change block in one line; what a root is called."""
    if version.parent is None:
        return "a root: its whole recipe is its own"
    return "; ".join(map(str, version.changes)) or "nothing but the words"


def dataset_title(findings: Findings) -> str:
    name = findings.manifest.get("title") or findings.dataset.get("name") or "unknown pictures"
    return f"{name}, {image_size(findings)}"


def image_size(findings: Findings) -> str:
    side = findings.manifest.get("image_size") or findings.dataset.get("image_size")
    return f"{side}×{side}" if side else "size unknown"


def credit(findings: Findings) -> str:
    """Whose the pictures are, to end a sentence: "by Lisa Wischofsky", "collected by …"; empty without a name."""
    artist = str(findings.manifest.get("artist") or "").strip()
    return artist if not artist or re.match(r"(collected|drawn|made|photographed|by)\b", artist) else f"by {artist}"


def protocol_line(findings: Findings) -> str:
    """The protocol in one line: what all versions share."""
    train, evaluate = findings.train, findings.evaluate
    parts = [
        f"{plural(len(findings.listed), 'version')} × {plural(len(findings.seeds), 'seed')}",
        f"{train.get('kimg', 0):g} kimg" if number(train.get("kimg")) is not None else "",
        f"batch {train['batch_size']}" if train.get("batch_size") else "",
        f"base rate {train['lr']:g}" if number(train.get("lr")) is not None else "",
        f"width {train['width']}" if train.get("width") else "",
        str(train.get("precision") or ""),
    ]
    fakes = findings.sample.get("count")
    if fakes and evaluate.get("reals"):
        parts.append(f"{count(fakes)} samples against at most {count(evaluate['reals'])} real pictures")
    return " · ".join(part for part in parts if part)
