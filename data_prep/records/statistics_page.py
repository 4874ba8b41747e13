"""One page about a folder of records, for people: `statistics.html`, a file without scripts.

Every text on it may come from a stranger's photo, so all of it is escaped, and the page allows
itself nothing but its own style and the pictures inside it. Its frame is `statistics_page.html`.
"""

import base64
import html
import io
import pathlib
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from exif_jax.data.records import RecordError, RecordReader, decode_image, decode_record
from exif_jax.io.atomic import write_bytes
from exif_jax.io.files import join
from exif_jax.reading.exif import camera_name

NUM_SAMPLES, MAX_CAMERAS = 24, 40

_FRAME = pathlib.Path(__file__).with_name("statistics_page.html")
_STYLE = pathlib.Path(__file__).with_name("statistics_page.css")


class Sample(NamedTuple):
    """A region as a small WebP picture, and what took it."""

    picture: bytes
    caption: str


def write_page(output: str, statistics: Mapping[str, Any], vocabulary: Sequence[str]) -> None:
    """Writes `statistics.html` beside the records.

    Args:
      output: A folder with its shards.
      statistics: The content of `statistics.json`.
      vocabulary: The tags that training texts are made of.
    """
    page = render_page(statistics, vocabulary, sample_regions(output))
    write_bytes(join(output, "statistics.html"), page.encode())


def sample_regions(output: str) -> list[Sample]:
    """The first records of the train split, whose order is mixed."""
    try:
        reader = RecordReader(output, "train")
    except RecordError:
        return []
    samples = []
    for k in range(min(NUM_SAMPLES, len(reader))):
        record = decode_record(reader[k])
        image = Image.fromarray(decode_image(record))
        image.thumbnail((224, 224))
        stream = io.BytesIO()
        image.save(stream, "WEBP", quality=80)
        names = ("Make", "Model", "Exposure Time", "F Number", "ISO")
        caption = ", ".join(record.exif[name] for name in names if name in record.exif)
        samples.append(Sample(stream.getvalue(), caption))
    return samples


def render_page(
    statistics: Mapping[str, Any], vocabulary: Sequence[str], samples: Iterable[Sample]
) -> str:
    """The page as HTML; see `write_page`."""
    splits, tags = statistics["splits"], statistics["tags"]
    num_photos = sum(row["photos"] for row in splits.values())
    photos_with_tag = [(name, tag["photos"]) for name, tag in tags.items()]
    photos_with_tag.sort(key=lambda row: -row[1])
    settings = [(name, str(value), "") for name, value in statistics["settings"].items()]
    sections = [
        _sample_section(samples),
        *(_camera_section(split, row["cameras"]) for split, row in splits.items()),
        _section("Rejected files", _bars(statistics["rejects"].items()) or "<p>none</p>"),
        _section_unless_empty(
            "Tiles passed over in photos that were used",
            _bars(statistics["skipped_tiles"].items()),
        ),
        _section_unless_empty("Licences", _bars(statistics["licences"].items())),
        _section(
            f"Tags ({len(vocabulary)} of {len(tags)} are in half of the photos: the texts)",
            _bars(photos_with_tag, full=num_photos),
        ),
        _section(
            "Most frequent values",
            '<div class="columns">'
            + "".join(_tag_values(name, tags[name]) for name in vocabulary if name in tags)
            + "</div>",
        ),
        _section("Settings", _table(settings)),
    ]
    return string.Template(_FRAME.read_text(encoding="utf-8")).substitute(
        style=_STYLE.read_text(encoding="utf-8"),
        summary=_summary(statistics, num_photos),
        sections="\n".join(section for section in sections if section),
    )


def _summary(statistics: Mapping[str, Any], num_photos: int) -> str:
    splits = statistics["splits"]
    num_records = sum(row["records"] for row in splits.values())
    size = sum(row["bytes"] for row in splits.values())
    entries = {
        "files read": f"{statistics['input']['files']:,}",
        "photos": f"{num_photos:,}",
        "regions": f"{num_records:,}",
        "cameras": f"{sum(len(row['cameras']) for row in splits.values()):,}",
        "held out": f"{splits['validation']['photos']:,} photos of "
        f"{len(splits['validation']['cameras']):,} cameras",
        "rejected": f"{sum(statistics['rejects'].values()):,}",
        "size": f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB",
    }
    return "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in entries.items())


def _sample_section(samples: Iterable[Sample]) -> str:
    figures = [
        '<figure><img alt="" src="data:image/webp;base64,'
        f'{base64.b64encode(sample.picture).decode()}">'
        f"<figcaption>{_text(sample.caption)}</figcaption></figure>"
        for sample in samples
    ]
    note = "<p>As the records mix them, made smaller for this page.</p>"
    pictures = f'{note}<div class="samples">{"".join(figures)}</div>'
    return _section("Regions of the train split", pictures) if figures else ""


def _camera_section(split: str, cameras: Sequence[Mapping[str, Any]]) -> str:
    ordered = sorted(cameras, key=lambda c: (-c["photos"], c["make"], c["model"]))
    rows = [
        (camera_name({"Make": camera["make"], "Model": camera["model"]}), camera["photos"])
        for camera in ordered[:MAX_CAMERAS]
    ]
    more = len(ordered) - len(rows)
    note = f"<p>and {more:,} more, each with fewer photos</p>" if more > 0 else ""
    return _section(f"Cameras of the {split} split ({len(ordered):,})", _bars(rows) + note)


def _tag_values(name: str, tag: Mapping[str, Any]) -> str:
    rest = tag["values"] - len(tag["most_frequent"])
    more = f"<p>and {rest:,} more values</p>" if rest > 0 else ""
    bars = _bars(tag["most_frequent"].items())
    return f'<div class="values"><h3>{_text(name)}</h3>{bars}{more}</div>'


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{content}</section>"


def _section_unless_empty(title: str, content: str) -> str:
    return _section(title, content) if content else ""


def _bars(rows: Iterable[tuple[str, int]], full: int = 0) -> str:
    """Rows of name and number with a bar; the longest is `full` or the largest number."""
    rows = list(rows)
    longest = max([full, 1, *(number for _, number in rows)])
    return _table(
        (
            name,
            f"{number:,}",
            f'<div class="bar" style="width:{100 * number / longest:.1f}%"></div>',
        )
        for name, number in rows
    )


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    """Rows of name, number and markup; empty without rows."""
    cells = "".join(
        f'<tr><td>{_text(name)}</td><td class="number">{_text(number)}</td><td>{bar}</td></tr>'
        for name, number, bar in rows
    )
    return f"<table>{cells}</table>" if cells else ""


def _text(text: str) -> str:
    return html.escape(text, quote=True)
