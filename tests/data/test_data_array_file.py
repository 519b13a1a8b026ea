"""Files of arrays: what cannot be read says why, before any memory is taken."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from onnxprune.values import array_file
from onnxprune.values.array_file import ArrayFileError, ObjectsError, read_array_file


def member(header: bytes, body: bytes = b"") -> bytes:
    padded = header.ljust(118 - 10 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + body


def archive(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_arrays_come_by_name_and_alone(tmp_path: Path) -> None:
    path, alone = tmp_path / "a.npz", tmp_path / "a.npy"
    np.savez(path, x=np.arange(6.0).reshape(2, 3), names=np.array(["é", "b"]))
    np.save(alone, np.asfortranarray(np.arange(6).reshape(2, 3)))
    found = read_array_file(path)
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["x"], np.arange(6.0).reshape(2, 3))
    assert found["names"].tolist() == ["é", "b"]
    np.testing.assert_array_equal(np.asarray(read_array_file(alone)), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compressed_arrays_are_read(how: int, tmp_path: Path) -> None:
    plain = io.BytesIO()
    np.save(plain, np.arange(5))
    found = read_array_file(archive(tmp_path / "a.npz", {"x.npy": plain.getvalue()}, how))
    assert isinstance(found, dict)
    assert found["x"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no array"),
        (b"no array", "is no array"),
        (
            member(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"),
            "does not fit its 118 bytes",
        ),
        (member(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", b"1234"), "does not fit its 122 bytes"),
        (member(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", b"1234"), "does not fit its 122 bytes"),
        (member(b"{'descr': 'nothing', 'fortran_order': False, 'shape': (1,), }", b"1234"), "is no array"),
        (member(b"{'descr': '<f4', 'shape': (1,), }", b"1234"), "is no array"),
        (member(b"{{{"), "is no array"),
        (b"\x93NUMPY\x07\x00" + bytes(120), "is no array of numbers"),
    ],
)
def test_members_that_are_no_arrays_are_named(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(ArrayFileError, match=r"member 'odd\.npy'") as caught:
        read_array_file(archive(tmp_path / "a.npz", {"odd.npy": content}))
    assert words in str(caught.value)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ArrayFileError):
        read_array_file(tmp_path / "a.npy")


def test_objects_are_never_loaded(tmp_path: Path) -> None:
    body = pickle.dumps(print)
    content = member(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", body)
    with pytest.raises(ObjectsError):
        read_array_file(archive(tmp_path / "a.npz", {"x.npy": content}))


def test_a_small_file_does_not_expand_without_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, x=np.zeros(1 << 20, np.uint8))
    monkeypatch.setattr(array_file, "EXPANDED", 1 << 19)
    with pytest.raises(ArrayFileError, match="expand to"):
        read_array_file(path)
    np.savez(path, x=np.zeros(1 << 20, np.uint8))
    assert len(read_array_file(path)) == 1


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    plain = io.BytesIO()
    np.save(plain, np.arange(5))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", plain.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("x.npy", plain.getvalue())
    with pytest.raises(ArrayFileError, match="'x' twice"):
        read_array_file(tmp_path / "a.npz")


def test_an_encrypted_archive_says_so(tmp_path: Path) -> None:
    plain = io.BytesIO()
    np.save(plain, np.arange(5))
    path = archive(tmp_path / "a.npz", {"x.npy": plain.getvalue()})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of encryption, in both headers
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(ArrayFileError, match="encrypted"):
        read_array_file(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_file_of_arrays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(OSError, match="it is a pipe, a device or a folder"):
        read_array_file(tmp_path / "a.npz")
