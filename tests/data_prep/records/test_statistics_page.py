"""The page about a folder of records: right numbers, and nothing of a stranger's that runs."""

import json
import re
from html.parser import HTMLParser

import pytest
from photo_folders import all_records, command, contents, save_photo

from data_prep.photos import main
from data_prep.records.statistics_page import render_page

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Records of nine photos, two crops of one; one camera has a script for a name."""
    root = tmp_path_factory.mktemp("in")
    rows = []
    for seed in range(9):
        model = HOSTILE if seed < 3 else f"M{seed % 2}"
        file = save_photo(root / f"{seed}.jpg", seed, make='"><img src=x>', model=model).name
        rows.append({"file": file, "licence": "CC <b>BY</b>" if seed else ""})
    for side in "lr":
        file = save_photo(root / f"crop_{side}.jpg", ord(side), model="M1").name
        rows.append({"file": file, "photo": "whole"})
    save_photo(root / "plain.jpg", 20, exif=False)
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path_factory.mktemp("out") / "records"
    assert main(command(root, output)) == 0
    return output


class Elements(HTMLParser):
    """Every element and attribute of a page, and its visible text."""

    def __init__(self, page: str):
        super().__init__()
        self.names, self.attributes, self.text = set(), [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += f" {data}"


def test_the_numbers_are_those_of_the_records(made):
    statistics = json.loads((made / "statistics.json").read_text())
    for split, records in all_records(made).items():
        row = statistics["splits"][split]
        photos = {record.photo_id: record for record in records}
        assert row["photos"] == len(photos) == sum(c["photos"] for c in row["cameras"])
        assert row["records"] == len(records)
        files = [path for path in made.glob(f"{split}-*.tfrecord")]
        frames = 16 * row["records"]
        assert row["bytes"] == sum(path.stat().st_size for path in files) - frames
    records = [r for rows in all_records(made).values() for r in rows]
    photos = {record.photo_id: record for record in records}
    for name, tag in statistics["tags"].items():
        values = [photo.exif[name] for photo in photos.values() if name in photo.exif]
        assert tag["photos"] == len(values) and tag["values"] == len(set(values))
        for value, number in tag["most_frequent"].items():
            assert values.count(value) == number
    assert statistics["rejects"] == {"no EXIF": 1}
    assert statistics["licences"] == {"CC <b>BY</b>": 8}
    assert statistics["input"]["files"] == 12


def test_the_page_shows_them_and_runs_nothing(made):
    page = (made / "statistics.html").read_text()
    elements = Elements(page)
    assert elements.names <= {
        *("html", "head", "meta", "title", "style", "body", "main", "section", "h1", "h2", "h3"),
        *("p", "dl", "dt", "dd", "div", "table", "tr", "td", "figure", "figcaption", "img"),
    }
    assert (
        HOSTILE in elements.text
        and '"><img src=x>' in elements.text
        and "CC <b>BY</b>" in elements.text
    )
    sources = [value for name, value in elements.attributes if name == "src"]
    train = all_records(made)["train"]
    assert len(sources) == min(24, len(train))
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not [name for name, _ in elements.attributes if name.startswith("on") or name == "href"]
    assert "default-src 'none'" in page
    assert (
        "no EXIF" in elements.text and "Exposure Time" in elements.text and "10 " in elements.text
    )
    assert "12" in elements.text


def test_many_cameras_and_values_are_cut_and_said(made):
    statistics = json.loads((made / "statistics.json").read_text())
    statistics["splits"]["train"]["cameras"] = [
        {"make": "M", "model": f"{k:03}", "photos": k} for k in range(1, 101)
    ]
    statistics["tags"]["Model"] |= {"values": 1000}
    text = Elements(render_page(statistics, ["Model"], [])).text
    assert "and 60 more, each with fewer photos" in text
    assert "M 100" in text and "M 060" not in text
    assert re.search(r"and 99\d more values", text)


def test_a_folder_without_rejects_or_licences(tmp_path):
    for seed in range(2):
        save_photo(tmp_path / "in" / f"{seed}.jpg", seed, model="Only")
    assert main(command(tmp_path / "in", tmp_path / "out")) == 0
    page = (tmp_path / "out" / "statistics.html").read_text()
    assert "none" in Elements(page).text and "Licences" not in page
    assert "statistics.html" in contents(tmp_path / "out")
