"""`prepare` in other streams, encodings and decoders, and what a run then says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from toys import toy_videos
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.errors import CacheError, MediaError
from harbench.frames.cache import estimate_cache_bytes, estimate_cache_seconds, open_cache
from harbench.paths import cache_folder
from harbench.recipe import CacheConfig, Recipe
from harbench.runs.inputs import open_inputs, prepare_line
from harbench.runs.record import protocol_of


def recipe(cache: Mapping[str, object], model: str = "motion3d") -> Recipe:
    return Recipe.model_validate(
        {
            "name": "toy",
            "description": "toy",
            "family": "two-stream",
            "data": {"dataset": "toy", "cache": cache},
            "input": {
                "clip": {"dense": {"num_frames": 8, "stride": 1}},
                "resize": 32,
                "size": 32,
                "normalize": "half",
                "augment": {"flip": 0.0},
            },
            "model": {"name": model},
        }
    )


def harbench(home: Path, *words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["--quiet", "--home", str(home), *map(str, words)], catch_exceptions=True)
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


@pytest.mark.parametrize(
    ("cache", "more"),
    [
        ({"stream": "flow", "short_side": 32}, "--stream flow --short-side 32"),
        ({"stream": "flow", "short_side": "native", "encoding": "raw"},
         "--stream flow --short-side native --encoding raw"),
        ({"short_side": 32, "encoding": "raw"}, "--short-side 32 --encoding raw"),
        ({"short_side": 32, "quality": 95}, "--short-side 32 --quality 95"),
        ({"stream": "pose"}, "--stream pose"),
        ({"stream": "pose", "bodies": "denoised"}, "--stream pose --bodies denoised"),
    ],
)  # fmt: skip
def test_the_line_that_a_recipe_prints_says_all_of_its_cache(cache: dict[str, object], more: str) -> None:
    wanted = recipe(cache, "flow_stack" if cache.get("stream") == "flow" else "motion3d")
    assert prepare_line(wanted) == f"harbench prepare toy {more}"


@pytest.mark.parametrize("encoding", ["jpeg", "raw"])
def test_the_line_for_flow_makes_what_the_recipe_reads(encoding: str, tmp_path: Path, toy_home: Path) -> None:
    wanted = recipe({"stream": "flow", "short_side": 32, "encoding": encoding}, "flow_stack")
    line = prepare_line(wanted)
    with pytest.raises(CacheError, match=line):
        open_inputs(wanted, 0, home=toy_home, ok_missing=0)
    videos = toy_videos(tmp_path / "videos")
    made = json.loads(harbench(toy_home, *line.split()[1:], "--from", videos, "--workers", 1, "--json"))
    assert (made["cached"], made["failed"]) == (6, {})
    assert Path(made["cache"]) == cache_folder(toy_home, "toy", wanted.data.cache.name)
    inputs = open_inputs(wanted, 0, home=toy_home, ok_missing=0)
    assert inputs.train[(0, 0, 0, 0)].frames.shape == (2, 8, 32, 32)
    assert protocol_of(inputs).decoder == "PyAV"


def test_the_protocol_says_who_decoded(tmp_path: Path, toy_home: Path) -> None:
    options = {"home": toy_home, "source": toy_videos(tmp_path / "videos"), "short_side": 32, "workers": 1}
    api.prepare("toy", limit=2, decoder="opencv", **options)  # type: ignore[arg-type]
    api.prepare("toy", **options)  # type: ignore[arg-type]
    inputs = open_inputs(recipe({"short_side": 32}), 0, home=toy_home, ok_missing=0)
    assert protocol_of(inputs).decoder == "OpenCV, PyAV"
    cache = open_cache(cache_folder(toy_home, "toy", "rgb-jpeg90-32"))
    assert sorted({cache.info(media).decoder.split()[0] for media in inputs.table.media()}) == ["opencv", "pyav"]


def test_options_that_are_not_there_are_told_before_anything_is_read(toy_home: Path) -> None:
    with pytest.raises(MediaError, match="there is no decoder vlc"):
        api.prepare("toy", home=toy_home, decoder="vlc")
    with pytest.raises(CacheError, match=r"--bodies: .*motion.*denoised"):
        api.prepare("toy", home=toy_home, stream="pose", bodies="energy")
    with pytest.raises(CacheError, match=r"--encoding: .*jpeg.*raw"):
        api.prepare("toy", home=toy_home, encoding="png")
    assert not (toy_home / "toy").exists()


def test_estimates_know_flow() -> None:
    rgb, flow = CacheConfig(), CacheConfig(stream="flow")
    raw = CacheConfig(stream="flow", encoding="raw")
    sizes = [estimate_cache_bytes(100, config, unit="video") for config in (flow, rgb, raw)]
    assert sizes == sorted(sizes)
    assert sizes[2] == int(100 * 186 * 128 * 128 * 4 / 3 * 2), "two bytes a pixel"
    assert estimate_cache_seconds(9, flow, unit="video", workers=2) > estimate_cache_seconds(
        9, rgb, unit="video", workers=2
    )
