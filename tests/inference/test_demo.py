"""The demo's page: who may ask, what may be sent, and what is left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from toys import Work

pytest.importorskip("starlette")
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from toys import write_video

from harbench import api
from harbench.errors import RunError
from harbench.inference import demo as module
from harbench.inference.demo import about_run
from harbench.inference.page import Page, view_app
from harbench.inference.scoring import ScoreConfig

HOST, TOKEN = "127.0.0.1:8000", "secret"


class Open(NamedTuple):
    page: Page
    client: TestClient
    folder: Path


@pytest.fixture
def opened(work: Work, tmp_path: Path) -> Iterator[Open]:
    folder = tmp_path / "held"
    folder.mkdir()
    config = ScoreConfig("cpu", None, most_seconds=3.0, patience=60.0)
    about = [about_run(str(work.run), "cpu")]
    page = Page([str(work.run)], about, frozenset((HOST,)), TOKEN, 1 << 20, config, folder)
    with TestClient(page.app(), base_url=f"http://{HOST}") as client:
        yield Open(page, client, folder)


def send(opened: Open, content: bytes, kind: str = "video/mp4", **headers: str) -> Any:
    return opened.client.post(
        f"/predict?token={TOKEN}&run=0", content=content, headers={"content-type": kind, **headers}
    )


def test_who_may_ask(opened: Open) -> None:
    client = opened.client
    assert client.get("/").status_code == 403
    assert client.get("/?token=guess").status_code == 403
    assert client.get(f"/?token={TOKEN}", headers={"host": "evil.example"}).status_code == 403
    assert client.get(f"/?token={TOKEN}", headers={"origin": "http://evil.example"}).status_code == 403
    assert send(opened, b"x", origin="null").status_code == 403
    page = client.get(f"/?token={TOKEN}", headers={"origin": f"http://{HOST}"})
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "many, many official" in page.text
    own = {"host": HOST, "origin": f"http://{HOST}"}
    for where, headers in (
        (f"/webcam?token={TOKEN}&run=0", {**own, "origin": "http://evil.example"}),
        (f"/webcam?token={TOKEN}&run=0", {"host": HOST}),
        (f"/webcam?token={TOKEN}&run=5", own),
        ("/webcam?run=0", own),
    ):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(where, headers=headers):
            pass


def test_a_video_and_a_picture_are_scored(opened: Open, work: Work, tmp_path: Path) -> None:
    answer = send(opened, (work.videos / "left/eve.avi").read_bytes(), "video/x-msvideo")
    found = answer.json()
    assert answer.status_code == 200, found
    assert {name for name, _ in found["top"]} == {"left", "right"}
    assert len(found["heat"]) == 4
    assert found["heat"][0].startswith("data:image/jpeg;base64,")
    copy = opened.client.get(f"/copy/{found['copy']}?token={TOKEN}")
    assert copy.headers["content-type"] == "video/mp4"
    assert [path.name for path in opened.folder.iterdir()] == [found["copy"]], "the upload itself is gone"
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 56, 3), 90, np.uint8))
    still = send(opened, (tmp_path / "a.png").read_bytes(), "image/png").json()
    assert still["copy"].endswith(".jpg")
    assert still["segments"] == []


def test_what_cannot_be_scored_is_told_and_leaves_nothing(opened: Open, tmp_path: Path) -> None:
    write_video(tmp_path / "long.avi", np.full((100, 40, 56, 3), 90, np.uint8))
    for content, kind, status, words in (
        (b"no video" * 99, "video/mp4", 422, "Invalid data"),
        (b"", "video/mp4", 422, "the file is empty"),
        (b"<html>", "text/html", 415, "expected a video"),
        (bytes(2 << 20), "video/mp4", 413, "larger than 1 MB"),
        ((tmp_path / "long.avi").read_bytes(), "video/avi", 422, "longer than 3 s"),
    ):
        answer = send(opened, content, kind)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
        assert "/" not in answer.json()["error"].replace("expected a video", ""), "no path of this machine is told"
        assert list(opened.folder.iterdir()) == []
    for number in ("9", "-1", "x", "../0", ""):
        assert (
            opened.client.post(
                f"/predict?token={TOKEN}&run={number}", headers={"content-type": "video/mp4"}
            ).status_code
            == 415
        )


def test_no_path_of_a_request_is_opened(opened: Open) -> None:
    (opened.folder / "other.mp4").write_bytes(b"x")
    for name in ("other.mp4", "..%2f..%2fetc%2fpasswd", "../../etc/passwd", "%2e%2e/x"):
        assert opened.client.get(f"/copy/{name}?token={TOKEN}").status_code == 404


def test_a_file_that_takes_too_long_is_given_up(work: Work, tmp_path: Path) -> None:
    config = ScoreConfig("cpu", None, most_seconds=3.0, patience=0.01)
    page = Page([str(work.run)], [], frozenset((HOST,)), TOKEN, 1 << 20, config, tmp_path)
    with TestClient(page.app(), base_url=f"http://{HOST}") as client:
        answer = client.post(f"/predict?token={TOKEN}&run=0", content=b"x", headers={"content-type": "video/mp4"})
        assert "was given up" in answer.json()["error"]


def test_a_webcams_pictures_are_answered(opened: Open) -> None:
    good, content = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))
    assert good
    address = f"/webcam?token={TOKEN}&run=0&fps=10"
    with opened.client.websocket_connect(address, headers={"host": HOST, "origin": f"http://{HOST}"}) as socket:
        for _ in range(40):
            socket.send_bytes(content.tobytes())
            socket.send_bytes(b"no picture")
            time.sleep(0.02)
        found = socket.receive_json()
    assert {name for name, _ in found["top"]} == {"left", "right"}
    assert {"latency", "fps", "dropped"} <= found.keys()


def test_a_moving_picture_needs_the_token() -> None:
    with TestClient(view_app(frozenset((HOST,)), TOKEN, lambda: b"jpeg"), base_url=f"http://{HOST}") as client:
        assert client.get("/view").status_code == 403
        assert client.get("/?token=x").status_code == 403
        assert f"/view?token={TOKEN}" in client.get(f"/?token={TOKEN}").text


def test_it_is_served_on_loopback(work: Work) -> None:
    import urllib.request

    addresses = api.demo([str(work.run)], device="cpu")
    address = next(addresses)
    assert address.startswith("http://127.0.0.1:")
    assert "What does the model see?" in urllib.request.urlopen(address, timeout=10).read().decode()
    addresses.close()  # type: ignore[attr-defined]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(RunError, match=r"needs uvicorn, which is not installed:  pip install 'harbench\[demo\]'"):
        next(api.demo(["x"]))
