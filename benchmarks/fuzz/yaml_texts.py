"""Damaged experiment files, model profiles and compute profiles, and odd texts of ``--set``."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

from fuzz.damage import change_value, cut, flip_or_overwrite
from fuzz.workers import Kind
from minivess.cli.options import keys_of, parse_settings
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.config_file import as_yaml, load_config
from minivess.models.model_profile import load_model_profile
from minivess.planning.adaptive_profiles import load_compute_profile
from minivess.yaml_files import YamlError, read_yaml, to_yaml

_CONFIGS = Path(__file__).parents[2] / "configs"
_WORDS = r"""
yes no off ~ null true 0100 0o17 0x1F 0b1 1_000 1:30 1:30:00 1e3 1e400 .5 -1 .nan .inf -.inf 12:00:00Z 2024-01-01
2024-99-99 '' "" ' " | > % @ *a --- ... ../.. /dev/zero [[[]]] "\ud800" "\x00" "\a" ☃ {"\ud800":1}
"""
_NAMES = """
. a..b .name name. name.x.y training losses.0 debug.folds losses training.max_epochs model.filters seed plan.patch_size
limits.memory_limit_gib evaluation.metrics loss_options.warp.x tracking_uri name data_dir cases folds plan.overlap
model.name << loss_options.dice_ce
"""
_TRAPS = (
    *_WORDS.split(),
    *("9" * 400, "9" * 5000, "a" * 3000, "[" * 50, "[" * 3000, "[]" * 9, "[1, 2", "{a: b", "{a: b}", "\t1", "\x85"),
    *(
        "&a [*a]",
        "&a {b: *a}",
        "<<: *a",
        "{<<: 1}",
        "? a",
        "- 1",
        "1 # note",
        "a: b: c",
        "%YAML 1.1",
        "!x y",
        "{a: .nan}",
    ),
    *("!!python/object:os.system x", "!!binary aGk=", "!!binary ?", "!!set {a, b}", "{a: !!set {b}}", "!!omap [a: 1]"),
    *("!!pairs [a: 1]", "!!timestamp 1", "!!float x", "!!int x", "!!null x", "{2024-01-01: 1}", "{? [1]: 2}", "{1: 2}"),
)
_KEYS = (*_NAMES.split(), "", "a" * 300, "\ud800")
_VALID = (
    *("training.max_epochs=5", "model.filters=[8, 16]", "limits.memory_limit_gib=8", "seed=7", "plan.overlap=0.25"),
    *("name=other", "losses=[warp]", "tracking_uri=none", "data_dir=~/data", "model.name=segresnet", "cases=4"),
)


class ExperimentFile(Kind):
    """An experiment's YAML file; a configuration that is accepted is read back as it is written."""

    def attempt(self, rng: random.Random) -> str:
        path = self.input / "experiment.yaml"
        data = _damaged(rng.choice(sorted((_CONFIGS / "experiments").glob("*.yaml"))), rng)
        if rng.random() < 0.15:  # values of any type
            data += f"\nloss_options: {{dice_ce: {{smooth: {_value(rng)}}}}}\n".encode("utf-8", "surrogatepass")
        path.write_bytes(data)
        _require_round_trip(load_config(path, debug=rng.random() < 0.2), self.folder)
        return "accepted"


class Setting(Kind):
    """One to three texts of ``--set`` on an experiment's file."""

    def attempt(self, rng: random.Random) -> str:
        settings = tuple(_setting(rng) for _ in range(rng.choice([1, 1, 2, 3])))
        (self.input / "settings.txt").write_bytes("\n".join(settings).encode("utf-8", "surrogatepass"))
        config = load_config(_CONFIGS / "experiments" / "demo.yaml", parse_settings(settings), keys_of(settings))
        _require_round_trip(config, self.folder)
        return "accepted"


class ProfileFile(Kind):
    """A model profile or the file of compute profiles."""

    def attempt(self, rng: random.Random) -> str:
        path = self.input / "profile.yaml"
        if rng.random() < 0.25:
            path.write_bytes(_damaged(_CONFIGS / "compute_profiles.yaml", rng))
            load_compute_profile(rng.choice(["cpu", "gpu_low", "gpu_high"]), path)
            return "accepted"
        path.write_bytes(_damaged(rng.choice(sorted((_CONFIGS / "model_profiles").glob("*.yaml"))), rng))
        profile = load_model_profile(str(path))
        profile.spec(((32, 32, 4),), profile.plan_strides((32, 32, 4), (1.0, 1.0, 5.0))).model_dump_json()
        return "accepted"


def _require_round_trip(config: ExperimentConfig, folder: Path) -> None:
    copy = folder / "copy.yaml"
    json.dumps(config.model_dump(mode="json"), allow_nan=False, ensure_ascii=False).encode()  # as in cell.json
    copy.write_text(as_yaml(config), encoding="utf-8")
    assert load_config(copy) == config, "a configuration that is read back as another"


def _setting(rng: random.Random) -> str:
    choice = rng.random()
    if choice < 0.3:
        return rng.choice(_VALID)
    if choice < 0.5:
        return flip_or_overwrite(rng.choice(_VALID).encode(), rng, 100).decode("utf-8", "surrogateescape")
    return f"{rng.choice(_KEYS)}{rng.choice('====:')}{_value(rng)}"


def _value(rng: random.Random) -> str:
    return str(rng.choice([*_TRAPS, rng.randrange(-3, 300), rng.random(), "[dice_ce]", "[8, 16]", "dice_ce", "cpu"]))


def _damaged(source: Path, rng: random.Random) -> bytes:
    data = source.read_bytes()
    change: Callable[[bytes, random.Random], bytes] = rng.choice([_lines, _lines, _values, _values, _bytes, _bulk])
    return change(data, rng)


def _lines(data: bytes, rng: random.Random) -> bytes:
    """Change one or two lines: another value, twice, missing, moved, indented differently, another key."""
    lines = data.decode().splitlines()
    for _ in range(rng.choice([1, 2])):
        place = rng.randrange(len(lines))
        line, choice = lines[place], rng.random()
        if choice < 0.5:
            lines[place] = re.sub(r"(: ?).*", lambda found: found[1] + _value(rng), line, count=1)
        elif choice < 0.6:
            lines.insert(rng.randrange(len(lines)), line)
        elif choice < 0.7 and len(lines) > 1:
            del lines[place]
        elif choice < 0.8:
            lines[place] = rng.choice(["  ", "\t", "- ", " ", "? "]) + line
        elif choice < 0.9:
            lines[place] = rng.choice(_KEYS) + line
        else:
            lines.insert(place, rng.choice(_TRAPS))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _values(data: bytes, rng: random.Random) -> bytes:
    """Change values after reading them, and write the result as YAML."""
    changed = change_value(read_yaml(data), rng)
    try:
        return to_yaml(changed, flow=rng.choice([True, False, None])).encode("utf-8", "surrogatepass")
    except (YamlError, ValueError, OverflowError, RecursionError):
        return repr(changed).encode("utf-8", "surrogatepass")


def _bytes(data: bytes, rng: random.Random) -> bytes:
    choice = rng.random()
    if choice < 0.5:
        return flip_or_overwrite(data, rng, len(data))
    if choice < 0.7:
        return cut(data, rng)
    if choice < 0.8:
        return data.decode().encode(rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp500"]))
    place = rng.randrange(len(data))
    return data[:place] + rng.choice([b"\x00", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\r", b"\x1a"]) + data[place:]


def _bulk(data: bytes, rng: random.Random) -> bytes:
    """Add very many values, levels, aliases, keys or letters."""
    count = rng.choice([10, 25, 500, 999, 5000, 60_000])
    aliases = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9))
    added = rng.choice(
        [
            "x: " + "[" * count + "]" * count,
            "x: " + "{a: " * count + "1" + "}" * count,
            "x: " + "- " * count + "1",
            "x:\n" + "".join(f"{' ' * level}a:\n" for level in range(1, min(count, 600))),
            "a0: &a0 [1]\n" + aliases,
            "x: [" + "1, " * count + "]",
            "".join(f"k{number}: 1\n" for number in range(min(count, 20_000))),
            "x: " + "a" * count * 10,
            "x: &a\n" + "  - *a\n" * min(count, 9000),
            "losses: [" + ", ".join(f"l{number}" for number in range(min(count, 20_000))) + "]",
            "? " * count,
            "x: '" + "''" * count + "'",
            "#" * count * 4,
        ]
    )
    parts = [data, added.encode()]
    rng.shuffle(parts)
    return b"\n".join(parts)
