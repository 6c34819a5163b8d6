"""The cache that a run reads: chosen once, recorded, and the same one when the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file
from toys import many_people

from harbench import api
from harbench.errors import RunError
from harbench.runs.folder import load_run
from harbench.training import fit


def test_another_size_prepared_in_the_middle_of_a_run_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = many_people(tmp_path) / "home"
    recipe = tmp_path / "small.yaml"
    recipe.write_text("base: many.yaml\ndata: {cache: {short_side: 24}}\ninput: {resize: 24, size: 24}\n")

    def run(runs: str) -> Path:
        return Path(api.run([str(recipe)], home=home, runs=tmp_path / runs)[0].folder)

    whole = run("whole")
    finish_epoch = fit._finish_epoch

    def stop_after_the_first(job: fit.Job, progress: fit.Progress, whole: fit.Whole) -> None:
        finish_epoch(job, progress, whole)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "_finish_epoch", stop_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        run("stopped")
    monkeypatch.undo()
    api.prepare("many", home=home, source=tmp_path / "videos", short_side=24, workers=1)
    resumed = run("stopped")
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    assert all(first[name].equal(second[name]) for name in first)
    assert [load_run(folder).protocol.cache for folder in (whole, resumed)] == ["rgb-jpeg90-32"] * 2
    assert load_run(run("new")).protocol.cache == "rgb-jpeg90-24"


def test_a_run_whose_cache_is_gone_says_so(tmp_path: Path) -> None:
    home = many_people(tmp_path) / "home"
    options = {"home": home, "runs": tmp_path / "runs"}
    folder = Path(api.run([str(tmp_path / "many.yaml")], **options)[0].folder)  # type: ignore[arg-type]
    (folder / "run.json").unlink()
    (home / "many/cache/rgb-jpeg90-32").rename(home / "many/cache/rgb-jpeg90-48")
    with pytest.raises(RunError, match="rgb-jpeg90-32, and it is gone"):
        api.run([str(tmp_path / "many.yaml")], **options)  # type: ignore[arg-type]
