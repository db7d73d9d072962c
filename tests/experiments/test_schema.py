"""The schema that editors check experiments by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivess.experiments.config import ExperimentConfig

CONFIGS = Path(__file__).parents[2] / "configs"


class TestSchema:
    def test_is_that_of_the_configuration(self) -> None:
        """`just schema` writes it anew."""
        kept = json.loads((CONFIGS / "experiment.schema.json").read_text(encoding="utf-8"))
        assert kept == ExperimentConfig.model_json_schema()

    @pytest.mark.parametrize("path", sorted((CONFIGS / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
    def test_is_named_by_every_experiment(self, path: Path) -> None:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=../experiment.schema.json"
