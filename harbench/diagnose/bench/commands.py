"""Tables about whole commands: `start`, `report`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from harbench.diagnose.bench.race import BenchTable, Options, race

_RUNS = 2000


def start(options: Options) -> BenchTable:
    """`harbench --help`, and what TAB offers, against importing what draws the help."""
    typed = {"_HARBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "harbench prepare ucf101 --split ", "COMP_CWORD": "4"}
    commands = {
        "harbench --help": partial(_spawn, ["-m", "harbench", "--help"]),
        "harbench prepare ucf101 --split TAB": partial(_spawn, ["-m", "harbench"], typed),
        "import typer, rich": partial(_spawn, ["-c", "import typer, rich"]),
    }
    return BenchTable("start", "processes", race(commands, options.rounds, 1))


def _spawn(arguments: Sequence[str], more: Mapping[str, str] | None = None) -> None:
    subprocess.run([sys.executable, *arguments], env={**os.environ, **(more or {})}, capture_output=True, check=True)


# -------------------------------------------------------------------------------------------------------------- report
def report(options: Options) -> BenchTable:
    """The leaderboards of 2,000 runs in every format, against one table of the records by pandas."""
    from harbench.diagnose.bench.made_runs import make_runs

    runs, output = options.work / "runs", options.work / "reports"
    make_runs(runs, _RUNS)
    ours = [
        "--home",
        str(options.work / "home"),
        "--runs",
        str(runs),
        "report",
        "--output",
        str(output),
        "--limit",
        "3",
    ]
    theirs = (
        f"import json, pathlib, pandas\nfound = pathlib.Path({str(runs)!r}).glob('*/*/*/*/run.json')\n"
        "table = pandas.json_normalize([json.loads(path.read_bytes()) for path in found])\n"
        f"table.sort_values('metrics.top1').to_html({str(options.work / 'pandas.html')!r})"
    )
    rows = race(
        {
            f"harbench report, {_RUNS} runs": partial(_spawn, ["-m", "harbench", *ours]),
            "pandas: every record in one html table": partial(_spawn, ["-c", theirs]),
        },
        min(options.rounds, 3),
        _RUNS,
    )
    size = next(output.glob("*.html")).stat().st_size
    return BenchTable("report", "runs on three data sets", rows, (f"page: {size / 1e6:.1f} MB",))
