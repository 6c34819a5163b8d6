"""Every command as a function of the same name and arguments. Heavy libraries are imported when a function needs them."""

from harbench.api.benchmarks import ClipReads, bench, bench_text
from harbench.api.catalog import (
    DatasetStatus,
    RecipeSummary,
    datasets,
    recipe_schema,
    recipe_text,
    recipes,
    splits,
)
from harbench.api.evaluating import Evaluation, evaluate, evaluation_text
from harbench.api.preparation import PrepareReport, prepare
from harbench.api.reports import ReportResult, report
from harbench.api.running import run, run_text

__all__ = [
    "ClipReads",
    "DatasetStatus",
    "Evaluation",
    "PrepareReport",
    "RecipeSummary",
    "ReportResult",
    "bench",
    "bench_text",
    "datasets",
    "evaluate",
    "evaluation_text",
    "prepare",
    "recipe_schema",
    "recipe_text",
    "recipes",
    "report",
    "run",
    "run_text",
    "splits",
]
