"""Addresses of MLflow runs in the UI, for the report's page."""

from __future__ import annotations

from ganealogy.tracking import store
from ganealogy.tracking.post import KEY
from ganealogy.tracking.store import StoreError

ADDRESS = "http://127.0.0.1:5000/#/experiments/{}/runs/{}"
"""The address that `ganealogy ui` serves, unless the port is in use."""


def run_links(keys: list[str]) -> dict[str, str]:
    """Return run key → address of its MLflow run, for the runs that were posted before.

    Empty without a store, for a server or another database, and for a store that is locked or damaged: the page then
    shows the command.
    """
    file = store.database()
    if not keys or file is None or not file.is_file():
        return {}
    links: dict[str, str] = {}
    try:
        with store.open_client() as client:
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            token = None
            while True:
                runs = client.search_runs(
                    experiments, f"tags.`{KEY}` != ''", order_by=["attributes.start_time ASC"], page_token=token
                )
                for run in runs:
                    key = run.data.tags[KEY]
                    if key in keys:
                        links[key] = ADDRESS.format(run.info.experiment_id, run.info.run_id)
                token = runs.token
                if not token:
                    return links
    except StoreError:
        return {}
