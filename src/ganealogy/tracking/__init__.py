"""MLflow behind a small door: it follows the files that the stages write, and is imported only when it is used."""

from ganealogy.tracking.live import LiveSync, follow
from ganealogy.tracking.server import ui
from ganealogy.tracking.syncing import Synced, sync, sync_all

__all__ = ["LiveSync", "Synced", "follow", "sync", "sync_all", "ui"]
