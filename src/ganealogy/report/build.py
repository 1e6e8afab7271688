"""The `report` stage: what the other stages left → one page, one Markdown file, and numbers for DVC."""

from __future__ import annotations

from pathlib import Path

from ganealogy.runtime.progress import Progress


def build(root: Path = Path()) -> Path:
    """Write everything under `reports/` and return the page's path; equal inputs give equal bytes.

    Run directories that the plan no longer lists are removed. Whatever is missing or broken is said in the report.

    Raises: GanealogyError when there is no plan.
    """
    from ganealogy.report.collect import collect, prune
    from ganealogy.report.markdown import write_markdown
    from ganealogy.report.numbers import write_numbers
    from ganealogy.report.page import write_page
    from ganealogy.report.pictures import gather

    with Progress("report", 5, "part") as progress:
        for name in prune(root):
            progress.say(f"report: removed build/runs/{name}, which the plan no longer lists")
        findings = collect(root)
        progress.update(note="numbers")
        write_numbers(findings)
        progress.update(note="pictures")
        gallery = gather(findings)
        progress.update(note="page")
        page = write_page(findings, gallery)
        progress.update(note="Markdown")
        write_markdown(findings, gallery)
        progress.update()
    return page
