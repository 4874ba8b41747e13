"""The report's section on the file itself: the statement, thumbnail and photo, the tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from exif_jax.forensics.file_evidence.examine import FileEvidence
from exif_jax.forensics.file_evidence.findings import CONTRADICTS, FITS, SILENT, Finding
from exif_jax.forensics.file_evidence.recompression import ijg_table, nearest_quality
from exif_jax.forensics.statement import PIXELS, Statement
from exif_jax.reports.markup import Markup, fill, join, visible
from exif_jax.reports.render import LUT, data_uri, upright

_SIDE = 320
_SHOWN = {CONTRADICTS: ("disagrees", "contradicts"), FITS: ("agrees", "fits")}


def file_section(
    photo: Image.Image, orientation: int, evidence: FileEvidence, statement: Statement
) -> Markup:
    """Returns the content of the section.

    Args:
        photo: RGB, as stored.
        orientation: of EXIF, 1 to 8.
        evidence: of the photo's file.
        statement: of file and pixels together.
    """
    sentence = visible(statement.sentence, 900)
    pieces = [fill("file-statement", sentence=Markup(f"{sentence[:1].upper()}{sentence[1:]}."))]
    told = [f for f in statement.findings if f.verdict in _SHOWN and f.rule != PIXELS]
    if told:
        pieces.append(fill("file-findings", rows=join(map(_finding, told), "\n")))
    pieces += _thumbnail(photo, orientation, evidence)
    pieces += _tables(evidence)
    silent = [f for f in statement.findings if f.verdict == SILENT and f.rule != PIXELS]
    if silent:
        items = join(
            fill("item", content=join([visible(f.rule, 60), visible(f.sentence, 300)], ": "))
            for f in silent
        )
        pieces.append(fill("file-silent", count=len(silent), items=items))
    return join(pieces, "\n")


def _finding(finding: Finding) -> Markup:
    kind, word = _SHOWN[finding.verdict]
    weight = f" ({finding.strength:.1f})" if finding.strength else ""
    return fill(
        "file-finding",
        kind=kind,
        verdict=word + weight,
        rule=visible(finding.rule, 60),
        sentence=visible(finding.sentence, 400),
        source=visible(finding.source, 120),
    )


def _thumbnail(photo: Image.Image, orientation: int, evidence: FileEvidence) -> list[Markup]:
    """The thumbnail beside the photo and where they differ; nothing without a thumbnail."""
    seen = evidence.facts.thumbnail
    if seen is None:
        return []
    small = photo.resize(_fitting(photo.size), Image.Resampling.BOX, reducing_gap=2.0)
    levels = Image.fromarray((np.clip(seen.map, 0, 1) * 255).astype(np.uint8), "L")
    levels.putpalette(LUT.reshape(-1).tolist())
    pictures = [np.asarray(small), seen.picture, np.asarray(levels.convert("RGB"))]
    uris = []
    for picture in pictures:
        turned = Image.fromarray(np.ascontiguousarray(upright(picture, orientation)))
        turned = turned.resize(_fitting(turned.size), Image.Resampling.BILINEAR)
        uris.append(data_uri(turned, "JPEG", quality=85))
    return [
        fill(
            "file-thumbnail",
            photo=uris[0],
            thumbnail=uris[1],
            map=uris[2],
            correlation=f"{seen.correlation:.2f}",
        )
    ]


def _fitting(size: Sequence[int]) -> tuple[int, int]:
    scale = _SIDE / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def _tables(evidence: FileEvidence) -> list[Markup]:
    """The file's luma table beside the claimed camera's, or the standard one most like it."""
    tables = evidence.facts.parts.tables
    if not tables:
        return []
    known = evidence.known.tables
    if known:
        total = sum(count for _, count in known)
        same = next((count for other, count in known if other == tables), 0)
        (other, count) = known[0]
        if same:
            other, count = tables, same
        title = f"{evidence.facts.camera}: {count} of {total} photos"
        luma = other[0]
    else:
        quality = nearest_quality(tables[0])
        title, luma = f"the standard table of quality {quality}, which is the most like it", None
        luma = ijg_table(quality)
    return [
        fill(
            "file-tables",
            own=_table(tables[0], luma),
            other=_table(luma, tables[0]),
            title=visible(title, 120),
        )
    ]


def _table(table: Sequence[int], other: Sequence[int]) -> Markup:
    rows = []
    for row in range(8):
        cells = (
            fill(
                "file-cell",
                kind="same" if table[8 * row + k] == other[8 * row + k] else "differs",
                value=table[8 * row + k],
            )
            for k in range(8)
        )
        rows.append(fill("file-row", cells=join(cells)))
    return join(rows, "\n")
