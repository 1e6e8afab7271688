"""CelebA, aligned: 202,599 photographs of 178×218 pixels; non-commercial research only."""

from __future__ import annotations

from pathlib import Path

from ganealogy.data.archives import ZipPictures
from ganealogy.data.fetch import Remote, in_mirror, obtain
from ganealogy.record_types import DatasetSettings

INPUTS = ("mirror",)
CREDIT = {
    "title": "CelebFaces Attributes (CelebA), aligned and cropped",
    "artist": "Ziwei Liu, Ping Luo, Xiaogang Wang and Xiaoou Tang (The Chinese University of Hong Kong)",
    "licence": "non-commercial research only",
    "licence_url": "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    "url": "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
}
WHOLE = Remote(
    "img_align_celeba.zip",
    # confirm=t replaces the click on "download anyway", which Google requires for files too large to scan.
    ("https://drive.usercontent.google.com/download?id=0B7EVK8r0v71pZjFTYXZWM3FlRnM&export=download&confirm=t",),
    page=CREDIT["url"],
    md5="00d2c5bc6d35e252742224ab0c1e8fcb",  # as torchvision lists it
)
SMALL = Remote(  # the first 10,000 at half size; only in mirrors
    "celeba-89x109-10k.zip", (), sha256="b4907e605e5e5af32f40cbb27c4994fe92d427e7728b8ec293ef5480829db5ed"
)

IDENTITIES = Remote(  # who is on each picture; only in mirrors
    "identity_CelebA.txt",
    (),
    md5="32bd1bd63d3c78cd57e08160ec5ed1e2",  # as torchvision lists it
)

ARCHIVES = (WHOLE.name, SMALL.name, IDENTITIES.name)


def credit(settings: DatasetSettings) -> dict[str, str]:
    return dict(CREDIT)


def fetch(settings: DatasetSettings, raw: Path, mirror: Path | None) -> list[str]:
    """Write the archive to `raw`, and the identities if the mirror has them; return the names of the files.

    Raises: GanealogyError if the archive cannot be fetched.
    """
    remote = SMALL if in_mirror(mirror, SMALL.name) and not in_mirror(mirror, WHOLE.name) else WHOLE
    obtain(remote, raw / remote.name, in_mirror(mirror, remote.name))
    if found := in_mirror(mirror, IDENTITIES.name):
        obtain(IDENTITIES, raw / IDENTITIES.name, found)
        return [remote.name, IDENTITIES.name]
    return [remote.name]


def pictures(files: list[Path]) -> ZipPictures:
    return ZipPictures(next(file for file in files if file.suffix == ".zip"))


def identities(files: list[Path]) -> dict[str, int]:
    """Return name of a picture → number of the person on it; empty without the official file.

    Its lines are such as `000001.jpg 2880`.
    """
    lines = [file.read_text("utf-8").split() for file in files if file.name == IDENTITIES.name]
    return {name: int(person) for words in lines for name, person in zip(words[::2], words[1::2], strict=True)}
