"""MLflow behind a small door: it follows the files that the stages write, and is imported only when it is used."""

from ganealogy.tracking.live_sync import LiveSync, follow
from ganealogy.tracking.mlflow_ui import ui
from ganealogy.tracking.syncing import Synced, sync, sync_all

__all__ = ["LiveSync", "Synced", "follow", "sync", "sync_all", "ui"]
