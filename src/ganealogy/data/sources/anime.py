"""Anime character faces from Kaggle: about 63,000 of various sizes. Needs a Kaggle token or a mirror."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from ganealogy.data.archives import ZipPictures
from ganealogy.data.fetch import MIRROR, Remote, copy, in_mirror, obtain
from ganealogy.errors import GanealogyError
from ganealogy.record_types import DatasetSettings

INPUTS = ("mirror",)
DATASET = "splcher/animefacedataset"
CREDIT = {
    "title": "Anime Face Dataset",
    "artist": "collected by Spencer Churchill; each drawing by its own artist",
    "licence": "drawings remain their artists'; educational use only",
    "licence_url": f"https://www.kaggle.com/datasets/{DATASET}",
    "url": f"https://www.kaggle.com/datasets/{DATASET}",
}
WHOLE = "animefacedataset.zip"  # Kaggle publishes no checksum; source.json records the sha256
SMALL = Remote(  # 22,969 of them at 64×64; only in mirrors
    "anime-faces-64.zip", (), sha256="e8d4822d2e54a2cf9e9400615a281b316bf4f6cbf55aed8c541514043aed4e3d"
)

ARCHIVES = (WHOLE, SMALL.name)


def credit(settings: DatasetSettings) -> dict[str, str]:
    return dict(CREDIT)


def fetch(settings: DatasetSettings, raw: Path, mirror: Path | None) -> list[str]:
    """Write the archive to `raw` and return its name. Raises: GanealogyError if it cannot be fetched."""
    if whole := in_mirror(mirror, WHOLE):
        copy(Remote(WHOLE, ()), whole, raw / WHOLE)
        return [WHOLE]
    if small := in_mirror(mirror, SMALL.name):
        obtain(SMALL, raw / SMALL.name, small)
        return [SMALL.name]
    _from_kaggle(raw / WHOLE)
    return [WHOLE]


def _from_kaggle(target: Path) -> None:
    """Download with Kaggle's own client, which reads the user's token. Raises: GanealogyError."""
    by_hand = f"or fetch {CREDIT['url']} by hand as {WHOLE} and name its folder in {MIRROR} or dataset.mirror"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            from kaggle.api.kaggle_api_extended import KaggleApi  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except (Exception, SystemExit) as error:  # the import itself reads the token, and may fail or exit
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "kaggle"
        fault = "is not installed" if missing else f"does not start ({_line(error)})"
        raise GanealogyError(
            f"anime faces come from Kaggle, whose client {fault}; pip install 'ganealogy[kaggle]', {by_hand}"
        ) from None
    api = KaggleApi()
    try:
        # Without a token the client prints a page of help and exits; the line below replaces it.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            api.authenticate()
    except (Exception, SystemExit):
        raise GanealogyError(
            f"anime faces come from Kaggle, which requires a token; create one at https://www.kaggle.com/settings "
            f"and save it as ~/.kaggle/kaggle.json, {by_hand}"
        ) from None
    with tempfile.TemporaryDirectory(prefix=".kaggle-", dir=target.parent) as folder:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                api.dataset_download_files(DATASET, path=folder, quiet=not sys.stderr.isatty())
        except (Exception, SystemExit) as error:
            reason = f"Kaggle refused {DATASET} ({_line(error)})"
            raise GanealogyError(f"{reason}; try again later, {by_hand}") from None
        ZipPictures(Path(folder) / WHOLE).archive.close()  # a broken archive must not reach its final name
        (Path(folder) / WHOLE).replace(target)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__


def pictures(files: list[Path]) -> ZipPictures:
    return ZipPictures(files[0])
