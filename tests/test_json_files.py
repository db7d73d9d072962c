from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from minivess.errors import RunError
from minivess.json_files import from_plain, read_state, to_plain, write_state


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...]
    pair: tuple[int, str]


@dataclass(frozen=True)
class Outer:
    name: str
    share: float
    colour: Colour
    folder: Path
    inner: Inner | None
    many: dict[str, tuple[Inner, ...]]
    level: Literal["low", "high"] = "low"

    @property
    def length(self) -> int:
        return len(self.name)


class Model(BaseModel):
    sizes: tuple[int, ...]


INNER = Inner((1, 2), (3, "c"))
OUTER = Outer("a", 0.5, Colour.RED, Path("/x"), INNER, {"k": (INNER, INNER)})
PLAIN: dict[str, Any] = to_plain(OUTER)


class TestRoundTrip:
    def test_plain_values(self) -> None:
        inner = {"sizes": [1, 2], "pair": [3, "c"]}
        assert {
            "name": "a", "share": 0.5, "colour": "red", "folder": "/x", "inner": inner, "many": {"k": [inner, inner]},
            "level": "low",
        } == PLAIN  # fmt: skip

    @pytest.mark.parametrize("value", [OUTER, Outer("", 1.0, Colour.RED, Path("y"), None, {}, "high")])
    def test_dataclasses_through_a_file(self, tmp_path: Path, value: Outer) -> None:
        write_state(tmp_path / "a.json", value)
        assert read_state(tmp_path / "a.json", Outer, "") == value

    def test_pydantic_models_through_a_file(self, tmp_path: Path) -> None:
        write_state(tmp_path / "a.json", Model(sizes=(1, 2)))
        assert read_state(tmp_path / "a.json", Model, "") == Model(sizes=(1, 2))

    def test_a_whole_number_is_a_float(self) -> None:
        assert from_plain(Outer, PLAIN | {"share": 1}).share == 1.0

    def test_a_key_that_names_a_property_is_skipped(self) -> None:
        assert from_plain(Outer, PLAIN | {"length": 7}) == OUTER


class TestDamage:
    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"share": "x"}, "share"), ({"share": True}, "share"), ({"colour": "blue"}, "colour"),
            ({"inner": {"sizes": [1.5], "pair": [3, "c"]}}, "sizes"), ({"inner": {"sizes": [], "pair": [3]}}, "pair"),
            ({"many": []}, "many"), ({"level": "middle"}, "level"), ({"name": None}, "name"), ({"new": 1}, "new"),
        ],
    )  # fmt: skip
    def test_the_key_is_named(self, change: dict[str, Any], named: str) -> None:
        with pytest.raises(ValueError, match=named):
            from_plain(Outer, PLAIN | change)

    def test_a_truth_value_is_no_number(self) -> None:
        with pytest.raises(ValueError, match="sizes"):
            from_plain(Inner, {"sizes": [True], "pair": [3, "c"]})

    def test_a_missing_key_is_named(self) -> None:
        with pytest.raises(ValueError, match="share"):
            from_plain(Outer, {key: value for key, value in PLAIN.items() if key != "share"})

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "\0", '{"name": "a"}'])
    def test_a_damaged_file_is_a_run_error_with_the_cure(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.json").write_text(text)
        for kind in (Outer, Model):
            with pytest.raises(RunError, match=r"a\.json") as error:
                read_state(tmp_path / "a.json", kind, "delete it")
            assert error.value.cure == "delete it"

    def test_a_missing_file_is_a_run_error(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"a\.json"):
            read_state(tmp_path / "a.json", Outer, "")

    def test_nan_is_refused_before_the_file_is_touched(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_state(tmp_path / "a.json", {"dsc": float("nan")})
        assert list(tmp_path.iterdir()) == []
