"""What tests of sources share: reading all of a source, and writing a tar shard."""

import io
import pathlib
import tarfile

from data_prep.sources.listing import list_chunks, read_chunk
from data_prep.sources.raw_photo import RawPhoto


def read_all(source) -> list[RawPhoto]:
    chunks, _ = list_chunks(str(source), 5)
    return [photo for chunk in chunks for photo in read_chunk(chunk)]


def problems(photos: list[RawPhoto]) -> list[tuple[str, str]]:
    return [(photo.id, photo.problem[0]) for photo in photos if photo.problem]


def shard(path: pathlib.Path, members: list[tuple[str, bytes]]) -> pathlib.Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
