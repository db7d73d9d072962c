from __future__ import annotations

from pathlib import Path

import pytest

from minivess.machine.environment import detect_environment


class TestDetectEnvironment:
    @pytest.mark.parametrize(
        ("file", "text", "expected"),
        [
            (".dockerenv", "", "docker"),
            ("run/.containerenv", "", "docker"),
            ("proc/1/cgroup", "4:memory:/kubepods/pod1\n", "docker"),
            ("proc/1/cgroup", "0::/init.scope\n", "local"),
            ("sys/class/dmi/id/sys_vendor", "Amazon EC2\n", "cloud"),
            ("sys/class/dmi/id/product_name", "Google Compute Engine\n", "cloud"),
            ("sys/class/dmi/id/sys_vendor", "Microsoft Corporation\n", "local"),
        ],
    )
    def test_by_files_of_the_machine(self, tmp_path: Path, file: str, text: str, expected: str) -> None:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
        assert detect_environment({}, tmp_path) == expected

    @pytest.mark.parametrize(
        ("environ", "expected"),
        [({}, "local"), ({"CI": "true"}, "ci"), ({"CI": "false"}, "local"), ({"container": "podman"}, "docker")],
    )
    def test_by_environment_variables(self, tmp_path: Path, environ: dict[str, str], expected: str) -> None:
        assert detect_environment(environ, tmp_path) == expected

    def test_ci_in_a_container_is_ci(self, tmp_path: Path) -> None:
        (tmp_path / ".dockerenv").touch()
        assert detect_environment({"CI": "1"}, tmp_path) == "ci"
