"""The best own number of every table as a badge: https://shields.io/endpoint reads this JSON from where it is served."""

from __future__ import annotations

import json
import re

from harbench.records import Leaderboard, Table
from harbench.reporting.render import with_spread
from harbench.runs.comparability import METRICS


def badges(board: Leaderboard) -> dict[str, str]:
    """File name -> JSON of a badge, for every table in which an own run has a place."""
    found: dict[str, str] = {}
    for table in board.tables:
        row = next((row for row in table.rows if row.kind == "run" and row.place is not None), None)
        if row is not None:
            message = f"{with_spread(row)} %"
            badge = {"schemaVersion": 1, "label": _label(table), "message": message, "color": "0a5cc2"}
            found[_name(table)] = json.dumps(badge, ensure_ascii=False) + "\n"
    return found


def _label(table: Table) -> str:
    """`UCF-101, split 1: top-1 accuracy`"""
    return f"{table.title.partition(':')[0]}: {METRICS.get(table.key.metric, table.key.metric)}"


def _name(table: Table) -> str:
    """The comparability key in a file name: `ucf101-101-classes-split1-video-top1-video-none.json`."""
    key = table.key
    parts = (key.dataset, key.label_set, key.split_set, key.unit, key.metric, key.level, key.given)
    return f"{re.sub(r'[^A-Za-z0-9_+]+', '-', '-'.join(parts))}.json"
