"""What a supervisor is told."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from minivess.experiments.config import make_config
from minivess.experiments.prepare import prepare
from minivess.experiments.supervise import supervise
from minivess.planning.hardware import HardwareBudget
from minivess.planning.sizes import GIB


class TestSupervise:
    def test_of_several_cards_the_one_that_was_planned_for(self, phantoms: Path, tmp_path: Path) -> None:
        hardware = HardwareBudget.imagined(8 * GIB, 32 * GIB)
        large = replace(hardware.gpus[0], uuid="GPU-large")
        small = replace(large, uuid="GPU-small", total_bytes=6 * GIB, free_bytes=6 * GIB)
        config = make_config(
            {"name": "one", "data_dir": phantoms, "output_dir": tmp_path, "losses": ["dice_ce"], "folds": 2}, "a test"
        )
        prepared = prepare(config, replace(hardware, gpus=(small, large)), os.environ)
        assert prepared.plan.device == "cuda"
        assert supervise(tmp_path, "this", prepared, lambda stage, done, total: None).status == "finished"
        told = json.loads((tmp_path / "supervisor.json").read_text())
        assert told["environment"]["CUDA_VISIBLE_DEVICES"] == "GPU-large"
