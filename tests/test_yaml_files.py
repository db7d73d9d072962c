"""Tests of reading and writing YAML 1.2."""

from __future__ import annotations

import time
from typing import Any

import pytest

from minivess.yaml_files import YamlError, line_of, parse_tree, read_yaml, to_yaml


class TestReadYaml:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("yes", "yes"),
            ("off", "off"),
            ("0100", 100),
            ("1:30", "1:30"),
            ("0o17", 15),
            ("1e-3", 0.001),
            ("true", True),
        ],
    )
    def test_is_version_1_2(self, text: str, value: Any) -> None:
        assert read_yaml(text) == value

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("a: 1\nb: {c: 1, c: 2}", "line 2 repeats the key 'c'"),
            ("a: [1", "line 1"),
            ("when: 2024-01-02", "date"),
            ("when: 2024-13-45", "month"),
            ("a: !!python/object:os.system x", "constructor"),
            ("a: &x [*x]", "levels"),
            ("a: " + "9" * 5000, "digits"),
            ("k: v\n" * 60_000, "bytes"),
            ("2024-01-02: 1", "date"),
            ("a: {1: 2}", "the key 1"),
            ('a: "\\x85"', "x85"),
            ('a: "\\ud800"', "ud800"),
            ('"\\0": 1', "x00"),
            ("a: {b: !!set {c, d}}", "set"),
            ("a: !!binary aGk=", "bytes"),
            ("? [1]\n: 2", "type"),
        ],
    )
    def test_what_it_refuses(self, text: str, reason: str) -> None:
        with pytest.raises(YamlError, match=reason):
            read_yaml(text)

    def test_deep_nesting_is_refused_at_once(self) -> None:
        before = time.monotonic()
        for text in ("[" * 100_000, "{a: " * 50_000, "- " * 1_000 + "1"):
            with pytest.raises(YamlError, match="levels"):
                read_yaml(text)
        assert time.monotonic() - before < 5

    def test_aliases_that_multiply_are_counted(self) -> None:
        text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        for below, name in zip("abcdefg", "bcdefgh", strict=True):
            text += f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]\n"
        with pytest.raises(YamlError, match="values"):
            read_yaml(text)

    def test_an_alias_and_a_merge_are_allowed(self) -> None:
        assert read_yaml("a: &one {b: 1}\nc: {<<: *one, d: 2}") == {"a": {"b": 1}, "c": {"b": 1, "d": 2}}


class TestToYaml:
    def test_text_that_looks_like_a_number_stays_text(self) -> None:
        value = {"a": "0o17", "b": "0100", "c": "1e-3", "d": "null", "e": "2024-01-01", "f": 1e-5, "g": [None, True]}
        assert read_yaml(to_yaml(value)) == value


def test_line_of_a_key() -> None:
    tree = parse_tree("a: 1\nb:\n  c: 2\n")
    assert (line_of(tree, ["b", "c"]), line_of(tree, ["b", "x"]), line_of(tree, ["x"])) == (3, None, None)
