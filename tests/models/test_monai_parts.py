"""MONAI is imported without optional packages, which other code of the process can still import."""

from __future__ import annotations

import subprocess
import sys

NOT_NEEDED = ("mlflow", "matplotlib", "pandas", "sklearn", "skimage", "scipy")


def _run(code: str) -> str:
    code = f"import sys; names = {NOT_NEEDED}\n{code}"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    ).stdout


class TestImport:
    def test_optional_packages_are_not_loaded(self) -> None:
        code = "import minivess.models.dynunet\nprint([name for name in names if name in sys.modules])"
        assert _run(code) == "[]\n"

    def test_loaded_packages_stay_and_others_can_be_imported_later(self) -> None:
        code = "import matplotlib as before, minivess.models.dynunet, matplotlib, pandas\nprint(matplotlib is before)"
        assert _run(code) == "True\n"
