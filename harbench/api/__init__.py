"""Every command as a function of the same name and arguments.

Importing this costs nothing: a function's module is loaded when it is first asked for (PEP 562), and heavy libraries
when the function needs them.
"""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from inspect import isfunction, signature
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harbench.api.auditing import AuditReport, audit, audit_text
    from harbench.api.benchmarks import bench, bench_text
    from harbench.api.catalog import DatasetStatus, RecipeSummary, datasets, recipe_schema, recipe_text, recipes, splits
    from harbench.api.checking import CheckReport, check, check_text
    from harbench.api.checkup import DoctorReport, doctor
    from harbench.api.comparing import ComparisonReport, compare, comparison_text
    from harbench.api.converting import Conversion, convert, convert_from
    from harbench.api.embedding import Features, features, features_text
    from harbench.api.evaluating import Evaluation, evaluate, evaluation_text
    from harbench.api.explaining import Explanation, explain, explain_file, explanation_text
    from harbench.api.owndata import OwnOptions
    from harbench.api.preparation import PrepareReport, prepare
    from harbench.api.probing import Probe, probe, probe_text
    from harbench.api.processes import follows, launch, launched
    from harbench.api.queueing import queue
    from harbench.api.reports import ReportResult, report
    from harbench.api.reproducing import Reproduction, reproduce, reproduction_text
    from harbench.api.running import run, run_text
    from harbench.api.scoring import Scoring, score_file, scoring_text
    from harbench.api.tuning import GridResult, Trial, grid
    from harbench.api.verifying import VerifyReport, verify

_MODULES = {
    "auditing": ("AuditReport", "audit", "audit_text"),
    "benchmarks": ("bench", "bench_text"),
    "catalog": ("DatasetStatus", "RecipeSummary", "datasets", "recipe_schema", "recipe_text", "recipes", "splits"),
    "checking": ("CheckReport", "check", "check_text"),
    "checkup": ("DoctorReport", "doctor"),
    "comparing": ("ComparisonReport", "compare", "comparison_text"),
    "converting": ("Conversion", "convert", "convert_from"),
    "embedding": ("Features", "features", "features_text"),
    "evaluating": ("Evaluation", "evaluate", "evaluation_text"),
    "explaining": ("Explanation", "explain", "explain_file", "explanation_text"),
    "owndata": ("OwnOptions",),
    "preparation": ("PrepareReport", "prepare"),
    "probing": ("Probe", "probe", "probe_text"),
    "processes": ("follows", "launch", "launched"),
    "queueing": ("queue",),
    "reports": ("ReportResult", "report"),
    "reproducing": ("Reproduction", "reproduce", "reproduction_text"),
    "running": ("run", "run_text"),
    "scoring": ("Scoring", "score_file", "scoring_text"),
    "tuning": ("GridResult", "Trial", "grid"),
    "verifying": ("VerifyReport", "verify"),
}
_HOME_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AuditReport",
    "CheckReport",
    "ComparisonReport",
    "Conversion",
    "DatasetStatus",
    "DoctorReport",
    "Evaluation",
    "Explanation",
    "Features",
    "GridResult",
    "OwnOptions",
    "PrepareReport",
    "Probe",
    "RecipeSummary",
    "ReportResult",
    "Reproduction",
    "Scoring",
    "Trial",
    "VerifyReport",
    "audit",
    "audit_text",
    "bench",
    "bench_text",
    "check",
    "check_text",
    "compare",
    "comparison_text",
    "convert",
    "convert_from",
    "datasets",
    "doctor",
    "evaluate",
    "evaluation_text",
    "explain",
    "explain_file",
    "explanation_text",
    "features",
    "features_text",
    "follows",
    "grid",
    "launch",
    "launched",
    "prepare",
    "probe",
    "probe_text",
    "queue",
    "recipe_schema",
    "recipe_text",
    "recipes",
    "report",
    "reproduce",
    "reproduction_text",
    "run",
    "run_text",
    "score_file",
    "scoring_text",
    "splits",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"harbench.api has no {name}")
    found = getattr(import_module(f"harbench.api.{_HOME_OF[name]}"), name)
    if isfunction(found):
        found = globals()[name] = _with_paths(found)  # kept, so that it is one object, which pickle asks for
    return found


def _with_paths(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which takes `str` too wherever it says `Path`."""
    expected = signature(function)
    kinds = {name: str(parameter.annotation) for name, parameter in expected.parameters.items()}

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        bound = expected.bind(*args, **options)
        for name, value in bound.arguments.items():
            if "Path" in kinds[name] and value is not None:
                one = isinstance(value, (str, PathLike))
                paths = (Path(value),) if one else tuple(map(Path, value))
                bound.arguments[name] = paths if "Sequence" in kinds[name] else paths[0]
        return function(*bound.args, **bound.kwargs)

    call.__module__ = __name__  # where pickle finds it, as for `pool.map(api.prepare, ...)`
    return call
