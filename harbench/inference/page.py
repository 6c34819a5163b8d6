"""The demo's web application: who may ask, what may be sent, and what is answered."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from harbench.errors import MediaError
from harbench.frames.stills import decode_still
from harbench.inference.live import LiveStats, Slot
from harbench.inference.scoring import ScoreConfig, Worker, watch_webcam

TEMPLATE = Path(__file__).parent / "templates" / "demo.html"
SUFFIXES = {
    "video/mp4": ".mp4", "video/webm": ".webm", "video/quicktime": ".mov", "video/x-msvideo": ".avi", "video/avi": ".avi",
    "video/x-matroska": ".mkv", "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/bmp": ".bmp",
}  # fmt: skip
"""What may be uploaded, by the type that the browser says; the file gets this suffix, whatever it is called."""
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_KEPT = 8
"""Annotated copies that are held."""
_PICTURE = 4 << 20
"""Bytes of a webcam's picture."""


def why_refused(scope: Any, hosts: frozenset[str], token: str) -> str:
    """Why a request is not answered: another Host, another page's Origin, or no token; empty where it is."""
    headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
    if headers.get("host") not in hosts:
        return "this page answers on loopback only"
    origin = headers.get("origin")
    if origin is not None and origin.removeprefix("http://") not in hosts:
        return "another page may not use this one"
    (given,) = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[:1]
    return "" if secrets.compare_digest(given.encode(), token.encode()) else "the address lacks its token"


def view_app(hosts: frozenset[str], token: str, newest: Callable[[], bytes]) -> Starlette:
    """One page with a moving picture: the newest JPEG that `newest` gives."""

    async def parts() -> AsyncIterator[bytes]:
        last = b""
        while True:
            if (image := newest()) != last:
                last = image
                yield b"--frame\r\ncontent-type: image/jpeg\r\n\r\n" + image + b"\r\n"
            await asyncio.sleep(0.02)

    async def index(request: Request) -> Response:
        if why := why_refused(request.scope, hosts, token):
            return PlainTextResponse(why, 403)
        source = f"/view?token={token}"
        style = "body{margin:0;background:#000;display:grid;place-items:center;height:100vh}img{max-width:100%;max-height:100%}"
        text = f"<!doctype html><title>harbench</title><style>{style}</style><img alt='The live view' src='{source}'>"
        return HTMLResponse(text, headers=HEADERS)

    async def view(request: Request) -> Response:
        if why := why_refused(request.scope, hosts, token):
            return PlainTextResponse(why, 403)
        return StreamingResponse(parts(), media_type="multipart/x-mixed-replace; boundary=frame", headers=HEADERS)

    return Starlette(routes=[Route("/", index), Route("/view", view)])


@dataclass
class Page:
    """The page, and what it holds while it is open."""

    runs: Sequence[str]
    about: Sequence[dict[str, Any]]
    """What is shown of each run."""
    hosts: frozenset[str]
    """`127.0.0.1:PORT`: by what names the page may be asked for."""
    token: str
    most_bytes: int
    config: ScoreConfig
    folder: Path
    """For uploads while they are scored, and annotated copies."""
    worker: Worker = field(init=False)
    copies: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.worker = Worker(self.config)

    def app(self) -> Starlette:
        """The application."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> Any:
            yield
            self.worker.end()

        routes = [
            Route("/", self.guarded(self.index)),
            Route("/predict", self.guarded(self.upload), methods=["POST"]),
            Route("/copy/{name}", self.guarded(self.copy)),
            WebSocketRoute("/webcam", self.webcam),
        ]
        return Starlette(routes=routes, lifespan=lifespan)

    def refused(self, scope: Any) -> str:
        """Why a request is not answered; empty where it is."""
        return why_refused(scope, self.hosts, self.token)

    def guarded(self, handler: Any) -> Any:
        """A handler that only those are answered by who may ask."""

        async def answer(request: Request) -> Response:
            why = self.refused(request.scope)
            response: Response = PlainTextResponse(why, 403) if why else await handler(request)
            response.headers.update(HEADERS)
            return response

        return answer

    def run_of(self, query: Any) -> str | None:
        """The run that a request names by its number."""
        number = query.get("run", "")
        return (
            self.runs[int(number)] if number.isascii() and number.isdigit() and int(number) < len(self.runs) else None
        )

    async def index(self, request: Request) -> Response:
        facts = json.dumps({"runs": self.about, "most": self.most_bytes}).replace("<", "\\u003c")
        return HTMLResponse(TEMPLATE.read_text(encoding="utf-8").replace("/*FACTS*/", facts))

    async def upload(self, request: Request) -> Response:
        suffix = SUFFIXES.get(request.headers.get("content-type", "").partition(";")[0])
        run = self.run_of(request.query_params)
        if suffix is None or run is None:
            kinds = "a video (mp4, webm, mov, avi, mkv) or a picture (jpg, png, webp, bmp)"
            return JSONResponse({"error": f"expected {kinds}"}, 415)
        path = self.folder / f"{secrets.token_hex(8)}{suffix}"
        try:
            if not await self._received(request, path):
                return JSONResponse({"error": f"it is larger than {self.most_bytes >> 20} MB"}, 413)
            found = await self.worker.score(run, path)
        finally:
            path.unlink(missing_ok=True)
            path.with_name(f"{path.stem}_annotated.srt").unlink(missing_ok=True)
        self._keep(found.get("copy"))
        return JSONResponse(found, 422 if "error" in found else 200)

    async def _received(self, request: Request, path: Path) -> bool:
        """Write an upload to `path`; False where it is too large."""
        size = 0
        with open(path, "wb") as handle:
            async for block in request.stream():
                size += len(block)
                if size > self.most_bytes:
                    return False
                handle.write(block)
        return True

    def _keep(self, name: str | None) -> None:
        """Hold an annotated copy, and let go of the oldest."""
        self.copies += [name] if name else []
        for old in self.copies[:-_KEPT]:
            (self.folder / old).unlink(missing_ok=True)
        del self.copies[:-_KEPT]

    async def copy(self, request: Request) -> Response:
        name = request.path_params["name"]
        return (
            FileResponse(self.folder / name) if name in self.copies else PlainTextResponse("there is no such copy", 404)
        )

    async def webcam(self, socket: WebSocket) -> None:
        run, rate = self.run_of(socket.query_params), socket.query_params.get("fps", "15")
        if self.refused(socket.scope) or "origin" not in socket.headers or run is None or not rate.isdigit():
            await socket.close(1008)
            return
        await socket.accept()
        slot, loop, thread = Slot(LiveStats()), asyncio.get_running_loop(), ThreadPoolExecutor(1)
        slot.fps = min(30.0, max(5.0, float(rate)))

        def put(answer: dict[str, Any]) -> None:
            asyncio.run_coroutine_threadsafe(socket.send_json(answer), loop)

        thread.submit(watch_webcam, self.config, run, slot, put)
        try:
            while True:
                content = await socket.receive_bytes()
                if len(content) <= _PICTURE:
                    _put_picture(slot, content)
        except (WebSocketDisconnect, KeyError, RuntimeError):  # it was closed, or sent something else
            pass
        finally:
            slot.end()
            thread.shutdown(wait=False)


def _put_picture(slot: Slot, content: bytes) -> None:
    try:
        slot.put(decode_still(content).image)
    except MediaError:  # the next one may be whole
        return
