"""Items that stop a worker process, each in a way of its own; importable from there."""

from __future__ import annotations

import ctypes
import os
import time

import numpy as np


def slow(context: int, chunk: list[str]) -> list[str]:
    """Answer each word; some stop the process in a way of their own."""
    for word in chunk:
        if word == "hangs in C":
            ctypes.PyDLL(None).sleep(60)  # holds the GIL, as a decoder may
        if word == "hangs":
            time.sleep(60)
        if word == "takes memory":
            np.ones(2**28)
        if word == "crashes":
            ctypes.string_at(0)
        if word == "exits":
            os._exit(7)
    return [word + " is done" for word in chunk]


def given_up(chunk: list[str], reason: str) -> list[str]:
    return [f"{chunk[0]}: {reason}"]


def split(chunk: list[str]) -> list[list[str]]:
    return [[word] for word in chunk]


def join(parts: list[list[str]]) -> list[str]:
    return [word for part in parts for word in part]
