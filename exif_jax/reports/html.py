"""The report of one photo as one HTML file: for reading, exploring, printing and filing.

Nothing in it comes from elsewhere and nothing in it runs but our own script, by a content security
policy that names the hashes of script and style. Names and EXIF are hostile text: they are escaped
and what a reader could not see (controls, bidirectional overrides) is spelled out.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import pathlib
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from exif_jax.reports.explorer import explorer_data
from exif_jax.reports.render import LUT, upright

if TYPE_CHECKING:
    from exif_jax.forensics.localization import Localization
    from exif_jax.reading.photo import Photo

_HERE = pathlib.Path(__file__).parent
_PHOTO_SIDE, _MAP_SIDE = 1400, 500

_VERDICTS = {
    "strong": ("strong", "Strong evidence that parts of this photo come from different cameras"),
    "weak": ("weak", "Weak evidence that parts of this photo come from different cameras"),
    "no evidence": ("none", "No evidence that parts of this photo come from different cameras"),
    None: ("", "Not judged: there is no calibration for this photo and method"),
}
_NEXT = {
    "strong": "Look where the map is bright, and whether that part could have been pasted. Ask for "
    "the original file, and compare with other tools before saying anything in public.",
    "weak": "One pristine photo in twenty looks like this or worse. Look where the map is bright, "
    "and treat it as a reason to look closer, not as a finding.",
    "no evidence": "The map always has a highest place; with a score like this it "
    "is no reason for suspicion. This is no proof "
    "that the photo is pristine: see what the method cannot see.",
    None: "The map shows which parts differ, but not whether pristine photos differ as much.",
}
_WORDS = {
    "photo": "The photo as it is, turned upright.",
    "map": "Bright parts resemble the rest of the photo least. The scale is fixed, from one camera "
    "(0) to unrelated (1); it is never stretched.",
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
    "The score is evidence, not proof, and the chance it names was measured on photos of cameras "
    "that may not resemble this one.",
)


def visible(text: object, most: int = 200) -> str:
    """Text of unknown origin as HTML: escaped, bounded, with unseen characters spelled out."""
    text = str(text)
    spelled = "".join(
        c if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029" else f"⟨U+{ord(c):04X}⟩"
        for c in text[:most]
    )
    rest = f"… ({len(text):,} characters)" if len(text) > most else ""
    return html.escape(spelled, quote=True) + rest


def make_html(
    photo: Photo, found: Localization, facts: Mapping[str, Any], pca: np.ndarray
) -> bytes:
    """The report.

    Args:
        photo: as read.
        found: its localisation.
        facts: the JSON record, `report.make_report`; keys that are missing are left out or said
            to be unknown.
        pca: uint8 [rows, columns, 3], `affinity.pca_colours`.

    Returns:
        UTF-8, the same for the same arguments.
    """
    style = (_HERE / "page.css").read_text("utf-8")
    script = (_HERE / "page.js").read_text("utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    body = "".join(
        [
            _verdict(facts),
            _viewer(photo, found, facts, pca),
            _against_exif(facts),
            _exif_table(facts),
            _section("What this method cannot see", _list(map(html.escape, _LIMITS))),
            _record(facts),
        ]
    )
    page = (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{visible(_base(facts), 80)}: splice report</title>"
        f"<style>{style}</style></head><body><main>{body}</main>"
        f"<script>{script}</script></body></html>\n"
    )
    return page.encode("utf-8", "replace")


def _base(facts: Mapping[str, Any]) -> str:
    """The file's name without its folders; the record has it whole."""
    return str(facts.get("file", "")).replace("\\", "/").rpartition("/")[2]


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{content}</section>"


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def _odds(p_value: float) -> str:
    """A p-value as people count: "about 3 in 100"."""
    if p_value >= 0.095:
        return f"about {10 * p_value:.0f} in 10"
    return f"about {max(1, round(100 * p_value))} in 100" + (" or fewer" if p_value < 0.02 else "")


# --- the parts, in order ------------------------------------------------------------------------


def _verdict(facts: Mapping[str, Any]) -> str:
    band, p_value = facts.get("band"), facts.get("p_value")
    kind, headline = _VERDICTS.get(band, _VERDICTS[None])
    if facts.get("note", "").startswith("the photo is flat"):
        headline = "Not judged: the photo is flat and shows no texture"
    told = ""
    if p_value is not None:
        told = (
            f"<p>Of pristine photos by cameras that the model never saw, <strong>"
            f"{_odds(p_value)}</strong> score this high.</p>"
        )
    numbers = [
        ("score, 0 to 1", f"{facts['score']:.3f}"),
        ("chance for a pristine photo", "unknown" if p_value is None else f"{p_value:.3f}"),
    ]
    verify = facts.get("verify") or {}
    if verify.get("band"):
        numbers.append(("pixels against EXIF", html.escape(verify["band"])))
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in numbers)
    note = f'<p class="note">{visible(facts["note"], 1000)}</p>' if facts.get("note") else ""
    return (
        f'<header><p class="file">{visible(_base(facts))}</p>'
        f'<h1 class="{kind}">{html.escape(headline)}</h1>{told}'
        f"<p>{html.escape(_NEXT.get(band, _NEXT[None]))}</p>{note}"
        f'<dl class="facts">{listed}</dl></header>'
    )


def _viewer(photo: Photo, found: Localization, facts: Mapping[str, Any], pca: np.ndarray) -> str:
    turn = int(facts.get("orientation", 1))
    picture = Image.fromarray(photo.pixels)
    picture.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE), Image.Resampling.BOX, reducing_gap=1.0)
    picture = Image.fromarray(np.ascontiguousarray(upright(np.asarray(picture), turn)))
    map_uri = _data_uri(_indexed(_small_map(found.heatmap, turn)), "PNG")
    parts = _indexed(upright(found.clusters, turn).astype(np.uint8) * 200)
    colours = Image.fromarray(np.ascontiguousarray(upright(pca, turn)))
    ramp = _indexed(np.arange(256, dtype=np.uint8)[None])
    width, height = picture.size
    photo_uri = _data_uri(picture, "JPEG", quality=84)
    data = explorer_data(found, turn) | {
        "aspect": round(width / height, 5),
        "palette": LUT.reshape(-1).tolist(),
        "words": _WORDS,
    }
    names = {"photo": "Photo", "map": "Map", "parts": "Two parts", "colours": "Colours"}
    names["explore"] = "Explore"
    radios = "".join(
        f'<label><input type="radio" name="layer" value="{key}"{" checked" * (key == "map")}>'
        f"{name}</label>"
        for key, name in names.items()
    )
    rows, columns = data["rows"], data["columns"]
    return _section(
        "Where the photo disagrees with itself",
        f'<div class="viewer"><div class="controls">'
        f'<fieldset class="layers" aria-label="What to show">{radios}</fieldset>'
        '<label class="blend">Blend <input id="blend" type="range" min="0" max="100" value="60">'
        "</label></div>"
        '<div id="stage" tabindex="0" role="group" aria-describedby="told" aria-label="The photo. '
        'Arrow keys choose a patch and show which others agree with it.">'
        f'<img id="photo" src="{photo_uri}" alt="the photo">'
        f'<img id="map" src="{map_uri}" alt="map of inconsistency">'
        f'<img id="parts" src="{_data_uri(parts, "PNG")}" alt="two parts" hidden>'
        f'<img id="colours" src="{_data_uri(colours, "PNG")}" alt="main directions" hidden>'
        f'<canvas id="heat" width="{columns}" height="{rows}" hidden></canvas>'
        '<div id="patch" hidden></div></div>'
        '<p id="told" aria-live="polite"></p>'
        f'<div class="scale">one camera <img src="{_data_uri(ramp, "PNG")}" alt="colour scale"> '
        "unrelated</div></div>"
        '<div class="static">'
        f'<figure><img src="{photo_uri}" alt="the photo">'
        "<figcaption>The photo</figcaption></figure>"
        f'<figure><img src="{map_uri}" alt="map of inconsistency"><figcaption>{_WORDS["map"]}'
        "</figcaption></figure></div>"
        f'<script type="application/json" id="data">{_json_for_html(data)}</script>',
    )


def _against_exif(facts: Mapping[str, Any]) -> str:
    verify = facts.get("verify")
    if not verify:
        words = "Not compared: the model carries no bank of EXIF to compare with."
        return _section("Do the pixels agree with the EXIF?", f"<p>{words}</p>")
    summary = visible(verify["summary"], 600)
    told = f"<p>{summary[:1].upper()}{summary[1:]}.</p>"
    if verify.get("rank") is not None:
        told += (
            f"<p>Of {verify['bank_size']} photos by known cameras, {verify['rank']} have EXIF that "
            "fits these pixels better than the file's own.</p>"
        )
    closest = [
        f"{visible(c['camera'], 60)} <span class='quiet'>{c['probability']:.0%}</span>"
        for c in verify.get("closest", [])
    ]
    looks = [
        f"{visible(t['tag'], 60)}: "
        + ", ".join(
            f"{visible(v['value'], 40)} <span class='quiet'>{v['probability']:.0%}</span>"
            for v in t["values"]
        )
        for t in verify.get("looks_like", [])
    ]
    told += (
        '<div class="columns"><div><p>Known cameras whose EXIF fits best</p>'
        f"{_list(closest) if closest else '<p>none</p>'}</div>"
        "<div><p>What the pixels look like</p>"
        f"{_list(looks) if looks else '<p>nothing that can be said with confidence</p>'}"
        "</div></div>"
    )
    return _section("Do the pixels agree with the EXIF?", told)


def _exif_table(facts: Mapping[str, Any]) -> str:
    exif = facts.get("exif") or {}
    if not exif:
        return _section("EXIF in the file", "<p>The file says nothing of the camera.</p>")
    findings = {t["tag"]: t for t in (facts.get("verify") or {}).get("tags", [])}
    rows = []
    for tag, value in exif.items():
        finding = findings.get(tag)
        says = '<span class="quiet">not compared</span>'
        if finding:
            kind = {"agrees": "agrees", "disagrees": "disagrees"}.get(finding["says"], "quiet")
            likely = ", ".join(
                f"{visible(v['value'], 40)} {v['probability']:.0%}" for v in finding["preferred"]
            )
            says = f'<span class="{kind}">{html.escape(finding["says"])}</span>'
            if kind != "quiet":
                says += f" ({likely})"
        rows.append(f"<tr><td>{visible(tag, 60)}</td><td>{visible(value)}</td><td>{says}</td></tr>")
    return _section(
        "EXIF in the file",
        '<div class="wide"><table><thead><tr><th>tag</th><th>the file says</th><th>the pixels</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="quiet">Place, serial numbers, names, dates and comments are not shown. Values '
        'with "~" are rounded: the pixels tell them roughly at best. "Cannot tell" means that the '
        "model has not shown that pixels tell this tag.</p>",
    )


def _record(facts: Mapping[str, Any]) -> str:
    keys = ("file", "sha256", "num_bytes", "format", "size", "orientation", "date", "tool")
    keys += ("model_name", "model", "settings", "score", "p_value", "band", "version")
    lines = [
        f"{key}: {visible(json.dumps(facts[key], ensure_ascii=False), 500)}"
        for key in keys
        if key in facts
    ]
    return _section(
        "Record",
        "<p>What an examiner needs to repeat this. The photo itself was not changed.</p>"
        f'<pre tabindex="0" aria-label="record">{chr(10).join(lines)}</pre>',
    )


# --- pictures and data --------------------------------------------------------------------------


def _data_uri(picture: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, optimize=True, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _indexed(levels: np.ndarray) -> Image.Image:
    """uint8 [h, w] as a picture in the map's colours."""
    picture = Image.fromarray(np.ascontiguousarray(levels, np.uint8), "L")
    picture.putpalette(LUT.reshape(-1).tolist())
    return picture


def _small_map(heatmap: np.ndarray, turn: int) -> np.ndarray:
    step = max(1, max(heatmap.shape) // _MAP_SIDE)  # the map is smooth: nothing falls between
    levels = np.clip(upright(heatmap[::step, ::step], turn) * 255 + 0.5, 0, 255)
    return levels.astype(np.uint8)


def _json_for_html(data: Mapping[str, Any]) -> str:
    """JSON that cannot end its script element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
