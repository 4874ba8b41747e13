"""What tells a camera's own JPEG file from one that a program wrote."""

import functools
import io

from PIL import Image

from exif_jax.reading.containers import jpeg_metadata, quantization_tables
from exif_jax.reading.exif_block import exif_parts
from exif_jax.reading.jpeg_scan import split
from exif_jax.reading.refusal import Refusal

TRACES = ("maker note", "thumbnail", "tables of its own")


def camera_traces(data: bytes) -> dict[str, bool] | None:
    """What a camera writes and programs tend to lose, of a JPEG file with EXIF.

    Args:
      data: The file's bytes.

    Returns:
      Each of TRACES, true where the file has it: a maker note; a thumbnail; quantisation tables
      other than those of the Independent JPEG Group (ITU T.81, annex K, scaled by a quality),
      which most programs use and many cameras do not. None for another format, or without EXIF.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    try:
        jpeg = split(data)
    except Refusal:
        return None
    block, _ = jpeg_metadata(jpeg)
    if not block:
        return None
    parts = exif_parts(block)
    is_standard = standard_quality(quantization_tables(jpeg)) is not None
    return dict(
        zip(TRACES, ("maker note" in parts, "thumbnail" in parts, not is_standard), strict=True)
    )


def standard_quality(tables: bytes) -> int | None:
    """Returns the quality 1..100 at which the IJG's library writes these tables; None if at none.

    Args:
      tables: What all DQT segments of a file hold, one after the other.
    """
    return _standard_tables().get(tables)


@functools.cache
def _standard_tables() -> dict[bytes, int]:
    """The tables of grey and colour photos, by asking the library that Pillow is built on."""
    qualities: dict[bytes, int] = {}
    for mode in ("RGB", "L"):
        for quality in range(100, 0, -1):
            stream = io.BytesIO()
            Image.new(mode, (8, 8)).save(stream, "JPEG", quality=quality)
            qualities[quantization_tables(split(stream.getvalue()))] = quality
    return qualities
