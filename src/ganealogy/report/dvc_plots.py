"""`reports/samples/`: a sheet per version, which `dvc plots` and the DVC extension of VS Code show."""

from __future__ import annotations

from ganealogy.files import atomic
from ganealogy.report.findings import Findings
from ganealogy.report.pictures import Gallery, pngs
from ganealogy.workspace import REPORT_SAMPLES


def write_samples(findings: Findings, gallery: Gallery) -> None:
    """Write `real-pictures.png` and, of each version's first seed that has some, samples: `v1-samples.png`.

    One file per version and no montage: `dvc plots diff` puts files of one name side by side.
    """
    folder = findings.root / REPORT_SAMPLES
    folder.mkdir(parents=True, exist_ok=True)  # DVC fails a stage without one of its outputs
    sheets = {"real-pictures": gallery.real} if gallery.real else {}
    for run in findings.runs:
        if run.name in gallery.samples:
            sheets.setdefault(f"{run.version}-samples", gallery.samples[run.name])
    for name, content in pngs(sheets).items():
        atomic.write_bytes(folder / f"{name}.png", content)
