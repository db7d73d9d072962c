from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from minivess.cli.main import cli
from minivess.errors import DataError, MinivessError
from minivess.evaluation.score_files import read_score_files
from minivess.experiments.results import compare_csv

TABLE = """\
method,case,group,repeat,DSC,landmarks
ours,a,rat1,1,0.8,3
ours,b,rat2,1,0.9,5
theirs,a,rat1,1,0.7,9
theirs,b,rat2,1,0.6,8
"""


def files(folder: Path, *texts: str) -> list[Path]:
    paths = [folder / f"m{number}.csv" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


class TestReadScoreFiles:
    def test_one_file_with_methods(self, tmp_path: Path):
        found = read_score_files(files(tmp_path, TABLE))
        assert found.metrics == ("dsc",)  # known by its title; the others are compared if they are named
        first = {"method": "ours", "case": "a", "fold": 0, "group": "rat1", "repeat": 1, "dsc": 0.8}
        assert found.rows[0] == first

    def test_one_file_per_method_is_named_by_its_file(self, tmp_path: Path):
        found = read_score_files(files(tmp_path, "case;f\na;1\nb;2\n", "\ufeffcase\tf\nb\t3\na\t4\n"))
        assert [(row["method"], row["case"], row["f"]) for row in found.rows] == [
            ("m0", "a", 1), ("m0", "b", 2), ("m1", "b", 3), ("m1", "a", 4),
        ]  # fmt: skip
        assert found.others["f"].higher_is_better

    @pytest.mark.parametrize(
        ("texts", "words"),
        [
            (["name,dsc\na,1\n"], "a column named case"),
            ([""], "a column named case"),
            (["case,dsc\n"], "no rows"),
            (["case,dsc\na,1\na,1\n", "case,dsc\na,1\n"], "a twice for m0"),
            (["case,dsc\na,high\n", "case,dsc\na,1\n"], "m0.csv, line 2, column dsc: 'high'"),
            (["case,dsc\na,\n", "case,dsc\na,1\n"], "column dsc: ''"),
            (["case,dsc\na,nan\n", "case,dsc\na,1\n"], "column dsc: 'nan'"),
            (["case,dsc,fold\na,1,x\n", "case,dsc\na,1\n"], "column fold: 'x'"),
            (["case,dsc\na,1,2\n", "case,dsc\na,1\n"], "more cells"),
            (["case,dsc\n,1\n", "case,dsc\na,1\n"], "an empty cell"),
            (["case,dsc\na,1\nb,1\n", "case,dsc\na,1\n"], "1 case that only one of m0 and m1 has (b)"),
            (["case,dsc\na,1\n"], "only m0"),
            (["case\na\n", "case\na\n"], "none beside case"),
            (
                ["case,clDice\na,81.5\n", "case,clDice\na,1\n"],
                "column clDice: 81.5. Cure: divide percentages by 100",
            ),
            (["case,masd\na,-0.1\n", "case,masd\na,1\n"], "m0.csv, line 2, column masd: -0.1"),
            (["case,dsc, dsc\na,1,2\n", "case,dsc\na,1\n"], "dsc twice"),
        ],
    )
    def test_each_fault_has_one_message(self, tmp_path: Path, texts: list[str], words: str):
        with pytest.raises(MinivessError) as caught:
            read_score_files(files(tmp_path, *texts))
        assert words in str(caught.value)

    def test_files_that_cannot_be_read_are_named(self, tmp_path: Path):
        (tmp_path / "x.csv").write_bytes(b"case,dsc\n\xff,1\n")
        for path in (tmp_path / "x.csv", tmp_path / "missing.csv"):
            with pytest.raises(DataError, match=path.name):
                read_score_files([path])


class TestCompareCsv:
    def test_an_unknown_metric_has_a_direction(self, tmp_path: Path):
        paths = files(tmp_path, TABLE)
        higher, lower = (compare_csv(paths, ["landmarks"], names) for names in ((), ["landmarks"]))
        assert (higher.metrics[0].best, lower.metrics[0].best) == ("theirs", "ours")
        assert (lower.metrics[0].title, lower.groups) == ("landmarks", ("rat1", "rat2"))

    def test_the_first_method_is_the_reference_of_a_rule(self, tmp_path: Path):
        rows = [
            f"{m},c{k},{0.7 + 0.1 * (m == 'ours') + 0.001 * (k % 3) * (m == 'ours')}"
            for m in ("base", "ours")
            for k in range(9)
        ]
        path = files(tmp_path, "\n".join(["method,case,dsc", *rows]))
        decision = compare_csv(path, rule={"margin": 0.05}).decision
        assert (decision.rule.against, decision.best, decision.beforehand) == ("base", "ours", False)

    def test_the_command_prints_verdicts_and_json(self, tmp_path: Path):
        path = str(files(tmp_path, TABLE)[0])
        run = CliRunner().invoke(cli, ["compare", "--csv", path, "--margin", "0.05", "--against", "theirs"])
        assert run.exit_code == 0
        assert "2505.04720" in run.output
        found = json.loads(CliRunner().invoke(cli, ["compare", "--csv", path, "--margin", "0.05", "--json"]).output)
        assert found["decision"]["losses"][0]["method"] == "theirs"
        assert found["metrics"][0]["false_claim"]["first"] == "ours"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ((), "add --csv"),
            (("--csv", "--metric", "dcs"), "dcs"),
            (("--csv", "--primary", "MASD"), "measured_masd"),
            (("--csv", "--against", "our"), "did you mean 'ours'"),
            (("--csv", "--lower-is-better", "x"), "correct --lower-is-better"),
        ],
    )
    def test_a_wrong_option_has_one_message(self, tmp_path: Path, options: tuple[str, ...], words: str):
        run = CliRunner().invoke(cli, ["compare", str(files(tmp_path, TABLE)[0]), *options])
        assert isinstance(run.exception, MinivessError | SystemExit)
        assert words in str(run.exception) + run.output


def test_repeats_may_count_from_0(tmp_path: Path):
    rows = [
        f"{case},{method},{repeat},0.{number}"
        for number, case in enumerate("abc", 1)
        for method in "xy"
        for repeat in (0, 1)
    ]
    found = compare_csv(files(tmp_path, "\n".join(["case,method,repeat,dsc", *rows])))
    assert found.repeats == 2
