"""MONAI comes without what no network of ours needs, and leaves the rest of the process as it was."""

from __future__ import annotations

import subprocess
import sys

UNNEEDED = ("mlflow", "matplotlib", "pandas", "sklearn", "skimage", "scipy")


def _run(code: str) -> str:
    code = f"import sys; names = {UNNEEDED}\n{code}"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    ).stdout


class TestImport:
    def test_loads_no_tracker_and_no_plots(self) -> None:
        code = "import minivess.models.dynunet\nprint([name for name in names if name in sys.modules])"
        assert _run(code) == "[]\n"

    def test_what_is_there_already_stays_and_the_rest_can_be_had_after(self) -> None:
        code = "import matplotlib as before, minivess.models.dynunet, matplotlib, pandas\nprint(matplotlib is before)"
        assert _run(code) == "True\n"
