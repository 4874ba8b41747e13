"""The report of one photo as one HTML file: for reading, exploring, printing and filing.

Nothing in it comes from elsewhere and nothing in it runs but our own script, by a content security
policy that names the hashes of script and style. The markup is in page.html; whatever is put into
it is escaped unless it is markup already. Names and EXIF are hostile text: they are bounded, and
what a reader could not see in them (controls, bidirectional overrides) is spelled out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from exif_jax.reports.explorer import explorer_data
from exif_jax.reports.file_section import file_section
from exif_jax.reports.markup import Markup, fill, join, visible
from exif_jax.reports.render import LUT, data_uri, upright
from exif_jax.reports.verdict_section import outline_of, verdict_section

if TYPE_CHECKING:
    from exif_jax.forensics.file_evidence.examine import FileEvidence
    from exif_jax.forensics.result import Localization
    from exif_jax.forensics.statement import Statement
    from exif_jax.reading.photo import Photo

_HERE = pathlib.Path(__file__).parent
_PHOTO_SIDE, _MAP_SIDE = 1400, 500

_WORDS = {
    "photo": "The photo as it is, turned upright.",
    "map": "Bright parts resemble the rest of the photo least. The scale is fixed, from like it "
    "(0) to unlike it (1); it is never stretched.",
    "parts": "The patches in the two parts that differ most. There are always two, in a pristine "
    "photo too.",
    "colours": "The three main directions in which patches differ, as red, green and blue: like "
    "colours, like traces.",
    "explore": "",
}
_LIMITS = (
    "Fakes made within one photo or with one camera: retouching, parts moved inside the frame, "
    "AI filling that was not recompressed apart. They are consistent by construction.",
    "Pictures that a model generated as a whole, staged scenes, a photo of a print or a screen.",
    "Copies from social networks and messengers, screenshots, scans, and photos that were resized "
    "or strongly compressed: the traces are gone.",
    "Panoramas, HDR and computational photos, strong blur, large flat or burnt-out areas: they "
    "differ from place to place without any splice, and give false alarms.",
    "The score is evidence, not proof; chance and likelihood ratio were measured on photos and "
    "splices that may not resemble this one, and neither says how probable a splice is.",
)


def make_html(
    photo: Photo,
    localization: Localization,
    report: Mapping[str, Any],
    pca: np.ndarray,
    file: tuple[FileEvidence, Statement] | None = None,
) -> bytes:
    """Makes the page.

    Args:
        photo: as read.
        localization: of the photo.
        report: of `outputs.make_report`; keys that are missing are left out or said to be
            unknown.
        pca: uint8 [rows, columns, 3], `affinity.pca_colours`.
        file: what the file says against what it is; no section of it where None.

    Returns:
        UTF-8, the same for the same arguments.
    """
    style, script = _style_and_script()
    sections = [
        verdict_section(report, _base_name(report)),
        _viewer(photo, localization, report, pca),
        *([_file(photo, *file)] if file else []),
        _exif_comparison(report),
        _exif_table(report),
        _section("What this method cannot see", _list(_LIMITS)),
        _record(report),
    ]
    page = fill(
        "page",
        policy=Markup(content_policy()),
        title=visible(_base_name(report), 80),
        style=Markup(style),
        body=join(sections, "\n"),
        script=Markup(script),
    )
    return f"{page}\n".encode("utf-8", "replace")


def content_policy() -> str:
    """The content security policy of the page: its own style and script by their hashes."""
    style, script = map(_source_hash, _style_and_script())
    return (
        f"default-src 'none'; img-src data:; style-src {style}; script-src {script}; "
        "base-uri 'none'; form-action 'none'"
    )


def _style_and_script() -> tuple[str, str]:
    return (_HERE / "page.css").read_text("utf-8"), (_HERE / "page.js").read_text("utf-8")


def _base_name(report: Mapping[str, Any]) -> str:
    """The file's name without its folders; the record has it whole."""
    return str(report.get("file", "")).replace("\\", "/").rpartition("/")[2]


def _source_hash(text: str) -> str:
    """How the policy names a style or script that may be used."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _section(title: str, content: Markup) -> Markup:
    return fill("section", title=title, content=content)


def _list(items: Iterable[str]) -> Markup:
    return fill("list", items=join(fill("item", content=item) for item in items))


# --- the parts, in order ------------------------------------------------------------------------


def _viewer(
    photo: Photo, localization: Localization, report: Mapping[str, Any], pca: np.ndarray
) -> Markup:
    turn = int(report.get("orientation", 1))
    picture = Image.fromarray(photo.pixels)
    picture.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE), Image.Resampling.BOX, reducing_gap=1.0)
    picture = Image.fromarray(np.ascontiguousarray(upright(np.asarray(picture), turn)))
    parts = _indexed(upright(localization.clusters, turn).astype(np.uint8) * 200)
    colours = Image.fromarray(np.ascontiguousarray(upright(pca, turn)))
    scale = _indexed(np.arange(256, dtype=np.uint8)[None])
    width, height = picture.size
    data = explorer_data(localization, turn) | {
        "aspect": round(width / height, 5),
        "palette": LUT.reshape(-1).tolist(),
        "words": _WORDS,
    }
    outline = outline_of(report, turn, *photo.image.size)
    viewer = fill(
        "viewer",
        outline=outline,
        outline_switch=fill("outline-switch") if outline else "",
        photo=data_uri(picture, "JPEG", quality=84),
        map=data_uri(_indexed(_small_map(localization.heatmap, turn)), "PNG"),
        parts=data_uri(parts, "PNG"),
        colours=data_uri(colours, "PNG"),
        scale=data_uri(scale, "PNG"),
        columns=data["columns"],
        rows=data["rows"],
        map_caption=_WORDS["map"],
        data=_json_for_html(data),
    )
    return _section("Where the photo disagrees with itself", viewer)


def _file(photo: Photo, evidence: FileEvidence, statement: Statement) -> Markup:
    content = file_section(photo.image, photo.orientation, evidence, statement)
    return _section("What the file says against what it is", content)


def _exif_comparison(report: Mapping[str, Any]) -> Markup:
    title = "Do the pixels agree with the EXIF?"
    verify = report.get("verify")
    if not verify:
        words = "Not compared: what the model carries to compare EXIF with cannot be read."
        return _section(title, fill("paragraph", content=words))
    summary = visible(verify["summary"], 600)
    pieces = [fill("paragraph", content=Markup(f"{summary[:1].upper()}{summary[1:]}."))]
    if verify.get("rank") is not None:
        words = (
            f"Of {verify['reference_size']} photos by known cameras, {verify['rank']} have EXIF "
            "that fits these pixels better than the file's own."
        )
        pieces.append(fill("paragraph", content=words))
    closest = [
        _likely(camera["camera"], camera["probability"], 60) for camera in verify.get("closest", [])
    ]
    looks_like = [_look(look["tag"], look["values"]) for look in verify.get("looks_like", [])]
    nothing = "nothing that can be said with confidence"
    pieces.append(
        fill(
            "fitting-cameras",
            closest=_list(closest) if closest else fill("paragraph", content="none"),
            looks_like=_list(looks_like) if looks_like else fill("paragraph", content=nothing),
        )
    )
    return _section(title, join(pieces, "\n"))


def _likely(name: str, probability: float, max_chars: int) -> Markup:
    return fill("likely", name=visible(name, max_chars), probability=f"{probability:.0%}")


def _look(tag: str, values: Sequence[Mapping[str, Any]]) -> Markup:
    likely = [_likely(value["value"], value["probability"], 40) for value in values]
    return fill("look", tag=visible(tag, 60), values=join(likely, ", "))


def _exif_table(report: Mapping[str, Any]) -> Markup:
    title = "EXIF in the file"
    exif = report.get("exif") or {}
    if not exif:
        return _section(title, fill("paragraph", content="No EXIF was found."))
    findings = {finding["tag"]: finding for finding in (report.get("verify") or {}).get("tags", [])}
    rows = [_exif_row(tag, value, findings.get(tag)) for tag, value in exif.items()]
    return _section(title, fill("exif", rows=join(rows, "\n")))


def _exif_row(tag: str, value: str, finding: Mapping[str, Any] | None) -> Markup:
    verdict, kind, likely = "not compared", "quiet", ""
    if finding:
        verdict = finding["verdict"]
        if verdict in ("agrees", "disagrees"):
            kind = verdict
            values = ", ".join(
                f"{visible(preferred['value'], 40)} {preferred['probability']:.0%}"
                for preferred in finding["preferred"]
            )
            likely = Markup(f" ({values})")
    return fill(
        "exif-row",
        tag=visible(tag, 60),
        value=visible(value),
        kind=kind,
        verdict=verdict,
        likely=likely,
    )


def _record(report: Mapping[str, Any]) -> Markup:
    keys = ("file", "sha256", "num_bytes", "format", "size", "orientation", "date", "tool")
    keys += ("model_name", "model", "settings", "score", "p_value", "p_value_is_extrapolated")
    keys += ("likelihood_ratio", "verdict", "band", "calibration", "version")
    lines = [
        f"{key}: {visible(json.dumps(report[key], ensure_ascii=False), 500)}"
        for key in keys
        if key in report
    ]
    return _section("Record", fill("record", lines=join(lines, "\n")))


# --- pictures and data --------------------------------------------------------------------------


def _indexed(levels: np.ndarray) -> Image.Image:
    """uint8 [h, w] as a picture in the map's colours."""
    picture = Image.fromarray(np.ascontiguousarray(levels, np.uint8), "L")
    picture.putpalette(LUT.reshape(-1).tolist())
    return picture


def _small_map(heatmap: np.ndarray, turn: int) -> np.ndarray:
    step = max(1, max(heatmap.shape) // _MAP_SIDE)  # the map is smooth: nothing falls between
    levels = np.clip(upright(heatmap[::step, ::step], turn) * 255 + 0.5, 0, 255)
    return levels.astype(np.uint8)


def _json_for_html(data: Mapping[str, Any]) -> Markup:
    """JSON that cannot end its script element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
