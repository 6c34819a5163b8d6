"""A small trained run that the tests of this folder use."""

from __future__ import annotations

from pathlib import Path

import pytest
from toys import Work, many_people

from harbench import api


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = many_people(tmp_path_factory.mktemp("use"))
    recipe = str(folder / "many.yaml")
    done = api.run([recipe], home=folder / "home", runs=folder / "runs", device="cpu")
    return Work(folder / "home", folder / "runs", Path(done[0].folder), folder / "videos")
