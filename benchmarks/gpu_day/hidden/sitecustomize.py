"""For the rehearsal: on the PYTHONPATH, hide packages that a machine with little more than torch lacks."""

from __future__ import annotations

import importlib.abc
import sys
from typing import Any

HIDDEN = {"dvc", "mlflow", "pytorch_fid", "plotly", "dicebear", "resvg_py", "ray", "keras", "playwright", "prdc"}


class Hides(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r} (hidden)", name=name)


sys.meta_path.insert(0, Hides())
