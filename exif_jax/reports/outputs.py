"""What a person gets to see of a localisation: the overlay picture, the raw map and the JSON.

Every file is written aside and then put in place, so that it appears whole or not at all.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import exif_jax
from exif_jax.io.atomic import replacing, write_bytes
from exif_jax.io.text import json_bytes, printable
from exif_jax.reports.render import overlay_image, png_bytes

if TYPE_CHECKING:
    from exif_jax.forensics.localization import Localization, Settings
    from exif_jax.reading.photo import Photo

JSON_VERSION = 1


def output_names(
    paths: Iterable[pathlib.PurePath], known: Mapping[str, str] | None = None
) -> list[str]:
    """One safe name per photo for its outputs: the file's stem, told apart where two are alike.

    Letters and digits of any script stay; a name never holds a separator, starts with a dot or a
    dash, or exceeds 120 bytes. Names that differ in case only count as alike. `known` holds names
    that paths were given before; they keep them.
    """
    known = known or {}
    names, used = [], {name.casefold() for name in known.values()}
    for path in paths:
        if str(path) in known:
            names.append(known[str(path)])
            continue
        safe = "".join(c if c.isalnum() or c in "-_. ()+@" else "_" for c in path.stem)
        safe = safe.encode("utf-8", "replace")[:120].decode("utf-8", "ignore").rstrip(". ")
        if not safe or safe[0] in ".- ":
            safe = "_" + safe
        name, number = safe, 1
        while name.casefold() in used:
            number += 1
            name = f"{safe}-{number}"
        used.add(name.casefold())
        names.append(name)
    return names


def prepare_folder(out: pathlib.Path) -> str:
    """Makes the folder and tries to write there; why that fails, in words, or ""."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".exif-jax-{os.urandom(4).hex()}.tmp"
        with replacing(probe):
            pass
        probe.unlink()
    except OSError as e:
        return (
            f"{printable(out)}: cannot write to the output folder ({e.strerror}); "
            "choose a folder that you may write to"
        )
    return ""


def make_report(
    photo: Photo, name: str, model_id: str, settings: Settings, found: Localization
) -> dict[str, Any]:
    """The JSON report of one photo, as plain types; see `JSON_VERSION`.

    `p_value` and `band` are null where the model carries no calibration. The date is that of the
    analysis, in UTC.
    """
    height, width = found.heatmap.shape
    grid = found.grid
    return {
        "version": JSON_VERSION,
        "tool": f"exif-jax {exif_jax.__version__}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "file": name,
        "sha256": photo.sha256,
        "num_bytes": photo.num_bytes,
        "format": photo.format,
        "model": model_id,
        "settings": dataclasses.asdict(settings)
        | {"patch": grid.patch, "stride": grid.stride, "rows": grid.rows, "columns": grid.columns},
        "size": {"width": width, "height": height},
        "orientation": photo.orientation,
        "score": found.score,
        "p_value": found.p_value,
        "band": found.band,
        "note": "; ".join(filter(None, [found.note, *photo.notes])),
        "exif": dict(photo.exif),
    }


def write_outputs(
    out: pathlib.Path,
    name: str,
    photo: Photo,
    found: Localization,
    facts: dict[str, Any],
    page: bytes | None = None,
) -> None:
    """Writes NAME.overlay.png, NAME.map.npy, NAME.html (of a page) and, last, NAME.json.

    Raises OSError.
    """
    patches = f"{found.grid.rows} x {found.grid.columns} patches of {found.grid.patch} px"
    p_value = (
        "not calibrated" if found.p_value is None else f"{found.band}, p = {found.p_value:.3f}"
    )
    subtitle = f"score {found.score:.3f} ({p_value})   {patches}   model {facts['model']}"
    if found.note:
        subtitle += f"   {found.note}"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the disk works beside the encoder
        mapped = pool.submit(write_map, out / f"{name}.map.npy", found.heatmap)
        picture = overlay_image(
            photo.pixels, found.heatmap, facts["file"], subtitle, photo.orientation
        )
        write_bytes(out / f"{name}.overlay.png", png_bytes(picture))
        mapped.result()
    if page is not None:
        write_bytes(out / f"{name}.html", page)
    write_bytes(out / f"{name}.json", json_bytes(facts))


def write_map(path: str | os.PathLike, values: np.ndarray) -> None:
    """Writes a float32 .npy file that appears whole or not at all. Raises OSError."""
    with replacing(path) as file:
        np.save(file, np.asarray(values, np.float32), allow_pickle=False)
