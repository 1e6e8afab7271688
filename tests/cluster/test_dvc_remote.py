"""A remote's password is in no message and in no task's description."""

from __future__ import annotations

from typing import Any

import pytest

from ganealogy.cluster import dvc_remote
from ganealogy.cluster.node_task import Task
from ganealogy.cluster.transfer import Remote
from ganealogy.errors import GanealogyError

SETTINGS = [
    {"url": "nosuch://me:s3cret@host/place"},
    {"url": "nosuch://me:s3@cret@host/place"},
    {"url": "nosuch://host/place?password=s3cret"},
    {"url": "NOSUCH://s3cret@host/place"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_remote_that_cannot_be_used_is_named_without_its_password(settings: dict[str, Any]) -> None:
    with pytest.raises(GanealogyError, match="cannot be written") as written:
        dvc_remote._check_writable("mine", settings)
    with pytest.raises(GanealogyError, match="DVC remote") as opened:
        Remote(settings)
    for error in (written, opened):
        assert "s3cret" not in str(error.value) and "host/place" in str(error.value)


def test_a_task_is_described_without_passwords() -> None:
    """Ray shows descriptions in logs and on its page."""
    task = Task("p", "v3-1", {"remote": SETTINGS[0]}, {"MLFLOW_TRACKING_PASSWORD": "s3cret"})
    assert "s3cret" not in f"{task} {task!r}" and "v3-1" in repr(task)
