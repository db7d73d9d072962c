"""Where the program runs: on a user's own machine, in a container, in the cloud or in continuous integration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Environment = Literal["local", "docker", "cloud", "ci"]

_CONTAINER_FILES = (".dockerenv", "run/.containerenv")
_CONTAINER_CGROUPS = ("docker", "kubepods", "containerd", "libpod", "/lxc")
_CLOUD_NAMES = (
    "alibaba cloud",
    "amazon ec2",
    "digitalocean",
    "google compute engine",
    "hetzner",
    "linode",
    "openstack",
    "oraclecloud",
    "scaleway",
    "vultr",
    "7783-7084-3265-9085-8269-3286-77",  # Azure: its vendor, Microsoft, also makes laptops
)


def detect_environment(environ: Mapping[str, str], root: Path = Path("/")) -> Environment:
    """Detect the environment; if several apply, the narrowest is returned.

    A CI job in a container is "ci". A container on a cloud machine is "docker".

    Args:
        environ: Environment variables. ``CI`` (set by all common services) and ``container`` (podman, systemd) are
            used.
        root: Root of the file system, where marker files of containers and the vendor strings of the firmware are read.
    """
    if environ.get("CI", "").lower() not in ("", "0", "false"):
        return "ci"
    in_container = any((root / name).exists() for name in _CONTAINER_FILES) or bool(environ.get("container"))
    if in_container or any(mark in _text(root / "proc/1/cgroup") for mark in _CONTAINER_CGROUPS):
        return "docker"
    firmware = root / "sys/class/dmi/id"
    vendor = " ".join(_text(firmware / name) for name in ("sys_vendor", "product_name", "chassis_asset_tag"))
    return "cloud" if any(name in vendor.lower() for name in _CLOUD_NAMES) else "local"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
