"""A changed byte, a missing file or a forged list is noticed, and said."""

from __future__ import annotations

import hashlib
import io
import random
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from sklearn_lntune import DamagedFileError, LNTunedTransformerClassifier, load

N_SAMPLED = 300
CHECKED = ("SHA256SUMS", "config.json", "delta.safetensors")


@pytest.fixture(scope="module")
def saved(
    tiny_backbone: Callable[..., Path],
    texts: list[str],
    labels: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """``folder``, ``folder.zip`` and ``whole``, which has its backbone with it."""
    clf = LNTunedTransformerClassifier(
        tiny_backbone(), max_epochs=1, min_steps=0, random_state=0, device="cpu"
    )
    parent = tmp_path_factory.mktemp("saved")
    clf.fit(texts, labels).save(parent / "folder")
    clf.save(parent / "folder.zip")
    clf.save(parent / "whole", include_backbone=True)
    return parent


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy, free to damage."""
    return Path(shutil.copytree(saved / "folder", tmp_path / "folder"))


@pytest.fixture
def archive(saved: Path, tmp_path: Path) -> Path:
    """A copy, free to damage."""
    return Path(shutil.copy(saved / "folder.zip", tmp_path / "folder.zip"))


def with_other_byte(content: bytes, position: int, generator: random.Random) -> bytes:
    other = content[position] ^ generator.randint(1, 255)
    return content[:position] + bytes([other]) + content[position + 1 :]


def assert_noticed(path: Path, *named: str) -> None:
    with pytest.raises(DamagedFileError) as caught:
        load(path)
    assert isinstance(caught.value, ValueError)
    for name in (str(path), *named):
        assert name in str(caught.value)


# -- single bytes ------------------------------------------------------------------------


def test_each_changed_byte_of_a_folder_is_noticed(folder: Path) -> None:
    contents = {name: (folder / name).read_bytes() for name in CHECKED}
    places = [(name, i) for name in CHECKED for i in range(len(contents[name]))]
    generator = random.Random(0)
    for name, position in generator.sample(places, N_SAMPLED):
        (folder / name).write_bytes(with_other_byte(contents[name], position, generator))
        assert_noticed(folder, name)
        (folder / name).write_bytes(contents[name])
    load(folder)


def test_each_changed_byte_of_a_zip_is_noticed(archive: Path) -> None:
    content = archive.read_bytes()
    generator = random.Random(0)
    for position in generator.sample(range(len(content)), N_SAMPLED):
        archive.write_bytes(with_other_byte(content, position, generator))
        assert_noticed(archive)
    archive.write_bytes(content)
    load(archive)


@pytest.mark.parametrize("flipped", [0x01, 0x80, 0xFF], ids=hex)
def test_each_changed_byte_of_the_directory_of_a_zip_is_noticed(
    archive: Path, flipped: int
) -> None:
    content = archive.read_bytes()
    with zipfile.ZipFile(archive) as reader:
        start = reader.start_dir
    for position in range(start, len(content)):
        changed = bytearray(content)
        changed[position] ^= flipped
        archive.write_bytes(changed)
        assert_noticed(archive)


def test_a_changed_byte_of_a_backbone_that_came_along_is_noticed(
    saved: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved / "whole", tmp_path / "whole"))
    generator = random.Random(0)
    for file in sorted((folder / "backbone").iterdir()):
        content = file.read_bytes()
        for position in (0, len(content) // 2, len(content) - 1):
            file.write_bytes(with_other_byte(content, position, generator))
            assert_noticed(folder, f"backbone/{file.name}")
        file.write_bytes(content)
    load(folder)


# -- files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKED)
def test_a_truncated_file_is_noticed(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 1):
        (folder / name).write_bytes(content[:size])
        assert_noticed(folder, name)
    (folder / name).write_bytes(content + b"\0")
    assert_noticed(folder, name)


def test_a_truncated_zip_is_noticed(archive: Path) -> None:
    content = archive.read_bytes()
    for size in (*range(0, len(content), 101), *range(len(content) - 100, len(content))):
        archive.write_bytes(content[:size])
        assert_noticed(archive)


@pytest.mark.parametrize("name", CHECKED)
def test_a_missing_file_is_noticed(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert_noticed(folder, name)


@pytest.mark.parametrize("name", ["extra", "config.json.bak", "more/extra", "more/SHA256SUMS"])
def test_an_extra_file_is_noticed(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("")
    assert_noticed(folder, name)


def test_readmes_and_dot_files_are_free(folder: Path) -> None:
    for name in (".gitattributes", "readme.txt", ".cache/some/file", "more/README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("anything")
    (folder / "README.md").write_text("# My own words")
    load(folder)
    (folder / "README.md").unlink()
    load(folder)


def test_a_folder_in_place_of_a_file_is_noticed(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert_noticed(folder, "config.json")


# -- the list of digests -------------------------------------------------------------------

DIGEST = "0123456789abcdef" * 4
FORGERIES: dict[str, Callable[[str], str]] = {
    "empty": lambda sums: "",
    "upper case": lambda sums: sums[:64].upper() + sums[64:],
    "CRLF": lambda sums: sums.replace("\n", "\r\n"),
    "CR": lambda sums: sums.replace("\n", "\r"),
    "a line twice": lambda sums: sums + sums.splitlines(keepends=True)[0],
    "a file twice": lambda sums: f"{sums}{DIGEST}  config.json\n",
    "name first": lambda sums: f"config.json  {sums[:64]}\n" + sums.partition("\n")[2],
    "one space": lambda sums: sums.replace("  ", " ", 1),
    "three spaces": lambda sums: sums.replace("  ", "   ", 1),
    "tab": lambda sums: sums.replace("  ", "\t", 1),
    "binary mark": lambda sums: sums.replace("  ", " *", 1),
    "BSD form": lambda sums: f"SHA256 (config.json) = {sums[:64]}\n" + sums.partition("\n")[2],
    "shorter digest": lambda sums: sums[1:],
    "longer digest": lambda sums: "0" + sums,
    "no last newline": lambda sums: sums[:-1],
    "blank line before": lambda sums: "\n" + sums,
    "blank line behind": lambda sums: sums + "\n",
    "comment": lambda sums: "# digests\n" + sums,
    "byte order mark": lambda sums: "\ufeff" + sums,
    "space behind a name": lambda sums: sums.replace("\n", " \n", 1),
    "dot before a name": lambda sums: sums.replace("  ", "  ./", 1),
    "a file of elsewhere": lambda sums: f"{sums}{DIGEST}  ../config.json\n",
    "an absolute name": lambda sums: f"{sums}{DIGEST}  /config.json\n",
    "a README": lambda sums: f"{sums}{DIGEST}  README.md\n",
    "a dot file": lambda sums: f"{sums}{DIGEST}  .hidden\n",
    "itself": lambda sums: f"{sums}{DIGEST}  SHA256SUMS\n",
    "one file less": lambda sums: sums.partition("\n")[2],
    "one file more": lambda sums: f"{sums}{DIGEST}  more\n",
    "no text": lambda sums: f"{sums}{DIGEST}  \udcff\n",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_the_list_of_digests_is_read_strictly(folder: Path, forge: Callable[[str], str]) -> None:
    sums = folder / "SHA256SUMS"
    forged = forge(sums.read_bytes().decode())
    sums.write_bytes(forged.encode(errors="surrogateescape"))
    assert_noticed(folder, "SHA256SUMS")


# -- zips ----------------------------------------------------------------------------------

Members = Iterable[tuple[str, bytes]]


def sealed(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip whose comment is right, whatever is in it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as writer:
        warnings.simplefilter("ignore")  # of names that come twice
        for name, content in members:
            writer.writestr(name, content)
        writer.comment = b"sha256:" + 64 * b"0"
    body = buffer.getvalue()[: -len(b"sha256:") - 64]
    return body + b"sha256:" + hashlib.sha256(body).hexdigest().encode()


def members_of(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as reader:
        return {name: reader.read(name) for name in reader.namelist()}


def test_the_comment_is_the_digest_of_what_comes_before_it(archive: Path) -> None:
    content = archive.read_bytes()
    with zipfile.ZipFile(archive) as reader:
        said = reader.comment
    assert said == b"sha256:" + hashlib.sha256(content[: -len(said)]).hexdigest().encode()
    assert content.endswith(said)


def test_a_zip_made_again_of_the_same_members_is_read(archive: Path) -> None:
    archive.write_bytes(sealed(members_of(archive).items()))
    load(archive)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_zip_is_refused(archive: Path, compression: int) -> None:
    archive.write_bytes(sealed(members_of(archive).items(), compression))
    assert_noticed(archive)


def test_bytes_around_a_zip_are_noticed(archive: Path) -> None:
    content = archive.read_bytes()
    for changed in (content + b"\0", content + content, b"\0" + content, content[:-71]):
        archive.write_bytes(changed)
        assert_noticed(archive)


FORGED_MEMBERS: dict[str, Callable[[dict[str, bytes]], Members]] = {
    "none": lambda members: [],
    "no list": lambda members: (item for item in members.items() if item[0] != "SHA256SUMS"),
    "one less": lambda members: (item for item in members.items() if item[0] != "config.json"),
    "one more": lambda members: [*members.items(), ("more", b"")],
    "another content": lambda members: (members | {"delta.safetensors": b"other"}).items(),
    "two of a name": lambda members: [("config.json", b"other"), *members.items()],
}


@pytest.mark.parametrize("forge", FORGED_MEMBERS.values(), ids=FORGED_MEMBERS)
def test_the_members_of_a_zip_are_those_of_its_list(
    archive: Path, forge: Callable[[dict[str, bytes]], Members]
) -> None:
    archive.write_bytes(sealed(forge(members_of(archive))))
    assert_noticed(archive)
