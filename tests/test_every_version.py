"""Each version file at each size and number of channels: it trains a step, or the plan gives the reason why not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from ganealogy.adversary import build as adversary
from ganealogy.errors import GanealogyError
from ganealogy.lineage.versions import read_family
from ganealogy.networks import _build as networks
from ganealogy.params.schema import load
from ganealogy.stages import plan

VERSIONS = sorted(path.stem for path in Path(__file__).parent.parent.joinpath("versions").glob("*.yaml"))
BATCH = 4

LEAVES = [
    "lsgan",
    "relativistic",
    "feature-matching",
    "dragan",
    "softplus-r1",
    "instance-noise",
    "bcr",
    "lecam",
    "ada",
    "diffaugment",
    "batch-stddev",
    "epochwise",
    "conditional",
]
NETWORKS = ["fastgan", "stylegan2"]
NO_MAP = "sngan: no feature map for attention has a side of 16 .* there are "
REFUSED = {("v14", 28): f"{NO_MAP}14, 28", ("v14", 48): f"{NO_MAP}12, 24, 48"}

# An untrained D without normalisation may return logits of 60, where G's cross-entropy has no gradient in float32.
SEEDS = {("mimicry-dcgan", 128): 4, ("mimicry-dcgan", 48): 4}


def params(folder: Path, versions: list[str], size: int, channels: int) -> Path:
    """`conditional` needs labels, which avatars lack."""
    name = "cifar10" if "conditional" in versions else "avatars"
    path = folder / "params.yaml"
    path.write_text(
        f"dataset: {{name: {name}, image_size: {size}, channels: {channels}}}\n"
        f"tree: {{versions: [{', '.join(versions)}], seeds: [0]}}\n"
        f"train: {{kimg: 1, batch_size: {BATCH}, lr: 0.0002, width: 4, device: cpu, threads: 1}}\n"
    )
    return path


def test_all_versions_are_there() -> None:
    roots = {"celeba-dcgan", "mnist-mlp", "mnist-dcgan", "mimicry-dcgan", "mimicry-sngan", "flow"}
    assert {*VERSIONS} == {*(f"v{number}" for number in range(1, 25)), *LEAVES, *NETWORKS, *roots}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 32, 48, 64, 128])
@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_takes_a_step_or_says_why_it_cannot(
    version: str, size: int, channels: int, tmp_path: Path
) -> None:
    settings = load(params(tmp_path, [version], size, channels))
    member = read_family([version])[version]
    recipe = plan.complete(member, settings)
    if (version, size) in REFUSED:
        with pytest.raises(GanealogyError, match=rf"versions/{version}\.yaml: {REFUSED[version, size]}") as caught:
            plan.count_parameters(recipe, settings, member.path)
        assert "\n" not in str(caught.value)
        return
    planned: dict[str, Any] = plan.version_plan(member, recipe, settings)
    torch.manual_seed(SEEDS.get((version, size), 0))
    G = networks.generator(planned["recipe"], planned["protocol"])
    D = networks.discriminator(planned["recipe"], planned["protocol"])
    assert plan.count_parameters(recipe, settings, member.path) == {
        "generator": networks.parameter_count(G),
        "discriminator": networks.parameter_count(D),
    }
    before = [weights(G), weights(D)]
    labels = torch.arange(BATCH) if planned["recipe"]["labels"] else None
    statistics = adversary.game(planned["recipe"], G, D).step(
        lambda index: torch.rand(BATCH, channels, size, size) * 2 - 1, None if labels is None else lambda index: labels
    )
    assert all(torch.isfinite(value) for value in statistics.values()), statistics
    for old, new in zip(before, [weights(G), weights(D)], strict=True):
        assert torch.isfinite(new).all() and (not torch.equal(old, new) or not len(new))
    with torch.no_grad():
        inputs = [torch.randn(2, planned["recipe"]["latent"]["size"]), *([] if labels is None else [labels[:2]])]
        assert G.eval()(*inputs).shape == (2, channels, size, size)


def test_the_whole_family_can_be_planned_at_once(tmp_path: Path) -> None:
    files = plan.make(params(tmp_path, VERSIONS, 32, 3))
    assert {f"versions/{version}.json" for version in VERSIONS} < {*files}


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([torch.empty(0), *(parameter.detach().flatten() for parameter in network.parameters())])


def test_the_counts_that_the_plan_shows_are_the_roots_own(tmp_path: Path) -> None:
    """At their own width, in the size and channels of their data."""
    for version, size, channels, width, of_d, of_g in (
        ("v1", 64, 3, 64, 2_765_696, 3_806_080),
        ("celeba-dcgan", 32, 3, 64, 167_809, 372_416),
        ("mnist-mlp", 28, 1, 64, 267_009, 283_920),
        ("mnist-dcgan", 28, 1, 64, 212_865, 2_305_472),
        ("mimicry-dcgan", 32, 3, 128, 1_053_825, 4_276_739),
        ("mimicry-sngan", 32, 3, 128, 1_053_825, 4_276_739),
    ):
        path = params(tmp_path, [version], size, channels)
        path.write_text(re.sub("width: 4", f"width: {width}", path.read_text()))
        (member,) = plan.make(path)["tree.json"]["versions"]
        assert member["parameters"] == {"discriminator": of_d, "generator": of_g}
