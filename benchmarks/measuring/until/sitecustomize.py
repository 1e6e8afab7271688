"""Note when a function is first called, in this process or in a worker that it starts.

Python imports this module at its start if its folder is on PYTHONPATH. GANEALOGY_UNTIL is `MODULE:FUNCTION:FILE`: the
file gets the value of `time.monotonic()`, which all processes share. FUNCTION must be called as `module.function(…)`,
or be a method, `Class.method`.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any


class Mark(importlib.abc.MetaPathFinder):
    """Wrap `function` when `module` is imported."""

    def __init__(self, module: str, function: str, file: str) -> None:
        self.module, self.function, self.file = module, function, Path(file)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def and_wrap(module: ModuleType) -> None:
            execute(module)
            *owners, name = self.function.split(".")
            owner = reduce(getattr, owners, module)
            work = getattr(owner, name)

            def marked(*arguments: Any, **named: Any) -> Any:
                if not self.file.exists():
                    self.file.write_text(str(time.monotonic()))
                return work(*arguments, **named)

            setattr(owner, name, marked)

        spec.loader.exec_module = and_wrap  # type: ignore[method-assign]
        return spec


if wanted := os.environ.get("GANEALOGY_UNTIL"):
    sys.meta_path.insert(0, Mark(*wanted.split(":", 2)))
