"""Inception in bfloat16: two to three times as fast where the processor has it, and a protocol of its own.

Its distances differ from FID by about 2 %, so they have names of their own (`fd_inception_bf16`) and are never `fid`.
"""

from __future__ import annotations

from ganealogy.evaluation.extractors import inception


class InceptionBF16(inception.Inception):
    name = "inception_bf16"


def load(device: str = "cpu") -> InceptionBF16:
    """Raises: GanealogyError as `inception.load`, whose weights these are."""
    return InceptionBF16(*inception.read_weights(), device, "bf16")
