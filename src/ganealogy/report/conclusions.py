"""What the author of a version concluded from its numbers, and whether these are still the same."""

from __future__ import annotations

from ganealogy.errors import GanealogyError, one_of
from ganealogy.files import atomic
from ganealogy.report.findings import Findings, Version

LENGTH = 12
"""Hexadecimal digits of `digest`."""


def digest(findings: Findings, version: Version) -> str:
    """Return a digest of the primary metric's name and its value for each seed of a version and of its parent.

    The values count to six digits, which other machines repeat. Empty if the version has no value.
    """
    metric = findings.primary_metric
    parents = [each for each in findings.listed if each.name == version.parent]
    values = [
        {str(seed): f"{value:.6g}" for seed, value in sorted(each.values(metric).items())}
        for each in (version, *parents)
    ]
    return atomic.digest([metric, *values])[:LENGTH] if values[0] else ""


def numbers(findings: Findings, name: str) -> str:
    """Return the digest of a version's numbers.

    Raises: GanealogyError for a version that is not listed or has no number.
    """
    version = next((each for each in findings.listed if each.name == name), None)
    if version is None:
        raise one_of("version of tree.versions", name, [each.name for each in findings.listed])
    if not (found := digest(findings, version)):
        raise GanealogyError(f"{name} has no {findings.primary_metric} yet to conclude from; run `dvc repro`")
    return found


def remark(findings: Findings, version: Version) -> str:
    """Return what to know about a version's conclusion; empty without one, and if it is of the present numbers."""
    if version.conclusion is None:
        return ""
    command = f"`ganealogy conclude {version.name}`"
    if not version.conclusion.numbers:
        return f"not tied to numbers; type {command}"
    if version.conclusion.numbers == digest(findings, version):
        return ""
    whose = f"{version.name} and {version.parent}" if version.parent else version.name
    return f"stale: the numbers of {whose} have changed since; if it still holds, type {command}"
