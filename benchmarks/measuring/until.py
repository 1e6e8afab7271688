"""`python until.py MODULE:FUNCTION VERB …`: run a verb of the command line and exit when it calls FUNCTION.

The time of the process is the overhead of a stage before its work. FUNCTION must be called as `module.function(…)`, or
be a method, `Class.method`.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from functools import reduce
from types import ModuleType
from typing import Any


class Stop(importlib.abc.MetaPathFinder):
    """Replace `function` by an exit when `module` is imported."""

    def __init__(self, module: str, function: str) -> None:
        self.module, self.function = module, function

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        execute, function = spec.loader.exec_module, self.function

        def and_stop(module: ModuleType) -> None:
            execute(module)
            *owners, name = function.split(".")
            setattr(reduce(getattr, owners, module), name, lambda *_, **__: os._exit(0))

        spec.loader.exec_module = and_stop  # type: ignore[method-assign]
        return spec


if __name__ == "__main__":
    module, function = sys.argv[1].split(":")
    sys.meta_path.insert(0, Stop(module, function))
    sys.argv = ["ganealogy", *sys.argv[2:]]
    from ganealogy.cli.main import main

    main()
    sys.exit(f"{module}.{function} was never called")
