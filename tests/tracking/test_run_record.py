from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from minivess.tracking.run_record import flat_params, flat_tags, numbers, points


class TestFlatParams:
    def test_joins_nested_keys_by_dots(self) -> None:
        params = {"patch": {"policy": "pad", "size": [96, 96, 8]}, "seed": 1, "resume": None, "amp": True}
        assert flat_params(params) == {
            "patch.policy": "pad",
            "patch.size": "[96, 96, 8]",
            "seed": "1",
            "resume": "null",
            "amp": "true",
        }

    def test_keeps_empty_mappings_and_other_types(self) -> None:
        assert flat_params({"options": {}, "folder": Path("a/b")}) == {"options": "{}", "folder": '"a/b"'}
        assert flat_params({}) == {}

    def test_cuts_long_values_with_a_note(self) -> None:
        value = flat_params({"text": "x" * 7000})["text"]
        assert len(value) == 6000
        assert value.endswith("x... (cut, 7000 characters)")

    @pytest.mark.parametrize(
        ("key", "expected"),
        [("dice (%)", "dice ___"), ("/data/a.nii", "data/a.nii"), ("a//b", "a/b"), ("..", "_"), ("x" * 300, "x" * 250)],
    )
    def test_makes_keys_that_mlflow_allows(self, key: str, expected: str) -> None:
        assert flat_params({key: "1"}) == {expected: "1"}


class TestFlatTags:
    def test_cuts_at_the_limit_of_tags(self) -> None:
        tags = flat_tags({"a:b": "x" * 8000, "long": "x" * 8001})
        assert tags["a_b"] == "x" * 8000
        assert len(tags["long"]) == 8000


class TestNumbers:
    def test_takes_numbers_only(self) -> None:
        values = {
            "loss": 0.5,
            "epoch": 2,
            "dsc": np.float32(0.25),
            "ok": True,
            "note": "x",
            "none": None,
            "list": [1.0],
        }
        assert numbers(values) == {"loss": 0.5, "epoch": 2.0, "dsc": 0.25}

    def test_infinity_is_the_largest_float_and_nan_stays(self) -> None:
        values = numbers({"up": math.inf, "down": -math.inf, "nan": math.nan})
        assert (values["up"], values["down"]) == (sys.float_info.max, -sys.float_info.max)
        assert math.isnan(values["nan"])


class TestPoints:
    def test_only_rows_after_the_step(self) -> None:
        history = [{"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.25, "dsc": 0.75}]
        assert points(history, after=10) == [("loss", 0.25, 20), ("dsc", 0.75, 20)]
        assert points(history, after=20) == []

    def test_rows_without_a_step_are_ignored(self) -> None:
        assert points([{"loss": 0.5}, {"step": None, "loss": 0.5}], after=-1) == []
