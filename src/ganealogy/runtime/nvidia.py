"""Find out why torch cannot use an NVIDIA GPU of this machine, and what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import R_OK, W_OK, access
from pathlib import Path

from ganealogy.runtime import reinstall

KERNEL_MODULE = Path("/proc/driver/nvidia/version")
DEVICES = Path("/dev")
PCI = Path("/sys/bus/pci/devices")
TIMEOUT_S = 60

NEEDED = {12: "525.60", 13: "580"}
"""CUDA's major version → the oldest Linux driver for it, from NVIDIA's table of minor version compatibility."""
RELEASE = re.compile(r"\d{3,}(\.\d+)+")
HIDING = re.compile(r"\s*$|-|NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES that hide all GPUs."""
MISMATCH = re.compile("version mismatch|Error 80[34]")
"""Errors of nvidia-smi and CUDA when the driver and its library are of different releases."""
NONE = "No CUDA GPUs are available"


@dataclass(frozen=True)
class Machine:
    """The NVIDIA GPUs and driver as the system shows them, without torch."""

    driver: str = ""
    """The release of the loaded driver, such as 580.65.06."""
    cards: tuple[str, ...] = ()
    """Names by nvidia-smi, or else PCI addresses."""
    smi: str | None = None
    """The error of nvidia-smi; None if the program is absent or lists a GPU."""
    reachable: bool = False
    """Whether this process may open a GPU."""
    visible: str | None = None
    """The environment's CUDA_VISIBLE_DEVICES."""

    @property
    def is_empty(self) -> bool:
        return not self.driver and not self.cards


def inspect(environment: Mapping[str, str]) -> Machine:
    """Read the state from the kernel, the PCI bus and nvidia-smi."""
    listed, error = _nvidia_smi()
    nodes = [path for path in DEVICES.glob("nvidia[0-9]*") if access(path, R_OK | W_OK)]
    loaded = RELEASE.search(_text(KERNEL_MODULE))
    return Machine(
        driver=loaded[0] if loaded else next(iter(listed.values()), ""),
        cards=tuple(listed) or tuple(_on_the_bus()),
        smi=error,
        reachable=bool(nodes or listed),
        visible=environment.get("CUDA_VISIBLE_DEVICES"),
    )


def _nvidia_smi() -> tuple[dict[str, str], str | None]:
    """Return GPU → driver release, and the error if there was one."""
    if shutil.which("nvidia-smi") is None:
        return {}, None
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, str(error)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not all(", " in line for line in lines):
        return {}, " ".join((done.stdout + done.stderr).split())
    return dict(line.rsplit(", ", 1) for line in lines), None


def _on_the_bus() -> Iterator[str]:
    """Yield the PCI addresses of NVIDIA's display controllers."""
    for folder in sorted(PCI.glob("*")):
        vendor, kind = (_text(folder / name).strip() for name in ("vendor", "class"))
        if vendor == "0x10de" and kind.startswith("0x03"):
            yield folder.name


def _text(path: Path) -> str:
    """Return a file's text; empty if it cannot be read, as in some containers."""
    try:
        return path.read_text()
    except OSError:
        return ""


def obstacles(machine: Machine, release: str, built: str | None, fault: str) -> list[str]:
    """Return each reason why torch cannot use the GPU, with its remedy.

    `release`: of torch; `built`: the CUDA version of its build, None without; `fault`: the error of torch.cuda.init().
    """
    if built is None:
        remedy = f"run `{reinstall.command()}`, or install a build with CUDA"
        first = f"torch {release} is built without CUDA: {remedy}"
    else:
        first = _of_the_driver(machine, f"torch {release} with CUDA {built}", int(built.split(".")[0]), fault)
    hidden = machine.visible is not None and (HIDING.match(machine.visible) or (not first and NONE in fault))
    second = f"CUDA_VISIBLE_DEVICES is {machine.visible!r}, which hides it: run `unset CUDA_VISIBLE_DEVICES`"
    found = [text for text in (first, second if hidden else "") if text]
    fault += f"; nvidia-smi: {machine.smi}" if machine.smi else ""
    return found or [f"CUDA does not start ({fault}): reboot; if that does not help, install the driver anew"]


def _of_the_driver(machine: Machine, torch: str, built: int, fault: str) -> str:
    """Return the first fault of the driver, or ""; `built`: the major CUDA version that torch is built for."""
    driver, needed = machine.driver, NEEDED.get(built, "")
    needs = f"{torch} needs " + (f"{needed} or newer" if needed else "a newer one")
    if not driver:
        return f"no NVIDIA driver is loaded ({needs}): install it; if it is installed, run `sudo modprobe nvidia`"
    if MISMATCH.search(f"{machine.smi} {fault}"):
        remedy = "reboot the machine, or start the container anew"
        return f"the driver {driver} is loaded and its library is of another release, as after an update: {remedy}"
    old = re.search(r"too old \(found version (\d+)\)", fault)
    if old or _number(driver) < _number(needed):
        runs = int(old[1]) // 1000 if old else _cuda(driver)
        other = f", or install a build of torch for CUDA {runs}" if runs in NEEDED else ""
        return f"the NVIDIA driver {driver} is too old ({needs}): update the driver{other}"
    if not machine.reachable:
        remedy = "start a container with `docker run --gpus all …`; elsewhere run `sudo nvidia-modprobe -c 0 -u`"
        return f"this process can open no {DEVICES}/nvidia*: {remedy}"
    if "no NVIDIA driver" in fault:
        remedy = f"install that of {driver}; for a container set NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        return f"the driver's library libcuda.so.1 is not found: {remedy}"
    return ""


def _cuda(driver: str) -> int:
    """Return the newest major CUDA version that a driver supports, 0 for none of the listed."""
    return max((cuda for cuda, least in NEEDED.items() if _number(driver) >= _number(least)), default=0)


def _number(release: str) -> list[int]:
    return [int(part) for part in release.split(".") if part]


def has_kernels(capability: Sequence[int], built: Sequence[str]) -> bool:
    """Return whether a build of torch (`torch.cuda.get_arch_list()`) runs on a GPU of this compute capability.

    sm_80 is machine code for 8.0 and the later 8.x; compute_80 is translated for each later card.
    """
    for kind, *version in re.findall(r"(sm|compute)_(\d+)(\d)", " ".join(built)):
        major, minor = map(int, version)
        if (major, minor) <= tuple(capability) and (kind == "compute" or major == capability[0]):
            return True
    return False
