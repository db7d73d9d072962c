"""Tests of the JSON schema with which editors check experiment files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivess.experiments.config import ExperimentConfig

CONFIGS = Path(__file__).parents[2] / "configs"


class TestSchema:
    def test_saved_schema_is_up_to_date(self) -> None:
        """If this fails, run `just schema`."""
        kept = json.loads((CONFIGS / "experiment.schema.json").read_text(encoding="utf-8"))
        assert kept == ExperimentConfig.model_json_schema()

    @pytest.mark.parametrize("path", sorted((CONFIGS / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
    def test_every_experiment_names_the_schema(self, path: Path) -> None:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=../experiment.schema.json"
