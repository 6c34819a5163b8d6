"""One file over HTTP into `<name>.part`: resumed, retried with growing pauses, never longer or shorter than announced.

Beside the part lies `<name>.part.json`: where the bytes came from, how many there will be, and the server's word for
this very version of the file (ETag or Last-Modified; RFC 9110, 8.8 and 13.1.5). Bytes are only ever appended to a part of
the same version; when the server's file has changed, or it does not honour ranges, the part begins again.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import ssl
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from harbench import __version__
from harbench.errors import ArchiveError, DownloadError
from harbench.files import write_text

log = logging.getLogger(__name__)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_BUSY = (408, 425, 429)
"""Refusals that may pass, like every 5xx."""
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class FetchConfig:
    """How archives are fetched."""

    insecure: bool = False
    """Do not verify TLS certificates; only for archives whose checksum is known."""
    accept_hash: bool = False
    """Take an archive that is not the known one."""
    urls: tuple[str, ...] = ()
    """The user's own mirrors, each `NAME=URL` or `URL`."""
    limit_rate: int | None = None
    """Bytes a second."""
    timeout: float = 60.0
    """Seconds without a byte after which a connection counts as dead."""
    retries: int = 6
    """Attempts in a row that may bring nothing new."""
    pause: float = 1.0
    """Seconds before the first of them; doubled each time, a minute at most."""


@dataclass(frozen=True)
class _Part:
    """What a part is a part of."""

    source: str
    total: int | None
    validator: str
    """Strong ETag, else Last-Modified; empty: the server names no version."""


def open_client(config: FetchConfig) -> httpx.Client:
    """An HTTP client; proxies and SSL_CERT_FILE of the environment are honoured."""
    return httpx.Client(
        verify=not config.insecure,
        follow_redirects=True,
        max_redirects=10,
        timeout=httpx.Timeout(config.timeout, connect=min(30.0, config.timeout)),
        headers={"User-Agent": f"harbench/{__version__}", "Accept-Encoding": "identity"},
    )


def part_of(path: Path) -> Path:
    """Where a file is while it is not whole."""
    return path.with_name(path.name + ".part")


def begun_from(path: Path, url: str) -> bool:
    """Whether a part of `path` came from this address."""
    known = _remembered(part_of(path))
    return known is not None and known.source == _source(url)


def total_of(path: Path) -> int | None:
    """Bytes that the file will have, as the server of its part says."""
    known = _remembered(part_of(path))
    return known.total if known else None


def discard_part(path: Path) -> None:
    """Remove a part and what is remembered of it."""
    _memory(part_of(path)).unlink(missing_ok=True)  # first: a part without it is never appended to
    part_of(path).unlink(missing_ok=True)


def transfer(client: httpx.Client, url: str, path: Path, config: FetchConfig, expected: int | None) -> Iterator[int]:
    """Bring `url` into the part of `path`; yields how many bytes are there, from where an earlier attempt ended.

    Raises:
        DownloadError: this address will not give the file (401, 403, 404, a web page, another size than `expected`, a
            certificate, a loop of redirects), or `config.retries` attempts in a row brought nothing. What came is kept.
        ArchiveError: the disk is too small; nothing was written then.
    """
    part = part_of(path)
    best, failures, restarts = _size(part), 0, 0
    while True:
        try:
            for there in _attempt(client, url, part, config, expected):
                if there < best:  # begun again
                    best, restarts = there, restarts + 1
                if there > best:
                    best, failures = there, 0
                yield there
            return
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = _reason(error, config)
            failures += 1
            if _is_final(error):
                raise DownloadError(reason) from None
            never_reached = isinstance(error, httpx.ConnectError) and best <= 0
            if failures > (1 if never_reached else config.retries) or restarts > config.retries:
                raise DownloadError(f"{reason} (given up after {failures + restarts} attempts)") from None
            pause = min(config.pause * 2 ** (failures - 1), _LONGEST_PAUSE)
            log.info("%s: %s; again in %.0f s", path.name, reason, pause)
            time.sleep(pause)


def _attempt(client: httpx.Client, url: str, part: Path, config: FetchConfig, expected: int | None) -> Iterator[int]:
    """One request, for what is still missing. Raises httpx.HTTPError for what another attempt may mend."""
    known = _remembered(part)
    if known is not None and known.source != _source(url):
        known = None
    there = _size(part) if known else 0
    if known and there == known.total:  # killed before it got its name
        yield there
        return
    with client.stream("GET", url, headers=_range(there, known)) as response:
        if response.status_code == 416 and known and there and _content_range(response) == (None, there):
            yield there
            return
        if response.status_code in (206, 416) and not _continues(response, there, known):
            _start_again(part, None)
            raise httpx.RemoteProtocolError("the server's file has changed, or it answers with another range")
        _refuse(response)
        encoded = _is_encoded(response, part)
        if response.status_code != 206:
            there, total = 0, None if encoded else _content_length(response)
            _check_size(total, expected)
            _check_room(part, total, 0)
            # An encoded answer is another representation: nothing can be appended to it later.
            _start_again(part, None if encoded else _Part(_source(url), total, _validator(response)))
        else:
            assert known is not None
            total = known.total
            _check_room(part, total, there)
        yield there
        yield from _write(response.iter_bytes() if encoded else response.iter_raw(), part, there, config)
    if total is not None and _size(part) != total:
        raise httpx.RemoteProtocolError(f"{_size(part)} of {total} bytes came")


def _write(chunks: Iterator[bytes], part: Path, there: int, config: FetchConfig) -> Iterator[int]:
    """Append to the part, no faster than asked for."""
    began, first = time.monotonic(), there
    with open(part, "ab") as handle:
        for chunk in chunks:
            try:
                handle.write(chunk)
                handle.flush()
            except OSError as error:
                raise ArchiveError(
                    f"{part} cannot be written: {error.strerror}. What came is kept; make room and repeat the command"
                ) from None
            there += len(chunk)
            yield there
            if config.limit_rate:
                time.sleep(max(0.0, (there - first) / config.limit_rate - (time.monotonic() - began)))


# ------------------------------------------------------------------------------------------------- what a server says
def _range(there: int, known: _Part | None) -> dict[str, str]:
    if not there or known is None:
        return {}
    asked = {"Range": f"bytes={there}-"}
    return asked | {"If-Range": known.validator} if known.validator else asked


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """First byte and total of a Content-Range."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
    if not found:
        return None, None
    first, total = found.groups()
    return int(first) if first else None, int(total) if total != "*" else None


def _continues(response: httpx.Response, there: int, known: _Part | None) -> bool:
    """Whether an answer is the rest of the very file that the part is of. Some servers ignore If-Range."""
    start, total = _content_range(response)
    return (
        response.status_code == 206
        and known is not None
        and start == there
        and total in (None, known.total)
        and _validator(response) in ("", known.validator)
        and response.headers.get("content-encoding", "identity") == "identity"
    )


def _validator(response: httpx.Response) -> str:
    etag: str = response.headers.get("etag", "")
    if etag and not etag.startswith("W/"):  # a weak one may stand for other bytes
        return etag
    modified: str = response.headers.get("last-modified", "")
    return modified


def _content_length(response: httpx.Response) -> int | None:
    length = response.headers.get("content-length", "")
    return int(length) if length.isdigit() else None


def _is_encoded(response: httpx.Response, part: Path) -> bool:
    """Whether the answer is compressed for the way. Servers say so of .gz files too, which are meant to stay packed."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    return encoding not in ("", "identity") and not part.name.endswith((".gz.part", ".tgz.part"))


def _refuse(response: httpx.Response) -> None:
    response.raise_for_status()
    if response.headers.get("content-type", "").startswith("text/html"):
        raise DownloadError("answers with a web page, not with the archive")


def _check_size(total: int | None, expected: int | None) -> None:
    if total is not None and expected is not None and total != expected:
        raise DownloadError(f"offers {total} bytes where the archive has {expected}")


def _check_room(part: Path, total: int | None, there: int) -> None:
    # What a part that begins again occupies is given back before it grows.
    free = shutil.disk_usage(part.parent).free + (_size(part) if there == 0 else 0)
    if total is not None and total - there > free:
        raise ArchiveError(
            f"{part.name.removesuffix('.part')} needs {(total - there) / 1e9:.2f} GB more, and only {free / 1e9:.2f} GB "
            f"are free in {part.parent}; make room, or say   harbench --home OTHER_DISK prepare ..."
        )


def _is_final(error: Exception) -> bool:
    """Whether asking this address again is pointless."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status < 500 and status not in _BUSY
    hopeless = (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError)
    return isinstance(error, hopeless) or _certificate_problem(error) is not None


def _reason(error: Exception, config: FetchConfig) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code} {error.response.reason_phrase}".strip()
    if isinstance(error, httpx.TimeoutException):
        return f"not a byte in {config.timeout:g} s"
    if problem := _certificate_problem(error):
        return f"its TLS certificate cannot be verified ({problem}); --insecure goes without, where a checksum is known"
    return str(error) or type(error).__name__


def _certificate_problem(error: BaseException | None) -> str | None:
    """What is wrong with the certificate, if that is what is wrong."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None


# --------------------------------------------------------------------------------------------------------- the memory
def _memory(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _remembered(part: Path) -> _Part | None:
    try:
        return _Part(**json.loads(_memory(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none, or not ours: the part begins again
        return None


def _start_again(part: Path, what: _Part | None) -> None:
    """An empty part; remembered as a part of `what` only once it is empty."""
    _memory(part).unlink(missing_ok=True)
    part.write_bytes(b"")
    if what is not None:
        write_text(_memory(part), json.dumps(asdict(what)))


def _source(url: str) -> str:
    """An address without its query and credentials, which signed links change every day."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
