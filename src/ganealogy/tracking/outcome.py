"""What the tree has shown, in the report's words, for MLflow's descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    sentence: str
    """Of the whole tree: `Of 3 ideas, 1 helped and 2 are open (too few seeds); best: v3.`"""
    verdicts: Mapping[str, str]
    """Version with a parent → its verdict: `better, −22 %`."""

    @classmethod
    def read(cls, root: Path) -> Outcome:
        """Read the results under `root`. Raises: GanealogyError when there is no plan."""
        # A training imports this module, not the report.
        from ganealogy.report.collect import collect
        from ganealogy.report.outcome import outcome
        from ganealogy.report.verdict_table import effect, verdicts_for

        findings = collect(root)
        verdicts = verdicts_for(findings, findings.primary_metric)
        said = {
            name: ", ".join(filter(None, [verdict.label, effect(findings.primary_metric, verdict)]))
            for name, verdict in verdicts.items()
        }
        return cls(outcome(findings, verdicts).sentence, said)
