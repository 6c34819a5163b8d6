"""Badges: the endpoint's fields, one a table in which an own run has a place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from harbench.records import Leaderboard, PublishedResult, RunRecord
from harbench.reporting.leaderboard import build_leaderboard
from harbench.reporting.render import badges


def test_a_badge_has_the_fields_of_the_endpoint(board: Leaderboard) -> None:
    ((name, text),) = badges(board).items()
    assert name == "ucf101-101-classes-split1-video-top1-video-none.json"
    badge = json.loads(text)
    assert badge == {
        "schemaVersion": 1,
        "label": "UCF-101, split 1: top-1 accuracy",
        "message": "88.50 ± 0.71 %",
        "color": "0a5cc2",
    }


def test_tables_do_not_share_a_file(
    make_run: Callable[..., RunRecord], make_published: Callable[..., PublishedResult]
) -> None:
    runs = [make_run("a", split=split, top5=99.0) for split in ("split1", "split2", "split3")]
    board = build_leaderboard(runs, [make_published("B", 90.0, key={"metric": "top5"})])
    found = badges(board)
    assert len(found) == len(board.tables) == 8
    assert all(re.fullmatch(r"[\w+-]+\.json", name) for name in found)


def test_what_has_no_place_has_no_badge(make_run: Callable[..., RunRecord]) -> None:
    assert badges(build_leaderboard([make_run(partial="16 of 3783 test samples")], [])) == {}
