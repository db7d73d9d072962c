"""Looks at machine, data folder and output folder before a run: what cannot work stops it, what may hurt is said."""

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
from minivess.text import GIB, format_bytes


@dataclass(frozen=True)
class PreflightResult:
    """What preflight found.

    Attributes:
        findings: By category: gpu, ram, disk, swap, environment, data, libraries, outputs, plan. Every category is
            there; only "plan" can be empty.
        environment: "local", "docker", "cloud" or "ci".
        hardware: The machine that was looked at.
    """

    findings: Mapping[str, tuple[Finding, ...]]
    environment: Environment
    hardware: HardwareBudget

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """The findings of all categories in order."""
        return tuple(finding for category in self.findings.values() for finding in category)

    @property
    def ok(self) -> bool:
        """Whether nothing is critical."""
        return all(finding.level != "critical" for finding in self.all_findings)

    @property
    def data_is_faulty(self) -> bool:
        """Whether something is critical in the data itself."""
        return any(finding.level == "critical" for finding in self.findings["data"])

    def raise_if_critical(self) -> None:
        """Raises a DataError where the data has a critical finding, else a PlanError; either names every critical finding."""
        raise_critical(self.all_findings, DataError if self.data_is_faulty else PlanError)

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON, with ``ok``."""
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
    """Runs every check; raises nothing for what it finds.

    Args:
        hardware: From ``detect_hardware`` (or imagined).
        data_dir: The folder of volumes, which must exist and not be empty.
        output_dir: Where the run will write; it need not exist, and is not created here.
        environ: Environment variables, to tell where the program runs.
        data_findings: What the caller's look at the data gave, e.g. that there are no pairs.
        plan_findings: What the guards said about the plan.
        needed_bytes: What the run will add to the disk of ``output_dir``, from ``bytes_to_write``.
        versions: Library versions; None reads those installed.
        root: The file system's root, for marks of containers and clouds.
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
    """Warns when there is no card, when it is too small or too busy for a GPU tier, and when others use much of it."""
    notes = "".join(f"; {note}" for note in hardware.gpu_notes)
    budget = hardware.explain()["gpu_budget_bytes"] + notes
    if hardware.gpu is None:
        cure = "train on the CPU for a trial only; else see that `nvidia-smi` lists the card"
        return [Finding("warning", "gpu", "NVIDIA card", "one of 6 GB or more", f"none{notes}", cure)]
    if hardware.tier == "cpu":
        cure = "close other programs on the card (`nvidia-smi` lists them), or expect a run on the CPU"
        return [
            Finding("warning", "gpu", "NVIDIA card", "6 GB or more to use", hardware.explain()["tier"] + notes, cure)
        ]
    if hardware.gpu_budget_bytes < hardware.gpu_warn_bytes:
        cure = "close other programs on the card (`nvidia-smi` lists them) for larger patches"
        return [Finding("warning", "gpu", "NVIDIA card", "an idle card", budget, cure)]
    return [Finding("info", "gpu", "budget", "", budget, "")]


def check_ram(hardware: HardwareBudget) -> list[Finding]:
    """Warns below 16 GB of memory, and when other programs leave less than half of it usable."""
    total, reason = hardware.host.ram_total_bytes, hardware.explain()["usable_ram_bytes"]
    if not at_least(total, 16 * GIB):
        cure = "expect a small cache and slow loading; in a container, raise its memory limit"
        return [Finding("warning", "ram", "memory of the machine", "16 GB or more", format_bytes(total), cure)]
    if hardware.usable_ram_bytes < total // 2:
        return [Finding("warning", "ram", "usable memory", "half of it or more", reason, "close other programs")]
    return [Finding("info", "ram", "usable memory", "", reason, "")]


def check_ram_limit(hardware: HardwareBudget) -> list[Finding]:
    """Warns of a memory limit above three quarters of the machine, the share that leaves a desktop alive."""
    limit, total = hardware.ram_limit_bytes, hardware.host.ram_total_bytes
    if limit is None or at_least(total * 3 // 4, limit):
        return []
    if limit > total:
        expected = f"no more than the {format_bytes(total)} of this machine"
        share = format_bytes(hardware.ram_abort_bytes)
        cure = f"set it lower or leave it out; instead the cells that run at a time have {share} between them"
    else:
        expected = f"three quarters of this machine or less, {format_bytes(total * 3 // 4)}"
        cure = "set it lower or leave it out, unless this machine has nothing else to do"
    return [Finding("warning", "ram", "memory limit of a cell", expected, format_bytes(limit), cure)]


def check_disk(free_bytes: int, needed_bytes: int = 0) -> list[Finding]:
    """Warns below 20 GB free where the run will write; critical where it will write more than is free."""
    what, cure = "free space for outputs", "free some space, or choose an output folder on a larger disk"
    if needed_bytes > free_bytes:
        expected = f"{format_bytes(needed_bytes)} or more, for decompressed volumes, checkpoints and masks"
        return [Finding("critical", "disk", what, expected, format_bytes(free_bytes), cure)]
    if free_bytes < 20 * GIB:
        return [Finding("warning", "disk", what, "20 GB or more", format_bytes(free_bytes), cure)]
    return [Finding("info", "disk", what, "", format_bytes(free_bytes), "")]


def check_swap(hardware: HardwareBudget) -> list[Finding]:
    """Warns above 5 GB of swap in use: the machine is short of memory already."""
    used = format_bytes(hardware.host.swap_used_bytes)
    if hardware.host.swap_used_bytes > 5 * GIB:
        cure = "close programs, then `sudo swapoff -a && sudo swapon -a`, or restart the machine"
        return [Finding("warning", "swap", "swap in use", "5 GB or less", used, cure)]
    return [Finding("info", "swap", "swap in use", "", used, "")]


def check_environment(environment: Environment, hardware: HardwareBudget) -> list[Finding]:
    """Where the program runs, how many processors it has, how busy the machine is, and what narrowed it."""
    load = "unknown" if hardware.host.load_1min is None else f"{hardware.host.load_1min:g}"
    got = "; ".join([environment, f"{hardware.host.cpu_count} processors, load {load}", *hardware.host.notes])
    return [Finding("info", "environment", "place of the run", "", got, "")]


def check_data_folder(data_dir: Path) -> list[Finding]:
    """Critical when the folder is missing, unreadable or empty. What is in it is the profiler's to judge."""
    try:
        entries = len(visible(data_dir))
        got = f"{data_dir} holds {entries} entries" if entries else f"{data_dir} is empty"
    except DataError as error:
        entries, got = 0, error.got
    if not entries:
        cure = "give the folder of the volumes and their labels, or make a phantom data set to try with"
        return [Finding("critical", "data", "data folder", "a folder of volumes", got, cure)]
    return [Finding("info", "data", "data folder", "", got, "")]


def check_outputs(output_dir: Path) -> list[Finding]:
    """Critical when nothing can be written there, tried by really writing a file.

    A folder that does not exist yet is tried at its nearest existing parent, and nothing is left behind.
    """
    folder = _nearest_existing(output_dir)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".minivess-preflight-") as probe:
            probe.write(b"x")
            probe.flush()
    except OSError as error:
        cure = "choose another output folder, or mend its permissions"
        got = f"{folder}: {error.strerror}"
        return [Finding("critical", "outputs", "output folder", f"a writable {output_dir}", got, cure)]
    return [Finding("info", "outputs", "output folder", "", f"{output_dir} is writable", "")]


def _nearest_existing(path: Path) -> Path:
    # os.path.exists, because Path.exists raises where a parent may not be entered.
    return next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))
