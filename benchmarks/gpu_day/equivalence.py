"""Compare the leading distance of the same version in several precisions: `equivalence.py FP32 OTHER…`, projects.

Two one-sided tests, each precision against the first: equivalent if the ratio of geometric means is within 10 %.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from bf16_equivalence import ALPHA, equivalence

from ganealogy.params import schema

MARGIN = 1.1


def distances(project: Path) -> list[float]:
    """Return the leading distance of each finished run."""
    lead = schema.load(project / "params.yaml").evaluate.lead
    files = sorted(project.glob("build/runs/*/evaluate/*/metrics.json"))
    return [float(json.loads(file.read_text())["metrics"][lead]) for file in files]


def main() -> None:
    first, *others = map(Path, sys.argv[1:])
    base = distances(first)
    for other in others:
        found = distances(other)
        if min(len(base), len(found)) < 2:
            print(f"{other.name}: {len(found)} runs, {first.name}: {len(base)}: too few")
            continue
        low, high, p = equivalence(found, base, MARGIN)
        word = "equivalent" if p <= ALPHA else "not shown to be equivalent"
        print(
            f"{other.name} / {first.name}: {math.sqrt(low * high):.3f} [{low:.3f}, {high:.3f}], {len(found)} and "
            f"{len(base)} runs: {word} within 10 % (p = {p:.2g})"
        )


if __name__ == "__main__":
    main()
