"""Get Inception's weights: from a mirror, from torch's cache, or by a download.

Separate from the extractor, so that training never imports the downloader, and without torch, so that the inputs stage
is quick.
"""

from __future__ import annotations

import os
from pathlib import Path

from ganealogy import components
from ganealogy.data.fetch import PATIENCE, Patience, Remote, in_mirror, obtain, verify
from ganealogy.errors import GanealogyError
from ganealogy.workspace import WEIGHTS, main_root

_PUBLISHED = components.module_constants("evaluation.extractors", "inception")
FILE = str(_PUBLISHED["FILE"])
INCEPTION = Remote(FILE, (str(_PUBLISHED["URL"]),), sha256=str(_PUBLISHED["SHA256"]), size=int(_PUBLISHED["BYTES"]))
ONE_TRY = Patience(attempts=1, connect_s=3.0, read_s=10.0)
"""Of a stage, which continues without them: a machine without a network must not wait."""


def fetch_weights(mirror: Path | None = None, patience: Patience = PATIENCE) -> Path:
    """Copy Inception's weights from `mirror`, a directory, or from torch's cache, else download them.

    Returns their path. Does nothing if they exist and are intact.

    Raises: GanealogyError when the download fails, or the file's sha256 is wrong.
    """
    target = main_root() / WEIGHTS / FILE
    obtain(INCEPTION, target, in_mirror(mirror, FILE) or _cached_by_torch(), patience)
    return target


def _cached_by_torch() -> Path | None:
    """Return the file that pytorch-fid's command keeps in the folder of `torch.hub.get_dir()`, if it is intact."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    try:
        path = Path(home).expanduser() / "hub/checkpoints" / FILE
        verify(path, sha256=INCEPTION.sha256, size=INCEPTION.size)
    except (GanealogyError, OSError, RuntimeError):  # absent, damaged, unreadable, or there is no home directory
        return None
    return path
