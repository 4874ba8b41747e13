"""The report's section on the file: what it shows, and hostile text."""

import re

import pytest
from camera_file import camera_file, jpeg, scene
from planted import acme, planted_gallery
from test_html import HOSTILE, PLAIN, Reader, example

from exif_jax.forensics.file_evidence.examine import examine
from exif_jax.forensics.statement import state
from exif_jax.reading.photo import read_photo
from exif_jax.reports.html import make_html


def page_of(data: bytes) -> str:
    photo = read_photo(data)
    evidence = examine(photo, planted_gallery())
    _, localization, report, pca = example()
    file = (evidence, state(evidence, None))
    return make_html(photo, localization, report, pca, file).decode()


def words(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(Reader(page).text))


def test_a_changed_file_is_told_with_its_thumbnail_and_tables():
    text = words(page_of(acme(seed=99, thumbnail=jpeg(scene(160, 96, seed=5)), qtables=None)))
    assert "What the file says against what it is" in text
    assert "the thumbnail shows another picture" in text
    assert "Where they differ" in text and "The file's quantisation table" in text
    assert "none of 8 photos by Acme One has these JPEG tables" in text
    assert "Acme One: 8 of 8 photos" in text


def test_tables_that_differ_are_marked_and_equal_ones_not():
    assert 'class="differs"' not in page_of(acme(seed=99))
    assert page_of(acme(seed=99, qtables=None, quality=60)).count('class="differs"') > 60


def test_pictures_are_turned_upright():
    data = acme(seed=99)
    sizes = {}
    for orientation in (1, 6):
        photo = read_photo(data)
        object.__setattr__(photo, "orientation", orientation)
        evidence = examine(photo, planted_gallery())
        _, localization, report, pca = example()
        page = make_html(photo, localization, report, pca, (evidence, state(evidence, None)))
        sizes[orientation] = page
    assert sizes[1] != sizes[6]


def test_without_thumbnail_tables_or_exif_it_says_what_there_is():
    page = page_of(jpeg(scene()))
    assert "where they differ" not in page and "which is the most like it" in page
    assert "rules are silent" in words(page)


@pytest.mark.parametrize("text", [t for t in HOSTILE if len(t) < 1000 and t.isascii()])
def test_hostile_names_add_no_element(text):
    data = camera_file(make=text[:40], model=text[:60])
    reader = Reader(page_of(data))
    added = {"table", "thead", "tbody", "tr", "th", "td", "li", "ul", "span", "div", "p"}
    added |= {"strong", "details", "summary", "figure", "figcaption", "img"}
    assert set(reader.elements) <= set(PLAIN.elements) | added
    assert reader.raw["script"][-1] == PLAIN.raw["script"][-1]
