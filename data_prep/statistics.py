"""One page about a folder of records, for people: `statistics.html`, a file without scripts.

Every text on it may come from a stranger's photo, so all of it is escaped, and the page allows
itself nothing but its own style and the pictures inside it.
"""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from exif_jax.data.records import RecordError, RecordReader, decode_image, decode_record
from exif_jax.io.atomic import write_bytes
from exif_jax.io.files import join

SAMPLES, MOST_CAMERAS = 24, 40

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2230; --soft: #5b6375; --line: #dfe2ea; --paper: #fff;
  --back: #f4f5f8; --bar: #b48bc0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaf0; --soft: #a3abbd; --line: #333a49;
  --paper: #1b202b; --back: #12151c; --bar: #6d4479; } }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 1.2rem 1.4rem; margin-bottom: 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .6rem; } h2 { font-size: 1.1rem; margin: 0 0 .6rem; }
h3 { font-size: .95rem; margin: 0 0 .3rem; }
p { margin: .4rem 0; max-width: 48rem; color: var(--soft); }
dl { display: flex; flex-wrap: wrap; gap: .6rem 2.4rem; margin: 0; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-size: 1.25rem; }
table { border-collapse: collapse; width: 100%; } td { padding: .1rem .6rem .1rem 0; }
td:first-child { width: 45%; overflow-wrap: anywhere; }
td.number { width: 6rem; text-align: right; font-variant-numeric: tabular-nums; }
.bar { background: var(--bar); height: .8rem; border-radius: 3px; min-width: 1px; }
.columns { columns: 2 26rem; column-gap: 2rem; }
.values { break-inside: avoid; margin-bottom: 1rem; font-size: .88rem; }
.samples { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
figure { margin: 0; } img { width: 100%; border-radius: 6px; display: block; }
figcaption { font-size: .78rem; color: var(--soft); overflow-wrap: anywhere; }
"""


def write_page(output: str, facts: Mapping[str, Any], vocabulary: Sequence[str]) -> None:
    """Writes `statistics.html` beside the records.

    Args:
      output: A folder with its shards.
      facts: The content of `statistics.json`.
      vocabulary: The tags that training texts are made of.
    """
    page = render_page(facts, vocabulary, sample_regions(output))
    write_bytes(join(output, "statistics.html"), page.encode())


def sample_regions(output: str) -> list[tuple[bytes, str]]:
    """The first records of the train split, which are mixed: WebP pictures and what took them."""
    try:
        reader = RecordReader(output, "train")
    except RecordError:
        return []
    samples = []
    for k in range(min(SAMPLES, len(reader))):
        record = decode_record(reader[k])
        image = Image.fromarray(decode_image(record))
        image.thumbnail((224, 224))
        stream = io.BytesIO()
        image.save(stream, "WEBP", quality=80)
        names = ("Make", "Model", "Exposure Time", "F Number", "ISO")
        said = ", ".join(record.exif[name] for name in names if name in record.exif)
        samples.append((stream.getvalue(), said))
    return samples


def render_page(
    facts: Mapping[str, Any], vocabulary: Sequence[str], samples: Iterable[tuple[bytes, str]]
) -> str:
    """The page as HTML; see `write_page`."""
    splits = facts["splits"]
    photos = sum(row["photos"] for row in splits.values())
    parts = [_section_summary(facts, photos)]
    figures = [
        f'<figure><img alt="" src="data:image/webp;base64,{base64.b64encode(data).decode()}">'
        f"<figcaption>{_text(said)}</figcaption></figure>"
        for data, said in samples
    ]
    if figures:
        parts.append(
            "<section><h2>Regions of the train split</h2><p>As the records mix them, made smaller "
            f'for this page.</p><div class="samples">{"".join(figures)}</div></section>'
        )
    for split, row in splits.items():
        cameras = sorted(row["cameras"], key=lambda c: (-c["photos"], c["make"], c["model"]))
        rows = [(f"{c['make']} {c['model']}", c["photos"]) for c in cameras[:MOST_CAMERAS]]
        more = len(cameras) - len(rows)
        note = f"<p>and {more:,} more, each with fewer photos</p>" if more > 0 else ""
        title = f"Cameras of the {split} split ({len(cameras):,})"
        parts.append(_section(title, _bars(rows) + note))
    out = [*facts["rejects"].items()]
    parts.append(_section("Rejected files", _bars(out) if out else "<p>none</p>"))
    if facts["left out"]:
        parts.append(
            _section(
                "Tiles passed over in photos that were used", _bars([*facts["left out"].items()])
            )
        )
    if facts["licences"]:
        parts.append(_section("Licences", _bars([*facts["licences"].items()])))
    tags = facts["tags"]
    coverage = sorted(((n, t["photos"]) for n, t in tags.items()), key=lambda row: -row[1])
    parts.append(
        _section(
            f"Tags ({len(vocabulary)} of {len(tags)} are in half of the photos: the texts)",
            _bars(coverage, photos),
        )
    )
    parts.append(
        '<section><h2>Most frequent values</h2><div class="columns">'
        + "".join(_values(name, tags[name]) for name in vocabulary if name in tags)
        + "</div></section>"
    )
    parts.append(
        _section("Settings", _table([(n, str(v), "") for n, v in facts["settings"].items()]))
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>Training records</title><style>{_STYLE}</style></head><body><main>"
        + "\n".join(parts)
        + "</main></body></html>\n"
    )


def _section_summary(facts: Mapping[str, Any], photos: int) -> str:
    splits = facts["splits"]
    records = sum(row["records"] for row in splits.values())
    size = sum(row["bytes"] for row in splits.values())
    told = {
        "files read": f"{facts['input']['files']:,}",
        "photos": f"{photos:,}",
        "regions": f"{records:,}",
        "cameras": f"{sum(len(row['cameras']) for row in splits.values()):,}",
        "held out": f"{splits['validation']['photos']:,} photos of "
        f"{len(splits['validation']['cameras']):,} cameras",
        "rejected": f"{sum(facts['rejects'].values()):,}",
        "size": f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB",
    }
    cells = "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in told.items())
    return f"<section><h1>Training records</h1><dl>{cells}</dl></section>"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{content}</section>"


def _values(name: str, tag: Mapping[str, Any]) -> str:
    rest = tag["values"] - len(tag["most frequent"])
    more = f"<p>and {rest:,} more values</p>" if rest > 0 else ""
    bars = _bars([*tag["most frequent"].items()])
    return f'<div class="values"><h3>{_text(name)}</h3>{bars}{more}</div>'


def _bars(rows: Sequence[tuple[str, int]], full: int = 0) -> str:
    """Rows of name and number with a bar; the longest is `full` or the largest number."""
    most = max(full, max((number for _, number in rows), default=1), 1)
    return _table(
        (name, f"{number:,}", f'<div class="bar" style="width:{100 * number / most:.1f}%"></div>')
        for name, number in rows
    )


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    cells = (
        f'<tr><td>{_text(name)}</td><td class="number">{_text(number)}</td><td>{bar}</td></tr>'
        for name, number, bar in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
