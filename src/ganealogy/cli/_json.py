"""`--json`: the same results for scripts, on standard output."""

from __future__ import annotations

import json
import math
from typing import Any

import click

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def emit(content: Any) -> None:
    """Print a value as JSON. A number that is not finite is null."""
    click.echo(json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_finite(each) for each in value]
    return value
