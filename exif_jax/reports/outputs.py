"""What a person gets to see of a localisation: the overlay picture, the raw map and the JSON.

Every file is written aside and then put in place, so that it appears whole or not at all.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import os
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import exif_jax
from exif_jax.forensics.regions import region_json
from exif_jax.forensics.verdict import SIGNS, support
from exif_jax.io.atomic import replacing, write_bytes
from exif_jax.io.text import json_bytes, printable
from exif_jax.reports.render import overlay_image, png_bytes

if TYPE_CHECKING:
    from exif_jax.forensics.methods import LocalizationSettings
    from exif_jax.forensics.result import Localization
    from exif_jax.reading.photo import Photo

JSON_VERSION = 2
"""Of the JSON report; docs/json.md says what it holds and what changed."""

# Of all files that are written for a photo NAME.
_ENDINGS = (".overlay.png", ".map.npy", ".mask.png", ".html", ".json", ".verify.json")


def output_names(
    paths: Iterable[pathlib.PurePath], taken: Collection[str] = frozenset()
) -> list[str]:
    """Chooses one safe name per photo for its results: its stem, told apart where two are alike.

    Letters and digits of any script stay; a name never holds a separator, starts with a dot or a
    dash, or exceeds 130 bytes. Names that differ in case only count as alike.

    Args:
        paths: the photos.
        taken: names in casefold that are not to be used.
    """
    names, used = [], set(taken)
    for path in paths:
        safe = _safe_name(path.stem)
        name, number = safe, 1
        while name.casefold() in used:
            number += 1
            name = f"{safe}-{number}"
        used.add(name.casefold())
        names.append(name)
    return names


def _safe_name(stem: str) -> str:
    safe = "".join(c if c.isalnum() or c in "-_. ()+@" else "_" for c in stem)
    safe = safe.encode("utf-8", "replace")[:120].decode("utf-8", "ignore").rstrip(". ")
    return f"_{safe}" if not safe or safe[0] in ".- " else safe


def names_in(folder: pathlib.Path) -> set[str]:
    """The names, in casefold, under which a folder holds results or what looks like them.

    A side-car photo.json of the user's own is none of ours to write over. Links are no results:
    what is written takes their place and leaves alone what they lead to.
    """
    names = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            for ending in _ENDINGS:
                if entry.name.endswith(ending) and entry.is_file(follow_symlinks=False):
                    names.add(entry.name.removesuffix(ending).casefold())
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
    photo: Photo,
    name: str,
    model_id: str,
    settings: LocalizationSettings,
    localization: Localization,
    calibration: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The JSON report of one photo, as plain types; see `JSON_VERSION`.

    `p_value` and `band` are null where the photo cannot be judged; `reason` says why. The date is
    that of the analysis, in UTC.

    Args:
        photo: as read; `name` is how it is called.
        model_id: of the model.
        settings: what it was localised with.
        localization: of the photo.
        calibration: of the model.
    """
    about: dict[str, Any] = {}
    if calibration and localization.band is not None:
        about = calibration["scores"][localization.scored_by].get("measured_on", {})
    judgement = localization.judgement
    height, width = localization.heatmap.shape
    grid = localization.grid
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
        | {"map_model": localization.map_id}
        | {"patch": grid.patch, "stride": grid.stride, "rows": grid.rows, "columns": grid.columns},
        "size": {"width": width, "height": height},
        "orientation": photo.orientation,
        "share_of_map": localization.share_of_map,
        "scored_by": localization.scored_by,
        "score": localization.score,
        "verdict": localization.verdict,
        "band": judgement.band,
        "reason": judgement.reason,
        "p_value": judgement.p_value,
        "p_value_is_extrapolated": judgement.extrapolated,
        "likelihood_ratio": judgement.likelihood_ratio,
        "support": support(judgement.likelihood_ratio),
        "region": region_json(localization.mask, localization.threshold),
        "calibration": about,
        "note": "; ".join(photo.notes),
        "exif": dict(photo.exif),
    }


def write_outputs(
    out: pathlib.Path,
    name: str,
    photo: Photo,
    localization: Localization,
    report: dict[str, Any],
    page: bytes | None = None,
    mask: bool = False,
) -> None:
    """Writes NAME.overlay.png, NAME.map.npy, NAME.html (of a page) and, last, NAME.json.

    With `mask` also NAME.mask.png, 255 where the map singles the photo out and 0 elsewhere, as
    many pixels as the photo has, as stored. The overlay has the region's outline where there is a
    sign of a splice.

    Raises:
        OSError: one of them cannot be written.
    """
    grid = localization.grid
    patches = f"{grid.rows} x {grid.columns} patches of {grid.patch} px"
    verdict = localization.verdict
    if localization.p_value is not None:
        verdict += f", p = {localization.p_value:.3f}"
    reason = "" if localization.band else localization.reason
    words = [f"score {localization.score:.3f} ({verdict})", reason, report["note"], patches]
    outline = report["region"]["coordinates"] if localization.band in SIGNS else ()
    subtitle = "   ".join(filter(None, [*words, f"model {report['model']}"]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the disk works beside the encoder
        map_written = pool.submit(write_map, out / f"{name}.map.npy", localization.heatmap)
        picture = overlay_image(
            photo.pixels,
            localization.heatmap,
            report["file"],
            subtitle,
            photo.orientation,
            outline,
        )
        write_bytes(out / f"{name}.overlay.png", png_bytes(picture))
        if mask:
            picture = Image.fromarray(localization.mask.astype(np.uint8) * 255)
            write_bytes(out / f"{name}.mask.png", png_bytes(picture))
        map_written.result()
    if page is not None:
        write_bytes(out / f"{name}.html", page)
    write_bytes(out / f"{name}.json", json_bytes(report))


def write_map(path: str | os.PathLike, values: np.ndarray) -> None:
    """Writes a float32 .npy file that appears whole or not at all. Raises OSError."""
    with replacing(path) as file:
        np.save(file, np.asarray(values, np.float32), allow_pickle=False)
