"""Tests of which code a folder of weights may name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from minivess.cli.prediction import predict
from minivess.data.phantoms.phantom import small_cases, write_phantom
from minivess.errors import ConfigError, DataError
from minivess.models.model_profile import NetworkSpec, build_network
from minivess.models.weights import load_network, save_network
from minivess.trusted_code import TRUST_VARIABLE, import_builder, trust, trusted_paths

EVIL = "from pathlib import Path\nPath({marker!r}).touch()\ndef build(spec):\n    import my_unet\n    return my_unet.build(spec)\n"


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module that leaves a mark when it is imported."""
    folder = tmp_path / "current"
    folder.mkdir()
    (folder / "evil_unet.py").write_text(EVIL.format(marker=str(tmp_path / "was imported")))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend("")
    monkeypatch.delenv(TRUST_VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "evil_unet", raising=False)
    return folder


class TestImportBuilder:
    @pytest.mark.parametrize(
        "name",
        [
            "os:system",
            "antigravity:x",
            "builtins:exec",
            "this:d",
            "sys:exit",
            "subprocess:Popen",
            "minivess.cli.main:main",
            "a b:c",
            ":",
            "",
        ],
    )
    def test_the_standard_library_and_nonsense_are_refused(self, name: str) -> None:
        sys.modules.pop("antigravity", None)
        with pytest.raises(ConfigError, match=r"builder|trust"):
            import_builder(name)
        assert "antigravity" not in sys.modules

    def test_a_file_of_the_current_folder_is_not_imported(self, evil: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="--trust-code"):
            import_builder("evil_unet:build")
        assert not (tmp_path / "was imported").exists()

    @pytest.mark.parametrize("entry", ["", ".", "./"])
    def test_empty_entries_of_the_path_do_not_trust_it(
        self, evil: Path, monkeypatch: pytest.MonkeyPatch, entry: str
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", f"/nowhere:{entry}")
        assert trusted_paths() == [Path("/nowhere")]
        with pytest.raises(ConfigError):
            import_builder("evil_unet:build")

    def test_a_folder_that_the_user_trusts_is_imported(
        self, evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(TRUST_VARIABLE, "")
        monkeypatch.setattr(sys, "path", list(sys.path))
        trust([evil])
        assert callable(import_builder("evil_unet:build"))
        assert (tmp_path / "was imported").exists()

    def test_an_installed_package_is_imported(self) -> None:
        assert callable(import_builder("monai.networks.nets:BasicUNet"))

    def test_own_networks_are_known_by_their_whole_name(self) -> None:
        assert callable(import_builder("minivess.models.segresnet:build"))
        with pytest.raises(ConfigError):
            import_builder("minivess.models.segresnet:nothing")


class TestWeightsOfAStranger:
    @pytest.fixture
    def weights(self, spec: NetworkSpec, tmp_path: Path) -> Path:
        """Weights whose network.json names a module of the current folder."""
        hostile = spec.model_copy(update={"builder": "evil_unet:build"})
        save_network(tmp_path / "weights", build_network(spec), hostile)
        return tmp_path / "weights"

    def test_predict_imports_nothing(self, evil: Path, weights: Path, tmp_path: Path) -> None:
        write_phantom(tmp_path / "data", small_cases(1))
        (volume,) = (tmp_path / "data" / "raw").iterdir()
        result = CliRunner().invoke(predict, [str(weights), str(volume), "-o", str(tmp_path / "out")])
        assert isinstance(result.exception, ConfigError)
        assert not (tmp_path / "was imported").exists()
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("strides", [[1, 1, 1], [0, 2, 2]]),
            ("kernels", [[100_000, 3, 3]] * 2),
            ("filters", [10**6, 10**6]),
            ("patches", []),
        ],
    )
    def test_impossible_networks_are_refused_before_memory_is_taken(
        self, spec: NetworkSpec, tmp_path: Path, key: str, value: object
    ) -> None:
        save_network(tmp_path, build_network(spec), spec)
        file = tmp_path / "network.json"
        text = NetworkSpec.model_validate(spec.model_dump()).model_dump(mode="json") | {key: value}
        file.write_text(json.dumps(text))
        with pytest.raises(DataError, match=key):
            load_network(tmp_path)

    def test_a_larger_network_than_the_weights_is_refused(self, spec: NetworkSpec, tmp_path: Path) -> None:
        save_network(tmp_path, build_network(spec), spec)
        large = spec.model_copy(update={"filters": tuple(8192 for _ in spec.filters)})  # 100 GiB and more
        (tmp_path / "network.json").write_text(large.model_dump_json())
        with pytest.raises(DataError, match="names and shapes"):
            load_network(tmp_path)
