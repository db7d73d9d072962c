"""minivess: which loss gives the best vessel network on my data, on my own desktop?

The names below are imported when they are first used, so that ``import minivess`` itself takes a few milliseconds.
"""

from importlib import import_module

from minivess.renamed import install

TYPE_CHECKING = False  # as type checkers know it, without the time of importing typing
if TYPE_CHECKING:
    from minivess.data.profiler import scan_dataset
    from minivess.experiments.load_run import load_run
    from minivess.inference.predict_volume import predict_volume
    from minivess.losses.registry import build_loss
    from minivess.metrics.case import score_case
    from minivess.planning.make_plan import make_plan
    from minivess.statistics.compare_methods import compare

install()

_HOMES = {
    "build_loss": "minivess.losses.registry",
    "compare": "minivess.statistics.compare_methods",
    "load_run": "minivess.experiments.load_run",
    "make_plan": "minivess.planning.make_plan",
    "predict_volume": "minivess.inference.predict_volume",
    "scan_dataset": "minivess.data.profiler",
    "score_case": "minivess.metrics.case",
}

__all__ = ["build_loss", "compare", "load_run", "make_plan", "predict_volume", "scan_dataset", "score_case"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'minivess' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
