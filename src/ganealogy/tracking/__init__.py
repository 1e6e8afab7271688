"""Post run directories to MLflow. It reads the files that the stages write, and imports MLflow only to post."""

from ganealogy.tracking.live_sync import LiveSync, follow
from ganealogy.tracking.mlflow_ui import ui
from ganealogy.tracking.syncing import SyncResult, sync, sync_all

__all__ = ["LiveSync", "SyncResult", "follow", "sync", "sync_all", "ui"]
