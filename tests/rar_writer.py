"""Writes RAR archives of stored members (method 0x30), version 3 and 5, byte by byte after the published format.

Only what tests need: files, links, volumes between members. Independent of the code that reads them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

Members = Iterable[tuple[bytes | str, bytes]]


def write_rar(path: Path, members: Members, version: int = 5, *, links: Members = ()) -> Path:
    """An archive of (name, content), and symbolic links of (name, destination). Names are bytes, or UTF-8."""
    write = rar5 if version == 5 else rar3
    path.write_bytes(write(members, links))
    return path


def rar5(members: Members, links: Members = (), *, link_kind: int = 1) -> bytes:
    """`link_kind`: 1 symbolic, 4 hard link, 5 file copy."""
    blocks = [_block5(1, _vint(0))]
    for name, content in members:
        blocks.append(_block5(2, _file5(name, content), data=content))
    for name, destination in links:
        where = _bytes(destination)
        record = _vint(5) + _vint(link_kind) + _vint(0) + _vint(len(where)) + where
        blocks.append(_block5(2, _file5(name, b""), extra=_vint(len(record)) + record))
    return b"Rar!\x1a\x07\x01\x00" + b"".join(blocks) + _block5(5, _vint(0))


def _file5(name: bytes | str, content: bytes) -> bytes:
    encoded = _bytes(name)
    # flags: CRC-32 stated; unpacked size; mode; CRC; stored, version 0; made on Unix; name
    head = _vint(4) + _vint(len(content)) + _vint(0o100644) + struct.pack("<I", zlib.crc32(content))
    return head + _vint(0) + _vint(1) + _vint(len(encoded)) + encoded


def _block5(kind: int, fields: bytes, *, extra: bytes = b"", data: bytes | None = None) -> bytes:
    flags = (1 if extra else 0) | (2 if data is not None else 0)
    sizes = (_vint(len(extra)) if extra else b"") + (_vint(len(data)) if data is not None else b"")
    body = _vint(kind) + _vint(flags) + sizes + fields + extra
    sized = _vint(len(body)) + body
    return struct.pack("<I", zlib.crc32(sized)) + sized + (data or b"")


def _vint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def rar3(members: Members, links: Members = (), *, main: int = 0, end: int = 0) -> bytes:
    """`main`, `end`: flags of these blocks, for volumes: 0x1 volume, 0x10 new numbering, 0x100 first; 0x1 more follow."""
    blocks = [_block3(0x73, main, bytes(6))]
    blocks += [_file3(name, content, 0o100644) for name, content in members]
    blocks += [_file3(name, _bytes(destination), 0o120777) for name, destination in links]
    return b"Rar!\x1a\x07\x00" + b"".join(blocks) + _block3(0x7B, 0x4000 | end, b"")


def _file3(name: bytes | str, content: bytes, mode: int) -> bytes:
    encoded = _bytes(name)
    flags = 0x8000 | (0x200 if isinstance(name, str) and not name.isascii() else 0)
    date = (2026 - 1980) << 25 | 1 << 21 | 1 << 16
    # sizes, made on Unix, CRC, date, needs version 2.0, stored
    about = struct.pack("<IIBIIBB", len(content), len(content), 3, zlib.crc32(content), date, 20, 0x30)
    return _block3(0x74, flags, about + struct.pack("<HI", len(encoded), mode) + encoded) + content


def _block3(kind: int, flags: int, fields: bytes) -> bytes:
    body = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body


def _bytes(name: bytes | str) -> bytes:
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
