"""EXIF as Pillow's own reader sees it: an independent reference for `reading.exif_block`."""

from PIL import Image

from exif_jax.reading.exif import TAGS, from_values

POINTERS = {"ExifIFD": 0x8769, "InteropIFD": 0xA005}


def from_pillow(exif: Image.Exif) -> dict[str, str]:
    """What `PIL.Image.Image.getexif()` returns -> canonical tags.

    A directory or tag that Pillow cannot read counts as empty.
    """
    directories: dict[str, dict[int, object]] = {}
    for ifd, table in TAGS.items():
        values = directories.setdefault(ifd, {})
        # Pillow decodes lazily: a broken file fails here, with any kind of exception.
        try:
            source = exif if ifd == "IFD0" else exif.get_ifd(POINTERS[ifd])
        except Exception:
            continue
        for tag in table:
            try:
                values[tag.id] = source.get(tag.id)
            except Exception:
                continue
    return from_values(directories)
