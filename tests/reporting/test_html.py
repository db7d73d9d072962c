from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from minivess.digests import unseal
from minivess.errors import RunError
from minivess.experiments.best_model import find_best_model
from minivess.experiments.config_file import load_config
from minivess.experiments.results import read_results, write_results
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import write_state
from minivess.reporting.headline import headline
from minivess.reporting.html import write_report
from minivess.reporting.run_data import read_run_data
from minivess.supervision.outcome import Cause, cure_for

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Parser of a page: its tags with their attributes, and the text inside each kind of tag or class."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[tuple[str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(self.source)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.append((tag, values))
        if tag not in VOID:
            self.open.append((tag, values.get("class", "")))
            self.texts.setdefault(tag, []).append("")
            self.texts.setdefault(f".{values.get('class', '')}", []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for tag, kind in self.open:
            self.texts[tag][-1] += data
            self.texts[f".{kind}"][-1] += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [values for name, values in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.texts["body"][0].split())


@pytest.fixture(scope="module")
def page(finished: RunFolder) -> Page:
    return Page(write_report(finished))


class TestPage:
    def test_the_verdict_is_at_the_top(self, page: Page, finished: RunFolder):
        found = headline(read_results(finished))
        assert page.source.startswith("<!doctype html>")
        assert page.texts["h1"] == [f"{found.title}."]
        assert page.texts["title"][0] == f"one: {found.title}"
        assert all(line in page.text for line in (found.lead, *found.shown, *found.not_shown))
        assert page.text.count(read_results(finished).notes[-1]) == 2  # below the verdict, and in the full verdict

    def test_the_scores_are_those_of_the_comparison(self, page: Page, finished: RunFolder):
        metrics = read_results(finished).metrics
        expected = [
            f"{metric.score(method).interval.parts[0]}"
            for method in ("dice_ce", "cbdice", "threshold")
            for metric in metrics
        ]
        assert page.texts[".mean"] == expected
        assert len(page.texts[".tag"]) == 3

    def test_pairs_carry_holm_p_and_effect_size(self, page: Page, finished: RunFolder):
        pair = read_results(finished).metrics[0].pairs[0]
        row = next(text for text in page.texts["tr"] if f"{pair.first} − {pair.second}" in text)
        assert f"{pair.p_holm:.3f}" in row
        assert f"{pair.test.effect_size:+.2f}" in row

    def test_the_scores_of_every_case_lead_with_cldice(self, page: Page, finished: RunFolder):
        row = next(row for row in finished.read_rows() if (row.case, row.method) == ("a1", "dice_ce"))
        assert any(text.startswith("casefoldlossclDiceDSC") for text in page.texts["tr"])
        scores = f"a1{row.fold}dice_ce{row.metrics.cldice:.3f}{row.metrics.dsc:.3f}"
        assert any(text.startswith(scores) for text in page.texts["tr"])

    def test_every_section_is_there(self, page: Page):
        ids = [values.get("id") for values in page.of("section")]
        assert ids == ["results", "cases", "overlays", "training", "machine", "plan", "data", "model", "provenance"]
        assert [values["href"] for values in page.of("a")][1:] == [f"#{name}" for name in ids]
        assert (
            len(page.of("svg")) == 3 + 1 + 2 + 1 + 1 + 1 + 1
        )  # metrics, DSC by clDice, losses, watched DSC, memory, shapes, artefacts of labels
        assert len(page.of("img")) == 2 * 3 * 2  # losses, cases, image and result

    def test_plan_data_and_provenance_are_shown(self, page: Page, finished: RunFolder):
        assert "24 × 20 × 4" in page.text
        assert "25000 optimizer steps per cell" in page.text
        assert f"content {read_run_data(finished).profile.content_hash}" in page.text
        assert "(8.0 GiB, driver" in page.text
        assert "cbdice-fold0: swap grew" in page.text

    def test_artefacts_of_labels_and_connectivity_are_shown(self, page: Page):
        assert "Artefacts of the labels" in page.text
        assert "piece without skeleton" in page.text
        assert page.text.count("26-connected") >= 2  # below the scores and below the folds

    def test_the_model_card_has_scores_training_cases_and_the_command(self, page: Page, finished: RunFolder):
        found = find_best_model(finished)
        assert found is not None
        assert f"minivess predict {finished.path} volume.nii.gz" in page.text
        assert f"clDice {read_results(finished).metric('cldice').score(found.loss).interval}" in page.text
        assert "the ensemble of 2 networks, one for each fold" in page.text

    def test_the_card_of_a_single_network_has_its_training_cases(self, copied: Callable[[], RunFolder]):
        folder = copied()
        folder.write_config(folder.read_config().model_copy(update={"final": "none"}))
        text = write_report(folder).read_text()
        assert f"minivess predict {folder.cell('dice_ce', 0).path} volume.nii.gz" in text
        assert f"trained on {', '.join(folder.read_splits().folds[0].train[:-1])}" in text

    def test_the_run_can_be_repeated_with_its_command(self, page: Page, finished: RunFolder):
        command = page.texts["pre"][0].splitlines()[-1]
        assert command == f"minivess run --config {finished.config} --name one-again"
        assert load_config(finished.config, {"name": "one-again"}).losses == ("dice_ce", "cbdice")

    def test_the_markdown_table_is_written(self, page: Page, finished: RunFolder):
        assert (
            finished.comparison.with_suffix(".md")
            .read_text(encoding="utf-8")
            .startswith("| loss | cases | clDice ↑ | DSC ↑ |")
        )

    def test_the_figures_are_written(self, page: Page, finished: RunFolder):
        names = {file.name for file in finished.figures.iterdir()}
        assert names >= {
            "paired-cldice.svg",
            "paired-dsc.svg",
            "trade-off.svg",
            "loss-0.svg",
            "memory.svg",
            "shapes.svg",
        }

    def test_the_page_is_small(self, page: Page):
        assert len(page.source.encode()) < 500_000


class TestSelfContained:
    def test_the_page_loads_nothing(self, page: Page):
        assert page.of("link") == page.of("iframe") == []
        assert page.of("script") == [{}]
        assert all(values["src"].startswith("data:image/") for values in page.of("img"))
        references = [values["href"] for _, values in page.tags if "href" in values]
        assert references
        assert all(reference.startswith("#") for reference in references)
        assert not re.search(r"https?:|@import|url\((?!#)", page.source)

    def test_the_security_policy_allows_the_browser_to_load_nothing(self, page: Page):
        policy = next(v["content"] for v in page.of("meta") if v.get("http-equiv") == "Content-Security-Policy")
        digest = base64.b64encode(hashlib.sha256(page.texts["script"][0].encode()).digest()).decode()
        assert policy.startswith("default-src 'none'; img-src data:;")
        assert f"script-src 'sha256-{digest}'" in policy


class TestAccessible:
    def test_pictures_have_a_description(self, page: Page):
        assert all(values["alt"] for values in page.of("img"))
        assert all(values["role"] == "img" and values["aria-label"] for values in page.of("svg"))

    def test_every_header_has_a_scope(self, page: Page):
        assert {values.get("scope") for values in page.of("th")} == {"col", "row"}

    def test_ids_are_unique_and_references_have_a_target(self, page: Page):
        ids = Counter(values["id"] for _, values in page.tags if "id" in values)
        assert max(ids.values()) == 1
        assert {values["href"][1:] for _, values in page.tags if "href" in values} <= ids.keys()

    @pytest.mark.parametrize("scheme", [0, 1])
    def test_text_and_lines_have_enough_contrast(self, page: Page, scheme: int):
        palettes = re.findall(r":root \{(.*?)\}", page.texts["style"][0], flags=re.DOTALL)
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", palettes[scheme]))
        for name in ("ink", "muted", "accent", "good", "bad", "warn"):
            assert contrast(colours[name], colours["paper"]) >= 4.5, name
        for name in ("baseline", "limit", *(f"series-{k}" for k in range(8))):
            assert contrast(colours[name], colours["paper"]) >= 3, name


class TestEscaping:
    def test_the_name_of_a_file_is_escaped(self, new_run: Callable[..., RunFolder]):
        case = "<img src=x onerror=alert(1)>&\"'"
        page = Page(write_report(new_run(names=(case, "b", "c", "d"), losses=("dice_ce",))))
        assert page.text.count(case) >= 4
        assert all(values.keys() <= {"src", "alt"} for values in page.of("img"))
        assert page.of("script") == [{}]

    def test_a_loss_whose_name_is_no_import_path_is_refused(self, copied: Callable[[], RunFolder]):
        folder, loss = copied(), "<b>&\"'$x"
        for file in folder.path.glob("cells/cbdice-*/*.json"):
            file.write_text(unseal(file.read_text()).replace("cbdice", json.dumps(loss)[1:-1]))
        with pytest.raises(RunError, match="method"):
            write_results(folder)

    def test_a_single_loss_is_not_compared(self, new_run: Callable[..., RunFolder]):
        page = Page(write_report(new_run(losses=("dice_ce",))))
        assert page.texts["h1"][0].startswith("dice_ce is the only loss")
        assert ".tag" not in page.texts


class TestProvenance:
    def test_cells_trained_by_other_code_are_named(self, copied: Callable[[], RunFolder]):
        folder = copied()
        for fold, sha in enumerate(("aaaa", "bbbb")):
            write_state(
                folder.cell("dice_ce", fold).environment, {"minivess": "0", "git": {"sha": sha, "dirty": False}}
            )
        assert "aaaa (dice_ce-fold0), bbbb (dice_ce-fold1)" in Page(write_report(folder)).text


class TestPartialRun:
    def test_failed_and_missing_cells_are_named_with_the_fix(self, new_run: Callable[..., RunFolder]):
        folder = new_run(causes={"cbdice-fold1": Cause.CUDA_OUT_OF_MEMORY})
        shutil.rmtree(folder.path / "cells" / "threshold-fold1")
        write_results(folder)
        page = Page(write_report(folder))
        assert "4 of 6 cells" in page.text
        assert "cbdice-fold1 failed: the step did not fit in memory." in page.text
        assert f": {cure_for(Cause.CUDA_OUT_OF_MEMORY)}." in page.text
        assert "Traceback" not in page.text
        assert "Not started: threshold-fold1." in page.text
        missing = read_results(folder).missing["cbdice"]
        assert f"{len(missing)} cases ({', '.join(missing)})" in page.text

    def test_a_tile_shows_the_best_mean_on_the_shared_cases(self, new_run: Callable[..., RunFolder]):
        folder = new_run(causes={"cbdice-fold1": Cause.CUDA_OUT_OF_MEMORY})
        page, metric = Page(write_report(folder)), read_results(folder).metrics[0]
        best = metric.score(metric.best).shared
        assert best is not None
        words = f"on the {best.n} shared cases"
        assert f"Best mean {metric.title} {words} {best.parts[0]} {best.parts[1]}{metric.best}" in page.text
        assert page.texts[".tag"] == [f"best mean {words}"] * 3

    def test_baselines_without_a_loss_make_a_page(self, copied: Callable[[], RunFolder]):
        folder = copied()
        for cell in folder.path.glob("cells/*ce-fold*"):
            shutil.rmtree(cell)
        write_results(folder)
        page = Page(write_report(folder))
        assert page.texts["h1"] == [f"{headline(read_results(folder)).title}."]
        assert 'id="loss-' not in page.source
        assert page.of("img") == []

    def test_a_run_without_results_has_no_page(self, copied: Callable[[], RunFolder]):
        folder = copied()
        for file in (folder.comparison, *folder.path.glob("report.html")):
            file.unlink()
        with pytest.raises(RunError) as caught:
            write_report(folder)
        assert "comparison.json" in caught.value.got
        assert not folder.report.exists()

    def test_missing_volumes_are_reported(self, new_run: Callable[..., RunFolder]):
        folder = new_run(losses=("dice_ce",))
        shutil.rmtree(folder.path.parents[1] / "data")
        page = Page(write_report(folder))
        assert page.of("img") == []
        assert page.text.count("is not shown:") == 3 + 1  # three cases, and a piece without skeleton


class TestDecision:
    def test_the_page_begins_with_the_verdict_of_each_loss(self, new_run: Callable[..., RunFolder]):
        rule = {"primary": "dsc", "margin": 0.02, "against": "dice_ce"}
        folder = new_run(comparison=rule, repeats=2)
        page = Page(write_report(folder))
        decision = read_results(folder).decision
        assert decision is not None
        assert page.texts["h1"][0].rstrip(".") == headline(read_results(folder)).title
        (found,) = decision.losses
        assert page.texts[f".verdict {found.verdict}"] == [found.verdict]
        assert "differences" in {path.stem for path in folder.figures.glob("*.svg")}
        assert "0.02 as the largest difference that does not matter" in page.text

    def test_without_a_rule_nothing_is_decided(self, page: Page):
        assert ".verdicts" not in page.texts
        assert "No comparison was fixed before the trainings" in page.text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
class TestBrowser:
    def test_a_browser_shows_the_page_without_an_error(self, page: Page, finished: RunFolder, tmp_path: Path):
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
        command = ["chromium", *options, f"--user-data-dir={tmp_path}", finished.report.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert page.texts["h1"][0] in done.stdout
        assert "CONSOLE" not in done.stderr

    def test_a_phone_shows_every_metric_without_scrolling_sideways(self, finished: RunFolder, tmp_path: Path):
        measure = (
            "const t = this.contentDocument.querySelector('.broad').parentNode; title = t.scrollWidth - t.clientWidth"
        )
        frame = (
            f'<iframe src="{finished.report.as_uri()}" width=390 onload="{measure}; document.title = title"></iframe>'
        )
        (tmp_path / "phone.html").write_text(frame)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
        command = ["chromium", *options, f"--user-data-dir={tmp_path}", (tmp_path / "phone.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "<title>0</title>" in done.stdout


def contrast(one: str, other: str) -> float:
    """Return the WCAG contrast ratio of two colours."""
    lights = sorted(_luminance(colour) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
