"""The `report` stage's work: one page, one Markdown file, and numbers for DVC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ganealogy.runtime.progress import Progress


def build(root: Path = Path(), run_links: Callable[[list[str]], dict[str, str]] | None = None) -> Path:
    """Write all files under `reports/` and return the page's path; equal inputs give equal bytes.

    The report lists everything missing or broken.
    `run_links` maps run keys to addresses of their MLflow runs; without it the page has none.

    Raises: GanealogyError when there is no plan.
    """
    from ganealogy.report.collect import collect
    from ganealogy.report.dvc_plots import write_samples
    from ganealogy.report.films import write_films
    from ganealogy.report.markdown import write_markdown
    from ganealogy.report.numbers import write_numbers
    from ganealogy.report.page import write_page
    from ganealogy.report.pictures import gather

    with Progress("report", 6, "part") as progress:
        findings = collect(root)
        progress.update(note="numbers")
        write_numbers(findings)
        progress.update(note="pictures")
        gallery = gather(findings)
        write_samples(findings, gallery)
        progress.update(note="films")
        write_films(findings, gallery)
        progress.update(note="page")
        links = run_links([run.key for run in findings.runs if run.key]) if run_links else {}
        page = write_page(findings, gallery, links)
        progress.update(note="Markdown")
        write_markdown(findings, gallery)
        progress.update()
    return page
