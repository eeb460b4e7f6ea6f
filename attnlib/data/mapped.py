"""Arrays too large for memory: memory-mapped from their file and read on access."""

import hashlib
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout  # torch's own dependency
from numpy.typing import NDArray

CHUNK = 2**20  # bytes
SHARE = 1 / 4  # of the machine's memory; a larger array is mapped
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Images (N, H, W, 3) that stay in a file until they are read: ``positions`` of a mapped array.

    Grey images (N, H, W, 1) in the file are read as three equal channels.
    """

    array: NDArray[np.uint8]
    positions: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as of an array."""
        return (len(self.positions), *self.array.shape[1:3], 3)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, places: Any) -> NDArray[np.uint8]:
        found = np.asarray(self.array[self.positions[places]])
        return np.repeat(found, 3, axis=-1) if found.shape[-1] == 1 else found

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the location in the file: a worker maps it again instead of receiving a copy."""
        found = self.array
        if not isinstance(found, np.memmap):
            return MappedImages, (found, self.positions)
        order = "C" if found.flags.c_contiguous else "F"
        place = (found.filename, found.dtype, "r", found.offset, found.shape, order)
        return _map_again, (place, self.positions)

    def select(self, positions: Sequence[int] | NDArray[np.int64]) -> "MappedImages":
        """The images at ``positions``, in that order, still in the file."""
        return MappedImages(self.array, self.positions[np.asarray(positions)])


def _map_again(place: tuple[Any, ...], positions: NDArray[np.int64]) -> MappedImages:
    return MappedImages(np.memmap(*place), positions)


def memory_limit() -> float:
    """Bytes from which on an array is mapped; infinite if the machine's memory is unknown."""
    try:
        return SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return float("inf")


def load_member(path: Path, name: str, folder: Path) -> NDArray[Any]:
    """One array of an .npz archive: read, or mapped if it is large.

    A compressed array can't be mapped and is first unpacked to ``folder``, once.

    Raises:
        ValueError: If the array holds objects or its header version is unknown.
    """
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.file_size <= memory_limit():
            with archive.open(member) as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
        if member.compress_type == zipfile.ZIP_STORED:
            return map_array(path, _data_start(path, member))
        status = path.stat()
        key = os.fsencode(f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {name}")
        file = folder / f"{hashlib.sha256(key).hexdigest()[:16]}.npy"
        folder.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(folder)
        with FileLock(f"{file}.lock"):
            if not _is_copy(file, member):
                _unpack(archive, member, file)
    return map_array(file, 0)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> None:
    """Write a member to a file; reading it to its end checks its CRC.

    Raises:
        ValueError: If there is too little space.
    """
    file.unlink(missing_ok=True)
    free = shutil.disk_usage(file.parent).free
    if free < member.file_size:
        raise ValueError(
            f"{member.filename} needs {member.file_size:,} bytes unpacked, and {free:,} are free "
            f"in {file.parent}; free space there, set ATTNLIB_DATA to another folder, or save the "
            f"archive uncompressed (numpy.savez)"
        )
    partial = file.with_suffix(".part")
    with archive.open(member) as stream, partial.open("wb") as copy:
        shutil.copyfileobj(stream, copy, CHUNK)
        copy.flush()
        os.fsync(copy.fileno())
    partial.replace(file)


def _is_copy(file: Path, member: zipfile.ZipInfo) -> bool:
    """Whether an unpacked file has the member's size and CRC."""
    if not file.is_file() or file.stat().st_size != member.file_size:
        return False
    found = 0
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            found = zlib.crc32(chunk, found)
    return found == member.CRC


def _clear_leftovers(folder: Path) -> None:
    """Remove leftovers of killed unpackings: parts whose lock no process holds."""
    for part in folder.glob("*.part"):
        try:
            with FileLock(f"{folder / part.name.partition('.')[0]}.npy.lock", timeout=0):
                part.unlink(missing_ok=True)
        except Timeout:
            continue  # another process is writing it


def map_array(path: Path, start: int) -> NDArray[Any]:
    """The array whose .npy content begins at byte ``start`` of a file.

    Raises:
        ValueError: If the array holds objects or its header version is unknown.
    """
    with path.open("rb") as file:
        file.seek(start)
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(
                f"an array header of version {version}; known: {', '.join(map(str, HEADERS))}"
            )
        shape, is_fortran, dtype = HEADERS[version](file)
        if dtype.hasobject:
            raise ValueError(f"an array of {dtype}, which is not unpickled")
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if is_fortran else "C")


def _data_start(path: Path, member: zipfile.ZipInfo) -> int:
    """Offset of a stored member's data, after its local header of variable length."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        name, extra = struct.unpack("<26xHH", file.read(30))
    return member.header_offset + 30 + name + extra
