"""A web server on 127.0.0.1 that misbehaves as told, for tests of downloads and for `make accept-prepare`.

    with HostileServer({"/a.zip": data}) as server:
        server.plan["/a.zip"] = ["reset 1000", "status 503"]     # the first two answers; honest ones from then on

Faults: `reset N`, `truncate N`, `stall N` (after N bytes of the body), `status CODE`, `redirect URL`, `ignore-range`,
`wrong-range`, `gzip`, `chunked`, `anonymous` (no ETag, no date), `changed` (the file is another one from now on),
`deaf` (ignores If-Range), `page` (a web page instead of the file), `slow BYTES_A_SECOND`. Several at once: `a+b N`.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Content = bytes | Path
DATE = "Sat, 01 Aug 2026 00:00:00 GMT"


class HostileServer:
    """Serves `contents` (path -> bytes or file), with the faults of `plan` first; `seen` is a log of all requests."""

    def __init__(self, contents: dict[str, Content]) -> None:
        self.contents = dict(contents)
        self.plan: dict[str, list[str]] = {}
        self.always: dict[str, str] = {}
        self.seen: list[tuple[str, str | None]] = []
        """(path, its Range header) of every request."""
        self.closing = threading.Event()
        self._etags: dict[str, str] = {}
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # clients are killed here; that is no news
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HostileServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def etag(self, path: str) -> str:
        if path not in self._etags:
            content = self.contents[path]
            about = content if isinstance(content, bytes) else f"{content.stat()}".encode()
            self._etags[path] = f'"{hashlib.sha256(about).hexdigest()[:16]}"'
        return self._etags[path]

    def change(self, path: str) -> None:
        """From now on another file of the same size lies there."""
        content = self.contents[path]
        data = content if isinstance(content, bytes) else content.read_bytes()
        self.contents[path] = data[::-1]
        self.forget(path)

    def forget(self, path: str) -> None:
        """The content has been replaced: the next ETag is a new one."""
        self._etags.pop(path, None)


class _Handler(BaseHTTPRequestHandler):
    owner: HostileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        owner, path = self.owner, self.path.partition("?")[0]
        owner.seen.append((path, self.headers.get("Range")))
        waiting = owner.plan.get(path)
        words, _, value = (waiting.pop(0) if waiting else owner.always.get(path, "")).partition(" ")
        faults = set(words.split("+"))
        if path not in owner.contents and not faults & {"status", "redirect"}:
            faults, value = {"status"}, "404"
        if other := faults & {"status", "redirect", "page"}:
            self._other(other.pop(), value)
            return
        if "changed" in faults:
            owner.change(path)
        self._file(path, faults, float(value or 0))

    def _other(self, fault: str, value: str) -> None:
        body = b"<html>please log in</html>"
        self.send_response(int(value) if fault == "status" else 302 if fault == "redirect" else 200)
        if fault == "redirect":
            self.send_header("Location", value)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, path: str, faults: set[str], value: float) -> None:
        content, etag = self.owner.contents[path], self.owner.etag(path)
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        start = self._start(faults, etag)
        if start is not None and start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            told = start + 7 if "wrong-range" in faults else start
            self.send_header("Content-Range", f"bytes {told}-{size - 1}/{size}")
        if "anonymous" not in faults:
            self.send_header("ETag", etag)
            self.send_header("Last-Modified", DATE)
        self.send_header("Content-Type", "application/octet-stream")
        if "gzip" in faults:
            assert isinstance(content, bytes)
            content = gzip.compress(content)
            size = len(content)
            self.send_header("Content-Encoding", "gzip")
        if "chunked" in faults:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(size - (start or 0)))
        self.end_headers()
        try:
            self._body(content, start or 0, faults, value)
        except OSError:  # the client has gone
            self.close_connection = True

    def _start(self, faults: set[str], etag: str) -> int | None:
        """The first byte asked for, if the range is to be honoured."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not asked or faults & {"ignore-range", "gzip", "chunked"}:
            return None
        condition = self.headers.get("If-Range")
        if condition and condition not in (etag, DATE) and "deaf" not in faults:
            return None
        return int(asked[1])

    def _body(self, content: Content, start: int, faults: set[str], value: float) -> None:
        sent = 0
        for block in _blocks(content, start):
            if faults & {"reset", "truncate", "stall"} and sent + len(block) >= value:
                self.wfile.write(block[: int(value) - sent])
                self.wfile.flush()
                self._break(faults)
                return
            if "chunked" in faults:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            else:
                self.wfile.write(block)
            sent += len(block)
            if "slow" in faults:
                time.sleep(len(block) / value)
        if "chunked" in faults:
            self.wfile.write(b"0\r\n\r\n")

    def _break(self, faults: set[str]) -> None:
        self.close_connection = True
        if "stall" in faults:
            self.owner.closing.wait(30)
        elif "reset" in faults:
            time.sleep(0.02)  # let what was sent arrive before the reset throws it away
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _blocks(content: Content, start: int) -> Iterator[bytes]:
    if isinstance(content, bytes):
        for first in range(start, len(content), 1 << 14):
            yield content[first : min(first + (1 << 14), len(content))]
        return
    with open(content, "rb") as handle:
        handle.seek(start)
        while block := handle.read(1 << 16):
            yield block
