"""Where a run stands in the MLflow UI, read from its sqlite file: importing MLflow would take longer than the report.

The page is made before the report's own sync, so a run that was never posted has no address yet; the page then gives
the command. A store on a server is not asked.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

ADDRESS = "http://127.0.0.1:5000/#/experiments/{}/runs/{}"
"""`make ui` serves here, unless the port is taken."""
KEY = "ganealogy.key"
"""The tag by which tracking/post.py finds a run again."""
SQLITE = "sqlite:///"
QUERY = """
    select tags.value, runs.experiment_id, runs.run_uuid from tags join runs on runs.run_uuid = tags.run_uuid
    where tags.key = ? and runs.lifecycle_stage = 'active' order by runs.start_time
"""


def found(digests: list[str]) -> dict[str, str]:
    """Digest of (plan, data, seed) → address of its run; empty without a store, or with one that cannot be read."""
    path = store()
    if path is None or not path.is_file():
        return {}
    wanted = set(digests)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1)) as connection:
            rows = connection.execute(QUERY, (KEY,)).fetchall()
    except sqlite3.Error:  # locked, damaged, of another MLflow: links are a convenience
        return {}
    return {digest: ADDRESS.format(experiment, run) for digest, experiment, run in rows if digest in wanted}


def store() -> Path | None:
    """The sqlite file that tracking/store.py uses; None for a server or another database."""
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if address:
        return Path(address.removeprefix(SQLITE)) if address.startswith(SQLITE) else None
    return Path(os.environ.get("DVC_ROOT") or ".").resolve() / "build" / "mlflow" / "mlflow.db"
