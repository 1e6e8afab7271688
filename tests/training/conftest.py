from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """160 blurry gradients: uint8 (N, 16, 16, 3)."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 16)[None, :, None, None] * rng.random((160, 1, 1, 3))
    return (ramp + rng.random((160, 16, 16, 3)) * 50).astype(np.uint8)
