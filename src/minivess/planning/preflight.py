"""Check the machine, the data folder and the output folder before a run.

A critical finding stops the run; a warning is reported and the run goes on.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.data.layouts.listing import visible
from minivess.errors import DataError, PlanError
from minivess.findings import Finding, raise_critical
from minivess.json_files import to_plain
from minivess.machine.environment import Environment, detect_environment
from minivess.planning.hardware import HardwareBudget, at_least
from minivess.planning.library_checks import LibraryVersions, check_libraries, read_library_versions
from minivess.planning.resources import DISK_FREE_MIN_BYTES
from minivess.text import GIB, format_bytes


@dataclass(frozen=True)
class PreflightResult:
    """The findings of preflight.

    Attributes:
        findings: By category: gpu, ram, disk, swap, environment, data, libraries, outputs, plan. All categories are
            present; only "plan" can be empty.
        environment: "local", "docker", "cloud" or "ci".
        hardware: The machine that was checked.
    """

    findings: Mapping[str, tuple[Finding, ...]]
    environment: Environment
    hardware: HardwareBudget

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """The findings of all categories, in order."""
        return tuple(finding for category in self.findings.values() for finding in category)

    @property
    def ok(self) -> bool:
        """Whether no finding is critical."""
        return all(finding.level != "critical" for finding in self.all_findings)

    @property
    def data_is_faulty(self) -> bool:
        """Whether a finding about the data is critical."""
        return any(finding.level == "critical" for finding in self.findings["data"])

    def raise_if_critical(self) -> None:
        """Raise an error that names every critical finding; return if there is none.

        Raises:
            DataError: At least one critical finding is about the data.
            PlanError: There are critical findings, but none is about the data.
        """
        raise_critical(self.all_findings, DataError if self.data_is_faulty else PlanError)

    def summary(self) -> dict[str, Any]:
        """Return the result as plain values for JSON, with the key ``ok``."""
        return {"ok": self.ok, **to_plain(self)}


def run_preflight(
    hardware: HardwareBudget,
    data_dir: Path,
    output_dir: Path,
    *,
    environ: Mapping[str, str],
    data_findings: Iterable[Finding] = (),
    plan_findings: Iterable[Finding] = (),
    needed_bytes: int = 0,
    versions: LibraryVersions | None = None,
    root: Path = Path("/"),
) -> PreflightResult:
    """Run every check. Findings are returned and never raised.

    Args:
        hardware: The machine, from ``detect_hardware`` or ``HardwareBudget.imagined``.
        data_dir: The folder of the volumes. It is a critical finding if it is missing or empty.
        output_dir: Where the run will write. It need not exist; it is not created here.
        environ: Environment variables, used to detect where the program runs.
        data_findings: Findings of the caller about the data, e.g. that there are no pairs.
        plan_findings: Findings of the guards about the plan.
        needed_bytes: Bytes that the run will add to the disk of ``output_dir``, from ``bytes_to_write``.
        versions: Library versions; None reads the installed ones.
        root: Root of the file system, where signs of containers and clouds are looked for.

    Returns:
        All findings, the kind of environment and the machine.
    """
    environment = detect_environment(environ, root)
    free_bytes = shutil.disk_usage(_nearest_existing(output_dir)).free
    findings = {
        "gpu": check_gpu(hardware),
        "ram": [*check_ram(hardware), *check_ram_limit(hardware)],
        "disk": check_disk(free_bytes, needed_bytes),
        "swap": check_swap(hardware),
        "environment": check_environment(environment, hardware),
        "data": [*check_data_folder(data_dir), *data_findings],
        "libraries": check_libraries(versions or read_library_versions(), hardware.gpus),
        "outputs": check_outputs(output_dir),
        "plan": plan_findings,
    }
    return PreflightResult({name: tuple(found) for name, found in findings.items()}, environment, hardware)


def check_gpu(hardware: HardwareBudget) -> list[Finding]:
    """Warn if there is no GPU, if it is too small or too busy, or if other programs use much of it."""
    notes = "".join(f"; {note}" for note in hardware.gpu_notes)
    budget = hardware.explain()["gpu_budget_bytes"] + notes
    if hardware.gpu is None:
        cure = "use the CPU only for short trials; otherwise make sure that `nvidia-smi` lists the GPU"
        return [Finding("warning", "gpu", "NVIDIA GPU", "a GPU with 6 GB or more", f"none{notes}", cure)]
    if hardware.tier == "cpu":
        cure = "close other programs on the GPU (`nvidia-smi` lists them), or expect the run to use the CPU"
        got = hardware.explain()["tier"] + notes
        return [Finding("warning", "gpu", "NVIDIA GPU", "6 GB or more of usable GPU memory", got, cure)]
    if hardware.gpu_budget_bytes < hardware.gpu_warn_bytes:
        cure = "close other programs on the GPU (`nvidia-smi` lists them) to allow larger patches"
        return [Finding("warning", "gpu", "NVIDIA GPU", "an idle GPU", budget, cure)]
    return [Finding("info", "gpu", "budget", "", budget, "")]


def check_ram(hardware: HardwareBudget) -> list[Finding]:
    """Warn below 16 GB of memory, and if other programs leave less than half of it usable."""
    total, reason = hardware.host.ram_total_bytes, hardware.explain()["usable_ram_bytes"]
    if not at_least(total, 16 * GIB):
        cure = "expect a small cache and slow loading; in a container, raise its memory limit"
        return [Finding("warning", "ram", "memory of the machine", "16 GB or more", format_bytes(total), cure)]
    if hardware.usable_ram_bytes < total // 2:
        expected = "at least half of the memory of the machine"
        return [Finding("warning", "ram", "usable memory", expected, reason, "close other programs")]
    return [Finding("info", "ram", "usable memory", "", reason, "")]


def check_ram_limit(hardware: HardwareBudget) -> list[Finding]:
    """Warn about a memory limit above 75 % of the machine, the share that leaves enough for a desktop session."""
    limit, total = hardware.ram_limit_bytes, hardware.host.ram_total_bytes
    if limit is None or at_least(total * 3 // 4, limit):
        return []
    if limit > total:
        expected = f"at most {format_bytes(total)}, the memory of this machine"
        share = format_bytes(hardware.ram_abort_bytes)
        cure = f"lower or remove limits.memory_limit_gib; it has no effect now: all cells of a run share {share}"
    else:
        expected = f"at most {format_bytes(total * 3 // 4)}, 75 % of the memory of this machine"
        cure = "lower or remove limits.memory_limit_gib, unless nothing else runs on this machine"
    return [Finding("warning", "ram", "memory limit of a cell", expected, format_bytes(limit), cure)]


def check_disk(free_bytes: int, needed_bytes: int = 0) -> list[Finding]:
    """Check the free space of the output disk: warn below 20 GB, critical if the run will not leave what must stay free.

    Args:
        free_bytes: Free space of the disk.
        needed_bytes: Bytes that the run will write.
    """
    what, cure = "free space for outputs", "free some space, or choose an output folder on a larger disk"
    least_bytes = needed_bytes + DISK_FREE_MIN_BYTES
    if least_bytes > free_bytes:
        expected = (
            f"at least {format_bytes(least_bytes)}: decompressed volumes, checkpoints, masks, and what must stay free"
        )
        return [Finding("critical", "disk", what, expected, format_bytes(free_bytes), cure)]
    if free_bytes < 20 * GIB:
        return [Finding("warning", "disk", what, "20 GB or more", format_bytes(free_bytes), cure)]
    return [Finding("info", "disk", what, "", format_bytes(free_bytes), "")]


def check_swap(hardware: HardwareBudget) -> list[Finding]:
    """Warn above 5 GB of swap in use: the machine already lacks memory."""
    used = format_bytes(hardware.host.swap_used_bytes)
    if hardware.host.swap_used_bytes > 5 * GIB:
        cure = "close programs, then `sudo swapoff -a && sudo swapon -a`, or restart the machine"
        return [Finding("warning", "swap", "swap in use", "5 GB or less", used, cure)]
    return [Finding("info", "swap", "swap in use", "", used, "")]


def check_environment(environment: Environment, hardware: HardwareBudget) -> list[Finding]:
    """Report where the program runs, how many processors it has, the load, and what limits the machine."""
    load = "unknown" if hardware.host.load_1min is None else f"{hardware.host.load_1min:g}"
    got = "; ".join([environment, f"{hardware.host.cpu_count} processors, load {load}", *hardware.host.notes])
    return [Finding("info", "environment", "environment", "", got, "")]


def check_data_folder(data_dir: Path) -> list[Finding]:
    """Critical if the folder is missing, unreadable or empty. The profiler checks its content."""
    try:
        entries = len(visible(data_dir))
        got = f"{data_dir} has {entries} entries" if entries else f"{data_dir} is empty"
    except DataError as error:
        entries, got = 0, error.got
    if not entries:
        cure = (
            "give the folder with the volumes and their labels, or create a phantom data set (`minivess data phantom`)"
        )
        return [Finding("critical", "data", "data folder", "a folder of volumes", got, cure)]
    return [Finding("info", "data", "data folder", "", got, "")]


def check_outputs(output_dir: Path) -> list[Finding]:
    """Critical if the output folder is not writable; checked by writing a temporary file.

    If the folder does not exist yet, its nearest existing parent is checked. No file is left behind.
    """
    folder = _nearest_existing(output_dir)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".minivess-preflight-") as probe:
            probe.write(b"x")
            probe.flush()
    except OSError as error:
        cure = "choose another output folder, or fix its permissions"
        got = f"{folder}: {error.strerror}"
        return [Finding("critical", "outputs", "output folder", f"a writable {output_dir}", got, cure)]
    return [Finding("info", "outputs", "output folder", "", f"{output_dir} is writable", "")]


def _nearest_existing(path: Path) -> Path:
    # os.path.exists, because Path.exists raises an error if a parent folder is not accessible.
    return next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))
