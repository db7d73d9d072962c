from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from minivess.tracking.provenance import data_version, describe_environment, git_state


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


class TestDescribeEnvironment:
    def test_versions_without_importing_the_libraries(self) -> None:
        program = (
            "import json, sys; from minivess.tracking.provenance import describe_environment;"
            "print(json.dumps(describe_environment())); assert not {'torch', 'numpy', 'mlflow'} & set(sys.modules)"
        )
        facts = json.loads(subprocess.check_output([sys.executable, "-c", program]))
        assert facts["python"] == platform.python_version()
        assert {"torch", "monai", "numpy", "mlflow", "prefect"} <= facts["packages"].keys()
        assert f"numpy=={facts['packages']['numpy']}" in facts["frozen"]
        assert facts["frozen"] == sorted(facts["frozen"], key=str.lower)

    def test_has_no_paths(self) -> None:
        facts = describe_environment()
        assert facts["processor"]
        assert str(Path(__file__).parents[2]) not in json.dumps(facts)
        assert sys.prefix not in json.dumps(facts)


class TestGitState:
    @pytest.fixture
    def module(self, tmp_path: Path) -> Path:
        module = tmp_path / "module.py"
        module.write_text("x = 1\n")
        git(tmp_path, "init", "--quiet")
        git(tmp_path, "add", "module.py")
        git(tmp_path, "commit", "--quiet", "--message", "first")
        return module

    def test_clean(self, module: Path) -> None:
        assert git_state(module) == {"sha": git(module.parent, "rev-parse", "HEAD"), "dirty": False}

    def test_a_changed_file_is_dirty(self, module: Path) -> None:
        module.write_text("x = 2\n")
        assert (git_state(module) or {})["dirty"] is True

    def test_a_new_file_is_dirty(self, module: Path) -> None:
        (module.parent / "new.py").touch()
        assert (git_state(module) or {})["dirty"] is True

    def test_data_and_results_next_to_the_package_are_not_dirty(self, module: Path) -> None:
        package = module.parent / "package"
        package.mkdir()
        for name in ("__init__.py", "code.py"):
            (package / name).touch()
        git(module.parent, "add", "package")
        git(module.parent, "commit", "--quiet", "--message", "second")
        (module.parent / "runs").mkdir()
        (module.parent / "runs" / "notes.txt").touch()
        assert (git_state(package / "code.py") or {})["dirty"] is False
        (package / "own.py").touch()
        assert (git_state(package / "code.py") or {})["dirty"] is True

    def test_the_default_folders_are_ignored(self) -> None:
        root = Path(__file__).parents[2]
        ignored = git(root, "check-ignore", "--no-index", "data/raw/a.nii.gz", "runs/x/log.txt").splitlines()
        assert ignored == ["data/raw/a.nii.gz", "runs/x/log.txt"]
        done = subprocess.run(["git", "check-ignore", "--no-index", "--quiet", "src/minivess/data/new.py"], cwd=root)
        assert done.returncode == 1

    def test_untracked_file_has_no_state(self, module: Path) -> None:
        """For example a package in a virtual environment inside the checkout of another project."""
        site = module.parent / ".venv"
        site.mkdir()
        (site / "module.py").touch()
        assert git_state(site / "module.py") is None

    def test_no_state_without_a_checkout_or_git(
        self, module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
        assert git_state(module) is None
        monkeypatch.delenv("GIT_DIR")
        monkeypatch.setenv("PATH", "")
        assert git_state(module) is None


class TestDataVersion:
    def test_dvc_file_next_to_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / ".dvc").mkdir()
        (tmp_path / "minivess.dvc").write_text("outs:\n- md5: abc.dir\n  size: 9\n  nfiles: 2\n  path: minivess\n")
        (tmp_path / "other.dvc").write_text("outs:\n- md5: xyz\n  path: other\n")
        known = {"file": "minivess.dvc", "path": "minivess", "md5": "abc.dir", "size": 9, "nfiles": 2}
        assert data_version(tmp_path / "minivess") == known

    def test_lock_above_the_folder(self, tmp_path: Path) -> None:
        lock = "schema: '2.0'\nstages:\n  fetch:\n    cmd: fetch\n    outs:\n    - path: data/raw\n      hash: md5\n      md5: abc.dir\n"
        (tmp_path / "dvc.lock").write_text(lock)
        found = {"file": "dvc.lock", "path": "data/raw", "md5": "abc.dir"}
        assert data_version(tmp_path / "data/raw") == found
        assert data_version(tmp_path / "data/raw/minivess") == found
        assert data_version(tmp_path / "data") is None

    @pytest.mark.parametrize(
        "text", ["outs: [", "- a", "outs:\n- raw\n", "outs:\n- path: raw\n", "stages: 1", "outs: 1", ""]
    )
    def test_invalid_dvc_file_gives_no_version(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "raw.dvc").write_text(text)
        assert data_version(tmp_path / "raw") is None
