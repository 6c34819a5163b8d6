"""Draws docs/pictures/ anew from what `make run` left: `make pictures` (needs Chromium; everything shown is rendered here)."""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from harbench import api
from harbench.datasets.tables import load_split
from harbench.frames.decode import open_video

OUT = Path(__file__).parent / "pictures"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def shoot(page: Page, name: str, height: int) -> None:
    """The upper part of a page as a .png of few colors."""
    content = page.screenshot(clip={"x": 0, "y": 0, "width": page.viewport_size["width"], "height": height})
    Image.open(io.BytesIO(content)).convert("RGB").quantize(96).save(OUT / name, optimize=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--home", type=Path, default=Path("data"))
    options.add_argument("--runs", type=Path, default=Path("runs"))
    given = options.parse_args()
    OUT.mkdir(exist_ok=True)
    run = given.runs / "sample/motion3d_sample/small/seed0"
    samples = [each for each in load_split("sample", "small", given.home).samples if each.subset == "test"]
    media = given.home / "sample/media"
    clips = [media / each.media for each in samples[:: len(samples) // 3]]
    with tempfile.TemporaryDirectory() as folder:
        (found,) = api.predict(str(clips[0]), run=str(run), options=api.PredictOptions(save=Path(folder)))
        with open_video(Path(found.saved[-1])) as decoded:
            frames = [frame.image for frame in decoded.frames]
        cv2.imwrite(str(OUT / "predict.jpg"), frames[len(frames) // 2][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        command = ["harbench", "--runs", str(given.runs), "demo", "--run", str(run)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            page.goto(re.search(r"http://\S+", server.stdout.readline())[0])  # type: ignore[index]
            page.set_input_files("#file", clips[1])
            page.wait_for_selector("#stage video")
            page.wait_for_timeout(1500)
            shoot(page, "demo.png", 860)
            server.terminate()
        page.goto(Path(api.report("sample", home=given.home, runs=given.runs).page).absolute().as_uri())
        shoot(page, "report.png", 700)
        browser.close()


if __name__ == "__main__":
    main()
