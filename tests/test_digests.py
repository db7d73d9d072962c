"""Tests of the digest in the first line of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivess.digests import seal, unseal
from minivess.errors import RunError
from minivess.json_files import from_line, read_state, to_line, write_state

TEXTS = ['{\n  "a": 1\n}\n', "{}\n", '{"a": 1}', "name: a\nfolds: 2\n"]


class TestSeal:
    @pytest.mark.parametrize("text", TEXTS)
    def test_unseal_returns_the_text(self, text: str) -> None:
        assert seal(text) != text
        assert unseal(seal(text)) == text

    def test_sealed_json_is_json(self) -> None:
        assert json.loads(seal(TEXTS[0]))["a"] == 1

    @pytest.mark.parametrize("text", TEXTS)
    def test_every_flipped_bit_is_seen(self, text: str) -> None:
        sealed = seal(text).encode()
        for bit in range(8 * len(sealed)):
            damaged = bytearray(sealed)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(ValueError, match=r"digest|utf-8"):
                unseal(damaged.decode())

    def test_text_of_an_older_version_has_no_digest(self) -> None:
        assert [unseal(text) for text in TEXTS] == TEXTS


class TestStateFile:
    @pytest.mark.parametrize("damage", ["[]", "1", "null", '{"a": NaN}', "[" * 100_000, ""])
    def test_another_shape_is_damage(self, tmp_path: Path, damage: str) -> None:
        (tmp_path / "state.json").write_text(damage)
        with pytest.raises(RunError, match="restore it"):
            read_state(tmp_path / "state.json", dict[str, float], "restore it")

    def test_a_changed_number_is_damage(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        write_state(path, {"dsc": 0.81})
        path.write_text(path.read_text().replace("0.81", "0.91"))
        with pytest.raises(RunError, match="digest"):
            read_state(path, dict[str, float], "")


class TestLine:
    def test_round_trip(self) -> None:
        assert from_line(to_line({"epoch": 1, "loss": 0.5})) == {"epoch": 1, "loss": 0.5}

    def test_a_line_of_version_0_1_is_read(self) -> None:
        assert from_line('{"epoch": 1, "loss": 0.5}\n')["loss"] == 0.5

    def test_a_changed_number_is_damage(self) -> None:
        with pytest.raises(ValueError, match="digest"):
            from_line(to_line({"epoch": 1, "loss": 0.5}).replace("0.5", "0.4"))
