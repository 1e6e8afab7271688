"""The doctor names why torch cannot use an NVIDIA GPU. The system and torch are stand-ins, so no GPU is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganealogy.cli import doctor
from ganealogy.runtime import nvidia
from ganealogy.runtime.nvidia import Machine

H100 = "NVIDIA H100 80GB HBM3"
GOOD = Machine(driver="580.159.04", cards=(H100,), reachable=True)
TOO_OLD = "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver"
NO_DRIVER = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"
NO_CARD = "No CUDA GPUs are available"
NO_MATCH = "Failed to initialize NVML: Driver/library version mismatch NVML library version: 580.65"


def machine(**changed: Any) -> Machine:
    return Machine(**{**vars(GOOD), **changed})


@pytest.mark.parametrize(
    ("seen", "built", "fault", "words"),
    [
        (
            machine(driver="535.183.01"),
            "13.2",
            TOO_OLD,
            ["driver 535.183.01 is too old", "torch 2.15.0 with CUDA 13.2 needs 580 or newer", "torch for CUDA 12"],
        ),
        (machine(driver="535.183.01"), "13.2", "in other words", ["535.183.01 is too old", "torch for CUDA 12"]),
        (machine(driver="470.82"), "12.6", "in other words", ["needs 525.60 or newer", "update the driver"]),
        (machine(), "14.0", TOO_OLD.replace("12020", "13000"), ["needs a newer one", "torch for CUDA 13"]),
        (machine(), None, "Torch not compiled with CUDA enabled", ["2.15.0 is built without CUDA", "make setup"]),
        (machine(visible=""), "13.2", NO_CARD, ["CUDA_VISIBLE_DEVICES is ''", "unset CUDA_VISIBLE_DEVICES"]),
        (machine(visible="-1"), "13.2", NO_CARD, ["CUDA_VISIBLE_DEVICES is '-1'"]),
        (machine(visible="7"), "13.2", NO_CARD, ["CUDA_VISIBLE_DEVICES is '7'"]),
        (machine(driver="", reachable=False), "13.2", NO_DRIVER, ["no NVIDIA driver is loaded", "580 or", "modprobe"]),
        (machine(smi=NO_MATCH, reachable=False), "13.2", NO_CARD, ["driver 580.159.04 is loaded", "reboot"]),
        (machine(), "13.2", "Unexpected error. Error 803: system has unsupported", ["another release", "reboot"]),
        (machine(reachable=False), "13.2", NO_CARD, ["can open no /dev/nvidia*", "--gpus all", "nvidia-modprobe"]),
        (machine(), "13.2", NO_DRIVER, ["libcuda.so.1 is not found", "580.159.04", "DRIVER_CAPABILITIES"]),
        (machine(smi="it hung"), "13.2", "Error 802", ["does not start (Error 802; nvidia-smi: it hung)", "reboot"]),
        (machine(visible="0"), "13.2", "Error 802: system not yet initialized", ["Error 802: system not yet"]),
    ],
)
def test_an_obstacle_is_named_with_its_remedy(seen: Machine, built: str | None, fault: str, words: list[str]) -> None:
    [text] = nvidia.obstacles(seen, "2.15.0", built, fault)
    assert [word for word in words if word not in text] == [], text


def test_no_build_of_torch_is_proposed_for_a_driver_older_than_all() -> None:
    [text] = nvidia.obstacles(machine(driver="470.82"), "2.15.0", "13.2", TOO_OLD.replace("12020", "11040"))
    assert text.endswith("update the driver")


@pytest.mark.parametrize(("built", "first"), [(None, "built without CUDA"), ("13.2", "too old")])
def test_a_gpu_that_is_also_hidden_has_two_obstacles(built: str | None, first: str) -> None:
    one, other = nvidia.obstacles(machine(driver="535.1", visible=""), "2.15.0", built, TOO_OLD)
    assert first in one and "CUDA_VISIBLE_DEVICES" in other


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_86"], True),
        ((8, 0), ["sm_86"], False),
        ((6, 1), ["sm_75", "sm_80"], False),
        ((10, 3), ["sm_90", "sm_100"], True),
        ((12, 0), ["sm_90", "sm_100a"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
    ],
)
def test_machine_code_runs_only_on_its_major_capability(
    capability: tuple[int, int], built: list[str], runs: bool
) -> None:
    assert nvidia.has_kernels(capability, built) is runs


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a system without NVIDIA hardware, to which tests add parts."""
    for name, path in {"KERNEL_MODULE": "version", "DEVICES": "dev", "PCI": "pci"}.items():
        monkeypatch.setattr(nvidia, name, tmp_path / path)
    for folder in ("dev", "pci", "bin"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def smi(system: Path, script: str) -> None:
    program = system / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def load_driver(system: Path, release: str) -> None:
    module = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {release}  Release Build  (2026)"
    (system / "version").write_text(f"{module}\nGCC version:  gcc version 12.3.0 (Debian)\n")


def plug_in(system: Path, address: str, vendor: str, kind: str) -> None:
    (system / "pci" / address).mkdir()
    (system / "pci" / address / "vendor").write_text(f"{vendor}\n")
    (system / "pci" / address / "class").write_text(f"{kind}\n")


def test_a_system_without_nvidia_is_empty(system: Path) -> None:
    plug_in(system, "0000:00:02.0", "0x8086", "0x030000")
    plug_in(system, "0000:01:00.1", "0x10de", "0x040300")  # sound
    assert nvidia.inspect({}).is_empty


def test_nvidia_smi_lists_the_cards(system: Path) -> None:
    smi(system, f'echo "{H100}, 580.159.04"; echo "{H100}, 580.159.04"')
    assert nvidia.inspect({"CUDA_VISIBLE_DEVICES": "1"}) == machine(visible="1")


def test_a_card_without_a_driver_is_found_on_the_bus(system: Path) -> None:
    plug_in(system, "0000:01:00.0", "0x10de", "0x030200")
    assert nvidia.inspect({}) == Machine(cards=("0000:01:00.0",))


def test_unreadable_files_count_as_no_gpu(system: Path) -> None:
    """Directories take the place of the files, because root can read any file."""
    (system / "version").mkdir()
    for name in ("vendor", "class"):
        (system / "pci" / "0000:01:00.0" / name).mkdir(parents=True)
    assert nvidia.inspect({}).is_empty


@pytest.mark.parametrize("release", ["535.183.01", "580.65.06"])
def test_a_driver_is_found_in_the_kernel(system: Path, release: str) -> None:
    load_driver(system, release)
    smi(system, 'echo "Failed to initialize NVML: Driver/library version mismatch"; echo "NVML library" >&2; exit 18')
    seen = nvidia.inspect({})
    assert (seen.driver, seen.cards, seen.reachable) == (release, (), False)
    assert seen.smi == "Failed to initialize NVML: Driver/library version mismatch NVML library"
    assert not seen.is_empty


def test_a_device_node_makes_a_card_reachable(system: Path) -> None:
    load_driver(system, "580.65.06")
    (system / "dev" / "nvidiactl").touch()
    assert not nvidia.inspect({}).reachable
    (system / "dev" / "nvidia0").touch()
    assert nvidia.inspect({}).reachable


def test_an_nvidia_smi_that_lists_nothing_or_hangs_is_reported(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(system, 'echo "No devices were found"')
    assert nvidia.inspect({}) == Machine(smi="No devices were found")
    monkeypatch.setattr(nvidia, "TIMEOUT_S", 0.2)
    smi(system, "exec /bin/sleep 60")
    assert "timed out" in (nvidia.inspect({}).smi or "")


TORCH = """
__version__ = "2.15.0+cu132"
zeros = ones = lambda *_, **__: Product()
class Product:
    def mm(self, _other):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\\nmore")
class version:
    cuda = {built!r}
class cuda:
    is_available = lambda: {available}
    get_device_name = lambda: "NVIDIA TITAN X"
    get_device_capability = lambda: (6, 1)
    get_arch_list = lambda: ["sm_75", "sm_90"]
    def init():
        raise {fault}
"""


@pytest.fixture
def findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return a function that gives the doctor's lines on a stand-in of torch, without the first, on torchvision."""

    def lines(device: str, fault: str = "None", available: bool = False, built: str | None = "13.2") -> list[str]:
        package = tmp_path / "python" / "torchvision"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("__version__ = '0.30'")
        (package / "ops.py").write_text("nms = lambda *_: None")
        torch = TORCH.format(built=built, available=available, fault=fault)
        (tmp_path / "python" / "torch.py").write_text(torch)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "python"))
        settings = doctor.load(Path("tests/tiny.yaml"))
        train = settings.train.model_copy(update={"device": device})
        first, *others = doctor.check_torch(settings.model_copy(update={"train": train}))
        assert first.text == "torch 2.15.0+cu132 and torchvision 0.30 match"
        return list(map(str, others))

    return lines


@pytest.mark.parametrize(("device", "mark"), [("auto", "!"), ("cpu", "!"), ("cuda", "✗")])
def test_a_gpu_with_an_old_driver_is_reported(
    system: Path, findings: Callable[..., list[str]], device: str, mark: str
) -> None:
    smi(system, f'echo "{H100}, 535.183.01"')
    [line] = findings(device, f"RuntimeError({TOO_OLD!r})")
    assert line.startswith(f"{mark} torch does not see {H100}: the NVIDIA driver 535.183.01 is too old")
    assert line.endswith(", or set train.device to cpu") == (device == "cuda")


def test_a_torch_without_cuda_is_reported_for_an_unnamed_gpu(system: Path, findings: Callable[..., list[str]]) -> None:
    load_driver(system, "580.65.06")
    [line] = findings("auto", "AssertionError('Torch not compiled with CUDA enabled')", built=None)
    assert line.startswith("! torch does not see an NVIDIA GPU: torch 2.15.0+cu132 is built without CUDA")


def test_cuda_visible_devices_of_the_environment_is_reported(
    system: Path, findings: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(system, f'echo "{H100}, 580.159.04"')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    [line] = findings("auto", f"RuntimeError({NO_CARD!r})")
    assert "CUDA_VISIBLE_DEVICES is '-1'" in line


def test_a_machine_without_gpu_is_in_order(system: Path, findings: Callable[..., list[str]]) -> None:
    assert findings("auto", f"RuntimeError({NO_DRIVER!r})") == ["✓ no GPU; trainings run on the CPU"]


@pytest.mark.parametrize(("device", "mark"), [("auto", "✗"), ("cpu", "!"), ("cuda", "✗")])
def test_a_gpu_without_kernels_in_torch_is_reported(
    system: Path, findings: Callable[..., list[str]], device: str, mark: str
) -> None:
    [line] = findings(device, available=True)
    assert line.startswith(f"{mark} NVIDIA TITAN X does not compute (CUDA error: no kernel image is available")
    assert "torch 2.15.0+cu132 is built for sm_75, sm_90, and the GPU has capability 6.1" in line
    assert "install a build of torch for this GPU" in line
