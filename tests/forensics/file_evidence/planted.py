"""A gallery of made cameras, and files judged against it."""

from __future__ import annotations

import functools

from camera_file import camera_file, scene

from exif_jax.forensics.file_evidence import examine, gallery
from exif_jax.forensics.file_evidence.facts import gather
from exif_jax.forensics.file_evidence.gallery import Gallery
from exif_jax.reading.photo import Photo, read_photo

# Tables that no program has as its standard.
ACME_TABLES = [[3 + k // 3 for k in range(64)], [4 + k // 2 for k in range(64)]]
OTHER_TABLES = [[5 + k // 4 for k in range(64)], [6 + k // 3 for k in range(64)]]
NOTE = b"Acme note" + bytes(20)


def acme(seed: int = 0, model: str = "One", **more) -> bytes:
    """A file as cameras of Acme write it."""
    camera = {0x927C: NOTE, **more.pop("camera", {})}
    image = more.pop("image", None) or scene(seed=seed)
    options = {"qtables": ACME_TABLES, **more}
    return camera_file(image, "Acme", model, camera=camera, **options)


@functools.cache
def planted_gallery() -> Gallery:
    """Eight photos each of Acme's models One, Two and Three, and of Other's Uno; four sources."""
    records = []
    for k in range(8):
        for model in ("One", "Two", "Three"):
            records.append((acme(10 * k, model), f"{model}{k % 4}"))
        other = camera_file(
            scene(seed=k), "Other Corp.", "Uno", software="OtherCam 1.2", qtables=OTHER_TABLES
        )
        records.append((other, f"other{k % 4}"))
    empty = gallery.count([])
    counted = gallery.count(
        (gather(read_photo(data), empty).record, source) for data, source in records
    )
    names = [rule.name for rule in examine.RULES]
    return counted._replace(false_alarms={name: (0, 200) for name in names})


def verdicts(data: bytes | Photo) -> dict[str, str]:
    """Rule -> verdict of a file against the planted gallery."""
    photo = data if isinstance(data, Photo) else read_photo(data)
    return {f.rule: f.verdict for f in examine.examine(photo, planted_gallery()).findings}


def sentences(data: bytes) -> dict[str, str]:
    findings = examine.examine(read_photo(data), planted_gallery()).findings
    return {f.rule: f.sentence for f in findings}


def contradicted(data: bytes) -> set[str]:
    return {rule for rule, verdict in verdicts(data).items() if verdict == "contradicts"}
