"""What a run folder sends to MLflow, and which server may receive it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from minivess import locks
from minivess.cli.main import cli
from minivess.errors import ConfigError, RunError
from minivess.experiments.config_file import make_config
from minivess.json_files import to_line
from minivess.publishing.sync_run import own_tracking_uri, sync_run, tracking_uri
from minivess.tracking.client import TrackingError, open_client
from minivess.tracking.uris import sqlite_uri


def cells(desk: Any, folder: Any) -> dict[str, Any]:
    client, done = open_client(desk.uri), sync_run(folder, desk.uri)
    return {name: client.get_run(run_id) for name, run_id in done.cell_run_ids.items()}


class TestSyncRun:
    def test_metrics_are_means_of_the_fold_and_the_watched_case_has_its_own_name(self, desk: Any) -> None:
        folder = desk.run("means", dice_ce=0.6)
        lines = [{"epoch": 1, "step": 4, "loss": 0.5, "dsc": 0.25, "case": "a"}]
        folder.cell("dice_ce", 0).journal.write_text("".join(map(to_line, lines)))
        found = cells(desk, folder)["dice_ce-fold0"].data.metrics
        assert (found["watched/dsc"], found["loss"], found["measured_masd"]) == (0.25, 0.5, 1.0)
        assert found["dsc"] == pytest.approx(0.65)  # of 0.6 and 0.7
        assert 0.6 <= found["dsc/low"] < 0.65 < found["dsc/high"] <= 0.7
        assert "dsc/mean" not in found
        assert "cldice" not in found  # an older version scored these cases

    def test_cldice_is_a_metric_of_its_own(self, desk: Any) -> None:
        found = cells(desk, desk.run("topology", metric="cldice", dice_ce=0.6))["dice_ce-fold0"].data.metrics
        assert (found["cldice"], found["centreline_dsc"]) == (pytest.approx(0.65), 0.5)

    def test_tags_have_commit_data_loss_and_the_number_of_cases(self, desk: Any) -> None:
        folder = desk.run("tags", dice_ce=0.6)
        tags = cells(desk, folder)["dice_ce-fold1"].data.tags
        assert tags["git_sha"] == (folder.read_environment()["git"] or {"sha": "unknown"})["sha"]
        assert tags["data_hash"] == folder.read_profile().content_hash
        assert (tags["loss"], tags["fold"], tags["cases"], tags["note"][:12]) == ("dice_ce", "1", "2", "Only 2 cases")

    def test_a_cell_runs_while_its_lock_is_held_and_is_killed_after(self, desk: Any) -> None:
        folder = desk.run("locked", dice_ce=0.6)
        cell = folder.cell("dice_ce", 0)
        cell.result.unlink()
        with locks.hold(folder.path / ".lock"), locks.hold(cell.path / ".lock"):
            status = [run.info.status for run in cells(desk, folder).values()]
        assert status == ["RUNNING", "FINISHED"]
        after = cells(desk, folder)["dice_ce-fold0"].info
        assert (after.status, after.end_time) == ("KILLED", cell.spec.stat().st_mtime_ns // 1_000_000)

    def test_a_link_in_the_folder_is_refused_before_anything_is_sent(self, desk: Any, tmp_path: Path) -> None:
        folder = desk.run("linked", dice_ce=0.6)
        (tmp_path / "secret").touch()
        folder.cell("dice_ce", 0).log.symlink_to(tmp_path / "secret")
        with pytest.raises(RunError, match=str(tmp_path)):
            sync_run(folder, desk.uri)
        assert not (folder.path / "mlflow.json").exists()


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A server that keeps the headers of each request and answers with an error."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.seen.append(dict(self.headers))  # type: ignore[attr-defined]
            self.send_error(500)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class TestServer:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "my-token")
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    @pytest.mark.parametrize("command", [("promote",), ("track", "sync"), ("ui",)])
    def test_a_server_that_only_the_folder_names_receives_nothing(
        self, desk: Any, server: Any, command: tuple[str, ...]
    ) -> None:
        uri = f"http://127.0.0.1:{server.server_port}"
        folder = desk.run(f"foreign-{command[0]}", dice_ce=0.6, tracking_uri=uri)
        with pytest.raises(ConfigError) as refused:
            CliRunner().invoke(cli, [*command, str(folder.path)], catch_exceptions=False)
        assert uri in refused.value.got
        assert f"--tracking-uri {uri}" in refused.value.cure
        assert server.seen == []

    def test_a_server_that_the_user_names_receives_the_token(self, desk: Any, server: Any) -> None:
        uri = f"http://127.0.0.1:{server.server_port}"
        folder = desk.run("confirmed", dice_ce=0.6, tracking_uri=uri)
        with pytest.raises(TrackingError):
            CliRunner().invoke(cli, ["track", "sync", str(folder.path), "--tracking-uri", uri], catch_exceptions=False)
        assert server.seen[0]["Authorization"] == "Bearer my-token"

    def test_option_then_environment_then_the_database_next_to_the_folder(
        self, desk: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = desk.run("order", dice_ce=0.6)
        assert tracking_uri(folder) == desk.uri
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab")
        assert (tracking_uri(folder), tracking_uri(folder, "http://mine")) == ("http://lab", "http://mine")
        off = desk.run("off", dice_ce=0.6, tracking_uri="none")
        assert (tracking_uri(off), tracking_uri(off, "http://mine")) == (None, "http://mine")

    def test_the_database_next_to_the_folder_may_be_named(self, desk: Any) -> None:
        assert tracking_uri(desk.run("named", dice_ce=0.6, tracking_uri=desk.uri)) == desk.uri

    def test_a_run_that_the_user_starts_uses_his_yaml(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def config(**keys: str) -> Any:
            return make_config({"name": "a", "losses": ["dice_ce"], "output_dir": str(tmp_path), **keys}, "a test")

        assert own_tracking_uri(config()) == sqlite_uri(tmp_path / "mlflow.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab")
        assert own_tracking_uri(config()) == "http://lab"
        assert own_tracking_uri(config(tracking_uri="http://mine")) == "http://mine"
        assert own_tracking_uri(config(tracking_uri="none")) is None

    def test_passwords_are_in_no_message(self, desk: Any, server: Any) -> None:
        uri = f"http://me:sec/ret@127.0.0.1:{server.server_port}"
        folder = desk.run("masked", dice_ce=0.6)
        found = CliRunner().invoke(cli, ["track", "sync", str(folder.path), "--tracking-uri", uri])
        assert "sec/ret" not in f"{found.output} {found.exception}"
        assert "http://***@127.0.0.1" in str(found.exception)
        assert not [path for path in folder.path.rglob("*") if path.is_file() and b"sec/ret" in path.read_bytes()]
