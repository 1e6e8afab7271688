"""The layers of networks: shapes and parameters, in the terminal, the plan and the report's page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from ganealogy.cli.main import cli
from ganealogy.lineage.layers import Layer, layers
from ganealogy.lineage.versions import known, read_family
from ganealogy.networks import _build as networks
from ganealogy.networks.layers.spectral import spectral_norm
from ganealogy.params import schema
from ganealogy.stages import plan


def settings(tmp_path: Path, version: str, size: int, width: int = 8) -> schema.Settings:
    dataset = "mnist" if size == 28 else "cifar10" if version == "conditional" else "avatars"
    (tmp_path / "params.yaml").write_text(
        f"dataset: {{name: {dataset}, image_size: {size}, channels: {1 if size == 28 else 3}}}\n"
        f"tree: {{versions: [{version}], seeds: [0]}}\n"
        f"train: {{kimg: 1, batch_size: 8, lr: 0.0002, width: {width}}}\n"
    )
    return schema.load(tmp_path / "params.yaml")


def totals(found: list[Layer]) -> tuple[int, int]:
    return sum(layer.trained for layer in found), sum(layer.fixed for layer in found)


@pytest.mark.parametrize("version", known())
def test_the_layers_have_all_parameters(version: str, tmp_path: Path) -> None:
    size = 28 if version.startswith("mnist") else 32
    chosen, member = settings(tmp_path, version, size), read_family([version])[version]
    found = plan.layers(member, chosen)
    made = plan.version_plan(member, plan.complete(member, chosen), chosen)
    for network, build in (("generator", networks.generator), ("discriminator", networks.discriminator)):
        whole = build(made["recipe"], made["protocol"])
        buffers = sum(each.numel() for each in whole.buffers() if each.is_floating_point())
        assert totals(found[network]) == (networks.parameter_count(whole), buffers), network
    assert found["generator"][-1].shape[-1] == size or version == "stylegan2", found["generator"][-1]
    assert all(len({layer.name for layer in each}) == len(each) for each in found.values())


def test_the_tensorflow_tutorials_totals_appear(tmp_path: Path) -> None:
    """As Keras's summaries of both networks give them, with the statistics of BatchNorm in G's."""
    found = plan.layers(read_family(["mnist-dcgan"])["mnist-dcgan"], settings(tmp_path, "mnist-dcgan", 28, width=64))
    assert totals(found["discriminator"]) == (212_865, 0)
    assert sum(totals(found["generator"])) == 2_330_944


class Twice(nn.Module):
    """Runs one layer twice, and has a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.unused = nn.Linear(2, 2)
        self.gain = nn.Parameter(torch.ones(5))
        self.register_buffer("frozen", torch.zeros(7))
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.shared(self.shared(images))
        return result


def test_a_network_made_by_hand() -> None:
    network = nn.Sequential(
        spectral_norm(nn.Conv2d(3, 4, 4, 2, 1, bias=False)), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), Twice(),
        nn.Identity(), nn.Flatten(), nn.Linear(4 * 8 * 8, 1),
    )  # fmt: skip
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    assert layers(network, torch.zeros(2, 3, 16, 16)) == [
        Layer("0", "Conv2d 4x4, stride 2, padding 1, spectral norm", (4, 8, 8), 4 * 3 * 16, 4 + 3 * 16),
        Layer("1", "BatchNorm2d", (4, 8, 8), 8, 8),
        Layer("2", "LeakyReLU 0.2", (4, 8, 8), 0, 0),
        Layer("3.shared", "Conv2d 3x3, padding 1", (4, 8, 8), 4 * 4 * 9 + 4, 0),
        Layer("3", "Twice", (4, 8, 8), 5, 7),
        Layer("5", "Flatten", (256,), 0, 0),
        Layer("6", "Linear", (1,), 257, 0),
        Layer("3.unused", "Linear", (), 6, 0),
    ]
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules()), "its hooks are removed"


def test_frozen_features_of_a_discriminator_are_fixed(tmp_path: Path) -> None:
    found = plan.layers(read_family(["v19"])["v19"], settings(tmp_path, "v19", 32))["discriminator"]
    trained, fixed = totals(found)
    assert fixed > 700_000 > trained, "the network of features has buffers only"


def test_show_prints_both_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings(tmp_path, "v8", 32)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    shown = CliRunner().invoke(cli, ["show", "v8", "--layers"], catch_exceptions=False).output
    assert "v8: generator, 32×32, 3 channels" in shown and "v8: discriminator, 32×32, 3 channels" in shown
    assert "Conv2d 4x4, stride 2, padding 1, spectral norm" in shown and "8×16×16" in shown
    assert shown.count("in all") == 2
    flow = CliRunner().invoke(cli, ["show", "flow", "--layers"], catch_exceptions=False).output
    assert "flow: generator" in flow and "discriminator" not in flow


def test_show_refuses_a_size_that_a_version_does_not_support(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings(tmp_path, "v1", 28)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["show", "v14", "--layers"])
    assert done.exit_code and "v14.yaml: " in str(done.exception or done.output)


def test_the_plan_has_the_layers_of_listed_versions(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "v3", 32)
    members: Any = plan.make(tmp_path / "params.yaml")["tree.json"]["versions"]  # type: ignore[typeddict-item]
    by_name: Mapping[str, Any] = {member["name"]: member["layers"] for member in members}
    assert by_name["v1"] == {}
    expected = plan.layers(read_family(["v3"])["v3"], chosen)["discriminator"]
    assert by_name["v3"]["discriminator"][0] == {
        "name": "layers.0", "kind": "Conv2d 4x4, stride 2, padding 1", "shape": (8, 16, 16), "trained": 384, "fixed": 0,
    }  # fmt: skip
    assert [layer["name"] for layer in by_name["v3"]["discriminator"]] == [layer.name for layer in expected]


def test_listing_layers_changes_no_random_numbers_and_is_quick() -> None:
    """And it does not import torch's compiler: see tests/stages/test_plan_speed.py."""
    files = plan.make(Path("params.yaml"))
    plans: list[Any] = [content for name, content in files.items() if name.startswith("versions/")]
    state = torch.get_rng_state()
    began = time.process_time()
    for each in plans:
        plan.list_layers(each)
    assert len(plans) == 10 and time.process_time() - began < 0.5
    assert torch.equal(torch.get_rng_state(), state)
