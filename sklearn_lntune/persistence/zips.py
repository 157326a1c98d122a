"""One file in place of a folder: a zip that is not compressed, under digests.

Its comment is the digest of all bytes before it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from sklearn_lntune.exceptions import DamagedFileError
from sklearn_lntune.persistence.sums import (
    CARD,
    SUMS,
    Content,
    check_digest,
    check_names,
    core_of,
    is_ours,
    parse_sums,
    sums_of,
)
from sklearn_lntune.persistence.untrusted import open_regular

_COMMENT = re.compile(rb"sha256:([0-9a-f]{64})")
_COMMENT_SIZE = len(b"sha256:") + 64
_END = b"PK\x05\x06"
_END_SIZE = 22
_LOCAL_HEADER_SIZE = 30
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content is the same file
#: How a zip of ours begins: a file that is not compressed, of that date.
_BEGIN = re.compile(rb"PK\x03\x04..\x00\x00\x00\x00\x00\x00\x21\x00", re.DOTALL)
#: What zipfile raises besides its own error.
_ODD_ZIP = (ValueError, OSError, EOFError, RuntimeError, struct.error, OverflowError)


def write_zip(file: Path, files: Mapping[str, Content]) -> None:
    """Write ``files`` and their digests to ``file``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in [*files.items(), (SUMS, sums_of(files))]:
            held = content if isinstance(content, bytes) else content.read_bytes()
            archive.writestr(zipfile.ZipInfo(name, _DATE), held)
        archive.comment = b"sha256:" + b"0" * 64  # of the right length
    body = buffer.getvalue()[:-_COMMENT_SIZE]
    body += b"sha256:" + hashlib.sha256(body).hexdigest().encode()
    file.write_bytes(body)


def check_zip(path: Path, files: Mapping[str, Content]) -> None:
    """Raise a ValueError if replacing ``path`` would be a loss."""
    if not os.path.lexists(path):
        return
    if path.is_dir():
        raise ValueError(f"{path} is a folder; remove it or give another name.")
    if not path.is_file() or (path.stat().st_size and not _is_our_zip(path, files)):
        raise ValueError(
            f"{path} is there already and holds something else, which would be lost. Give a new "
            "name, or delete it."
        )


def _is_our_zip(path: Path, files: Mapping[str, Content]) -> bool:
    """Whether a file was written by `write_zip`, perhaps damaged since."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, *_ODD_ZIP):
        # Cut off, or with a changed byte where the names are: one of its ends tells.
        with open_regular(path) as stream:
            begin = stream.read(_LOCAL_HEADER_SIZE + 255)
            stream.seek(max(0, path.stat().st_size - _COMMENT_SIZE))
            end = stream.read()
        first = begin[_LOCAL_HEADER_SIZE:].startswith(tuple(map(str.encode, core_of(files))))
        return bool((_BEGIN.match(begin) and first) or _COMMENT.fullmatch(end))
    return is_ours(names, (), core_of(files)) and names <= {*files, SUMS, CARD}


def read_zip(file: Path, path: Path) -> dict[str, bytes]:
    """The contents of ``file``, which messages call ``path``, checked."""
    try:
        stream = open_regular(file)
    except ValueError as error:
        raise DamagedFileError(f"{path} is not a saved classifier: {error}.") from error
    with stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - _COMMENT_SIZE - _END_SIZE))
        end = stream.read()
        said = _COMMENT.fullmatch(end[_END_SIZE:])
        if said is None or not end.startswith(_END):  # before it is read, whatever its size
            raise DamagedFileError(
                f"{path} is damaged at its end, or is not a zip of a saved classifier."
            )
        stream.seek(0)
        whole = stream.read()
    intact = hashlib.sha256(whole[:-_COMMENT_SIZE]).hexdigest().encode() == said[1]
    try:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            _check_entries(archive)
            contents = {name: archive.read(name) for name in archive.namelist()}
        listed = parse_sums(contents.pop(SUMS, b""), path)
        check_names(listed, contents, path)
        for name, digest in listed.items():
            check_digest(name, digest, hashlib.sha256(contents[name]).hexdigest(), path)
    except DamagedFileError:
        raise
    except (zipfile.BadZipFile, *_ODD_ZIP) as error:
        raise DamagedFileError(f"{path} is damaged: its directory cannot be read.") from error
    if not intact:
        raise DamagedFileError(
            f"{path} is damaged: its files are whole, but not all of its bytes are as they were "
            "written."
        )
    return contents


def _check_entries(archive: zipfile.ZipFile) -> None:
    """Raise where entries could unpack to more than the zip weighs."""
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    if len({entry.filename for entry in entries}) < len(entries):
        raise zipfile.BadZipFile("a name twice")
    end = 0
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise zipfile.BadZipFile("compressed")
        if entry.header_offset < end:
            raise zipfile.BadZipFile("overlapping entries")
        end = entry.header_offset + _LOCAL_HEADER_SIZE + entry.file_size
    if end > archive.start_dir:
        raise zipfile.BadZipFile("an entry beyond its end")
