"""Profiles of a step without a GPU: operations take the place of kernels."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_loop import Silent
from helpers.trainings import SIZES

from ganealogy.data.batches import Batches
from ganealogy.training import loop, state
from ganealogy.training.run_files import RunFiles

ROOT = Path(__file__).parents[2]


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield lambda name: importlib.import_module(f"measuring.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "measuring"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("operation", "kernel", "own"),
    [
        ("cudnn_convolution", "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", True),
        ("cudnn_convolution", "void cudnn::ops::nchwToNhwcKernel<float, float>", False),
        ("convolution_backward", "Memset (Device)", False),
        ("addmm", "nvjet_tst_64x8_64x16", True),
        ("cudnn_batch_norm_backward", "", True),
        ("leaky_relu_backward", "", True),
        ("_foreach_clamp_min_", "", False),  # v6's weights, not an activation
        ("_fused_adam_", "", False),
        ("_to_copy", "", False),
        ("binary_cross_entropy_with_logits", "", False),
        ("index_select", "", False),
    ],
)
def test_an_operation_is_the_networks_or_not(measuring, operation, kernel, own):
    assert measuring("kernels").is_network(operation, kernel) is own


def test_overlapping_kernels_count_once(measuring):
    assert measuring("kernels").union([(5, 6), (0, 2), (1, 3), (1, 2)]) == 4


def test_a_profile_separates_the_networks_time_and_counts_reads(measuring):
    layer = torch.nn.Conv2d(8, 16, 3)
    images, other = torch.randn(16, 8, 32, 32), torch.randn(400_000)

    def step():
        if layer(images).mean() > 1e9:
            raise AssertionError
        other.sort()[0].sum().item()

    with torch.inference_mode():
        profile = measuring("kernels").profiled(step, 2, "cpu")
    assert profile.reads == 2
    assert 0 < profile.network < profile.work
    assert profile.others[0][0] == "sort"
    assert profile.busy == pytest.approx(profile.work, rel=0.5)


@pytest.mark.parametrize("version", ["v1", "v6", "v11"])
def test_our_side_trains_as_the_training_loop(measuring, version, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    side = measuring("ours").Ours(Batches(pictures, 8, seed=3), version, image_size=16, width=4, tracker_images=32)
    plan = {**side.plan, "protocol": {**side.plan["protocol"], "kimg": 0.024}}
    files = RunFiles(tmp_path / "train", tmp_path / "checkpoints", {"version": version, "seed": 3})
    loop.train(plan, 3, loop.TrainingData(pictures), files, "cpu", Silent(loop.step_count(plan["protocol"])))
    for _ in range(3):
        side.step()
    from safetensors.torch import load_file

    trained = load_file(tmp_path / "train" / "weights" / "discriminator-last.safetensors")
    for name, value in side.state.discriminator.state_dict().items():
        assert torch.equal(value, trained[name]), name


def side(measuring, version):
    size, channels = SIZES.get(version, (16, 3))
    pictures = np.random.default_rng(0).integers(0, 256, (40, size, size, channels), dtype=np.uint8)
    labels = np.arange(len(pictures)) % 4 if version == "conditional" else None
    batches = Batches(pictures, 8, seed=3, labels=labels)
    return measuring("ours").Ours(batches, version, image_size=size, width=4, channels=channels, classes=4)


@pytest.mark.parametrize(("version", "reads"), [("v1", 2), ("v6", 3)])
def test_a_step_reads_one_number_per_update(measuring, version, reads):
    """The divergence check needs them; nothing else may read a value."""
    ours = side(measuring, version)
    ours.step()  # the first step reads the losses for the progress bar
    assert measuring("kernels").profiled(ours.step, 2, "cpu").reads == reads


@pytest.mark.parametrize("version", sorted(path.stem for path in (ROOT / "versions").glob("*.yaml")))
def test_with_deferred_checks_no_step_reads_a_number(measuring, version, monkeypatch):
    """On a GPU each read would be a wait, and would prevent capturing the step in a graph."""
    monkeypatch.setattr(state, "DEFERRED_CHECK_DEVICES", {"cpu"})
    monkeypatch.setattr(state, "CUDAGraphs", lambda game, *_: game)
    ours = side(measuring, version)
    ours.step()
    assert measuring("kernels").profiled(ours.step, 2, "cpu").reads == 0
