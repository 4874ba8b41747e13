"""The HTML report in a real browser: Chromium without a screen, driven by Playwright."""

import pathlib
import re

import numpy as np
import pytest
from browsers import chromium
from test_html import HOSTILE, example

from exif_jax.reports.html import make_html


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a report from its file; what it complains of or fetches fails the test."""
    pages, trouble = [], []

    def go(arguments, name="report.html", **options):
        path = pathlib.Path(tmp_path, name)
        path.write_bytes(make_html(*arguments))
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append("dialog"), dialog.dismiss()))
        page.on(
            "request", lambda r: trouble.append(r.url) if r.url[:5] not in ("file:", "data:") else 0
        )
        page.goto(path.as_uri())
        return page

    yield go
    assert trouble == []
    for page in pages:
        page.close()


def pixels(page, selector="#stage"):
    return page.locator(selector).screenshot()


def choose(page, layer):
    page.locator(f"label:has(input[value={layer}])").click()


def test_the_layers_and_the_slider_change_the_picture(visit):
    page = visit(example())
    seen = {}
    for layer in ("photo", "map", "parts", "colours", "explore"):
        choose(page, layer)
        seen[layer] = pixels(page)
    assert len(set(seen.values())) == 5
    choose(page, "map")
    page.locator("#blend").fill("0")
    assert pixels(page) == seen["photo"] != seen["map"]


def test_pointing_at_a_patch_shows_how_others_agree(visit):
    photo, localization, report, pca = example()
    grid = localization.grid
    page = visit((photo, localization, report, pca), viewport={"width": 1100, "height": 1600})
    choose(page, "explore")
    box = page.locator("#stage").bounding_box()

    def point(row, column):
        y, x = (k * grid.stride + grid.patch / 2 for k in (row, column))
        page.mouse.move(
            box["x"] + x / grid.width * box["width"], box["y"] + y / grid.height * box["height"]
        )

    point(2, 3)
    before, status = pixels(page), page.inner_text("#status")
    assert "row 3, column 4" in status
    cosines = localization.affinity[2 * grid.columns + 3]
    assert int(re.search(r": (\d+) of", status)[1]) == pytest.approx((cosines > 0.5).sum(), abs=3)
    row, column = grid.rows - 1, grid.columns - 2
    page.mouse.down()
    page.mouse.up()  # pinned: now the pointer reads off the agreement
    point(row, column)
    value = float(re.search(r"agreement (-?[\d.]+)\.", page.inner_text("#status"))[1])
    assert value == pytest.approx(cosines[row * grid.columns + column], abs=0.02)
    page.mouse.down()
    page.mouse.up()  # released
    point(row, column - 1)
    assert pixels(page) != before


def test_the_keyboard_reaches_everything(visit):
    page = visit(example())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "map"
    page.keyboard.press("ArrowRight")
    assert page.is_checked("input[value=parts]")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "blend"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "stage"
    page.keyboard.press("ArrowRight")
    assert page.is_checked("input[value=explore]")
    first = re.search(r"row (\d+), column (\d+)", page.inner_text("#status")).groups()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    second = re.search(r"row (\d+), column (\d+)", page.inner_text("#status")).groups()
    assert [int(b) - int(a) for a, b in zip(first, second, strict=True)] == [1, 1]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_nothing_runs(visit, text):
    page = visit(example(text, {"Make": text, "Model": text[:40]}, note=text))
    assert page.evaluate("window.pwned") is None
    assert page.locator("script").count() == 2 and page.locator("img").count() == 7
    assert "⟨U+202E⟩" in page.inner_text("body") or "\u202e" not in text
    assert page.title().endswith("splice report")


def test_a_stranger_script_would_be_stopped(visit, tmp_path):
    """The policy itself, not only the escaping: a script put into the file does not run."""
    page = visit(example())
    page.evaluate("0")  # the page works
    text = (tmp_path / "report.html").read_text()
    planted = tmp_path / "planted.html"
    planted.write_text(text.replace("<main>", "<main><script>window.pwned = 1</script>"))
    other = page.context.browser.new_page()
    other.goto(planted.as_uri())
    assert other.evaluate("window.pwned") is None
    other.close()


def test_it_fits_a_phone_the_dark_and_paper(visit):
    exif = {"Make": "x" * 40, "Model": "word " * 8, "Focal Length": "50.0 mm"}
    arguments = example("y" * 300 + ".jpg", exif)
    phone = visit(arguments, viewport={"width": 360, "height": 700})
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    light = phone.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = visit(arguments, "dark.html", color_scheme="dark")
    background = dark.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = dark.evaluate("getComputedStyle(document.body).color")
    assert background != light
    levels = [np.mean(list(map(int, re.findall(r"\d+", c)[:3]))) for c in (background, ink)]
    assert levels[1] - levels[0] > 150
    assert dark.locator(".viewer").is_visible() and not dark.locator(".static").is_visible()
    dark.emulate_media(media="print")
    assert not dark.locator(".viewer").is_visible() and dark.locator(".static").is_visible()


def test_without_scripts_the_map_and_the_words_are_there(visit):
    page = visit(example(), java_script_enabled=False)
    assert page.locator(".static").is_visible() and not page.locator(".viewer").is_visible()
    assert page.locator("h1").inner_text()
