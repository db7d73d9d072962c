"""The Python door and the layout of the package."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import grimp
import pytest

import minivess
from minivess.renamed import RENAMED

PACKAGE = Path(minivess.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = ["build_loss", "compare", "load_run", "make_plan", "predict_volume", "scan_dataset", "score_case"]


def in_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


class TestDoor:
    def test_stable_names_are_callable_and_listed(self) -> None:
        assert sorted(minivess.__all__) == NAMES
        assert all(callable(getattr(minivess, name)) for name in NAMES)
        assert set(NAMES) <= set(dir(minivess))

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        assert not hasattr(minivess, "no_such_name")

    def test_import_loads_no_library_and_takes_no_time(self) -> None:
        code = (
            "import sys, time; began = time.process_time(); import minivess; took = time.process_time() - began\n"
            "print(took < 0.05, [name for name in ('torch', 'numpy', 'pydantic', 'click') if name in sys.modules])"
        )
        assert in_new_process(code).strip() == "True []"

    def test_old_names_are_the_new_modules(self) -> None:
        for old, new in RENAMED.items():
            module = import_module(new)
            spec = module.__spec__
            assert import_module(old) is module
            assert module.__spec__ is spec
            assert find_spec(new) is not None

    def test_stable_names_of_submodules(self) -> None:
        from minivess.evaluation.compare import compare
        from minivess.models.predict import predict_volume

        from minivess.planning.memory import predict_training_peak

        assert compare is minivess.compare
        assert predict_volume is minivess.predict_volume
        assert callable(predict_training_peak)

    def test_a_module_that_never_existed_is_still_an_import_error(self) -> None:
        with pytest.raises(ModuleNotFoundError, match="no_such"):
            import_module("minivess.no_such")

    def test_types_are_shipped(self) -> None:
        assert (PACKAGE / "py.typed").is_file()


class TestLayout:
    def test_no_two_modules_have_one_name(self) -> None:
        counts = Counter(path.stem for path in MODULES)
        assert {name for name, count in counts.items() if count > 1} <= {"__init__", "config"}

    def test_no_modules_import_each_other_in_a_circle(self) -> None:
        graph = grimp.build_graph("minivess", cache_dir=None)
        imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
        order = list(TopologicalSorter(imports).static_order())  # raises CycleError
        assert len(order) == len(MODULES)

    def test_mains_of_processes_are_in_worker(self) -> None:
        mains = [str(path.relative_to(PACKAGE)) for path in MODULES if '__name__ == "__main__"' in path.read_text()]
        assert mains == ["cli/main.py", "worker/__main__.py"]

    def test_an_unknown_task_is_one_line(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "minivess.worker", "sing"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "supervisor" in done.stderr
        assert "Traceback" not in done.stderr
