"""The page in a real browser: Chromium without a screen, driven by Playwright."""

import json
import re

import numpy as np
import pytest
from browsers import chromium
from page_servers import running
from PIL import Image
from stand_in import spliced, tiny_release

from exif_jax.server.analyst import worker_command

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("STUB_SECONDS", "0.05")
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def visit(browser):
    """Opens the page; what it complains of or asks of others fails the test."""
    contexts, trouble = [], []

    def go(server, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "request",
            lambda r: trouble.append(r.url) if not r.url.startswith(server.address) else 0,
        )
        page.goto(server.address)
        return page

    go.trouble = trouble
    yield go
    for context in contexts:
        context.close()
    # A page may ask once more while its server ends with the test.
    assert [words for words in trouble if "ERR_CONNECTION_" not in words] == []


def file(name, data=b"ok", p_value=None):
    data = data if p_value is None else json.dumps({"p": p_value}).encode()
    return {"name": name, "mimeType": "image/jpeg", "buffer": data}


def give(page, *files):
    page.set_input_files("#files", list(files))


def finished(page, number):
    """Waits until so many photos are listed and none is on its way."""
    expect(page.locator("#photos > li")).to_have_count(number, timeout=60_000)
    expect(page.locator("#overall")).to_be_hidden(timeout=60_000)


def drop(page, *files):
    """Drops files onto the page as a person does with the mouse."""
    page.evaluate(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, text] of files) transfer.items.add(new File([text], name));
            const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("dragover", options));
            window.marked = document.body.classList.contains("over");
            document.body.dispatchEvent(new DragEvent("drop", options));
        }""",
        [[f["name"], f["buffer"].decode()] for f in files],
    )


def test_photos_are_dropped_and_judged(visit, server):
    page = visit(server)
    assert page.locator("#list").is_hidden()
    assert "Nothing leaves this machine." in page.inner_text(".promise")
    drop(page, file("a.jpg", p_value=0.3), file("b.jpg", p_value=0.01), file("c.jpg"))
    assert page.evaluate("window.marked")
    finished(page, 3)
    words = [card.inner_text() for card in page.locator("#photos > li").all()]
    words.sort(key=lambda text: re.search(r"\w\.jpg", text)[0])
    assert "No evidence" in words[0] and "About 3 in 10 untouched photos" in words[0]
    assert "Strong evidence" in words[1] and "About 1 in 100 untouched" in words[1]
    assert "Not judged" in words[2] and "untouched" not in words[2]
    assert page.inner_text("#count") == "3 photos: 1 strong, 1 without evidence, 1 not judged"
    assert page.locator("#live").inner_text().endswith("All done.")
    for picture in page.locator(".frame img").all():
        picture.scroll_into_view_if_needed()
        page.wait_for_function("(i) => i.complete", arg=picture.element_handle())
        assert picture.evaluate("(i) => i.naturalWidth") > 0


def test_what_later_reports_say_is_shown(visit, server):
    page = visit(server)
    reason = "the map singles out a region of 9 % of the photo; 6 in 100 pristine photos do so"
    found = {"p": 0.06, "band": "slight signs", "reason": reason, "support": "limited support"}
    found |= {"statement": {"sentence": "tables of another maker."}, "region": {"share": 0.09}}
    blind = {"p": None, "band": None, "verdict": "cannot tell", "reason": "a screenshot"}
    unknown = {"p": 0.5, "band": "hardly <b>anything</b>", "verdict": "no"}
    give(
        page,
        *(file(f"{n}.jpg", json.dumps(r).encode()) for n, r in enumerate((found, blind, unknown))),
    )
    finished(page, 3)
    text = [page.locator("li", has_text=f"{n}.jpg").inner_text() for n in range(3)]
    assert "Slight signs" in text[0] and "T" + reason[1:] in text[0]
    assert "untouched photos" not in text[0]  # the reason says how many
    assert "limited support" in text[0] and "The file: tables of another maker." in text[0]
    assert "Cannot tell" in text[1] and "A screenshot." in text[1]
    assert "Hardly <b>anything</b>" in text[2]


def test_no_evidence_is_not_green(visit, server):
    for scheme in ("light", "dark"):
        page = visit(server, color_scheme=scheme)
        if scheme == "light":
            give(page, file("a.jpg", p_value=0.5))
        finished(page, 1)
        colour = page.locator(".verdict").evaluate("(e) => getComputedStyle(e).color")
        red, green, blue = map(int, re.findall(r"\d+", colour)[:3])
        assert green <= max(red, blue)


def test_progress_is_shown_and_said(visit, server):
    page = visit(server)
    give(page, file("a.jpg", b"hang"))
    expect(page.locator("li.working")).to_have_count(1)
    give(page, file("b.jpg"))  # two at once may arrive in either order
    expect(page.locator("li.working")).to_contain_text("Comparing its patches …")
    expect(page.locator("li.waiting")).to_contain_text("1 before it")
    assert page.locator("li.working progress").get_attribute("value") is None  # for how long?
    assert page.inner_text("#totalwords") == "0 of 2 done"
    assert page.title().startswith("(0/2)")
    assert page.locator("#live").get_attribute("aria-live") == "polite"


def test_errors_name_cause_and_cure(visit, server):
    page = visit(server)
    give(page, file("bad.jpg", b"bad"), file("empty.jpg", b""), file("c.jpg", b"crash"))
    give(page, file("large.jpg", b"x" * (1 << 20) + b"x"), file("good.jpg"))
    finished(page, 5)
    text = {c.inner_text().split("\n")[0]: c.inner_text() for c in page.locator("li").all()}
    assert "Not an image of a known format. Give a JPEG." in text["bad.jpg"]
    assert "Not taken: the file is empty." in text["empty.jpg"]
    assert "larger than 1.0 MB" in text["large.jpg"]
    assert "The others go on." in text["c.jpg"] and "Not judged" in text["good.jpg"]
    assert page.inner_text("#count").endswith("4 not read")
    visit.trouble[:] = [words for words in visit.trouble if "400 (Bad Request)" not in words]


def test_results_survive_a_reload(visit, server):
    page = visit(server)
    give(page, file("a.jpg", p_value=0.04), file("b.jpg", b"bad"))
    finished(page, 2)
    before = page.inner_text("#photos")
    page.reload()
    finished(page, 2)
    assert page.inner_text("#photos") == before
    assert visit(server).locator("#photos > li").count() in (0, 2)  # another window


def test_fifty_files(visit, server, monkeypatch):
    page = visit(server)
    values = np.random.default_rng(0).permutation(50) / 50
    drop(page, *(file(f"{n}.jpg", p_value=float(p)) for n, p in enumerate(values)))
    finished(page, 50)
    assert page.inner_text("#count").startswith("50 photos: ")
    page.select_option("#sort", "strength")
    names = [name.inner_text() for name in page.locator("li h3").all()]
    assert names == [f"{n}.jpg" for n in np.argsort(values)]
    page.select_option("#sort", "name")
    names = [name.inner_text() for name in page.locator("li h3").all()]
    assert names == [f"{n}.jpg" for n in range(50)]


def test_a_full_queue_is_waited_for(visit, tmp_path, monkeypatch):
    monkeypatch.setenv("STUB_SECONDS", "0.1")
    with running(tmp_path, max_waiting=2) as server:
        page = visit(server)
        give(page, *(file(f"{n}.jpg") for n in range(8)))
        finished(page, 8)
        assert page.locator("li.done").count() == 8
        visit.trouble[:] = [words for words in visit.trouble if "503" not in words]


HOSTILE = [
    "<img src=x onerror=window.pwned=1>.jpg",
    "</script><script>window.pwned=1</script>.jpg",
    "a\u202egpj.exe",
    "'\"`${window.pwned=1}.jpg",
    "x" * 240 + ".jpg",
    "\U0001f4f7 caf\u00e9 \u6f22\u5b57.jpg",
    "..%2f..%2fetc%2fpasswd",
]


def test_hostile_names_are_text(visit, server):
    page = visit(server, viewport={"width": 360, "height": 700})
    give(page, *(file(name) for name in HOSTILE))
    finished(page, len(HOSTILE))
    assert page.evaluate("window.pwned") is None
    assert page.locator("script").count() == 1
    assert page.locator(".frame img").count() == 3 * len(HOSTILE)
    shown = {name.inner_text() for name in page.locator("li h3").all()}
    wanted = {name.rpartition("/")[2].replace("\u202e", "⟨U+202E⟩") for name in HOSTILE}
    assert shown == wanted
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_two_are_compared_side_by_side(visit, server):
    page = visit(server)
    give(page, *(file(f"{n}.jpg", p_value=0.1 * n) for n in range(3)))
    finished(page, 3)
    assert page.locator("#compare").is_disabled()
    for n in (0, 2):
        page.get_by_label(f"Compare {n}.jpg").check()
    assert page.get_by_label("Compare 1.jpg").is_disabled()  # two are two
    page.click("#compare")
    pair = page.locator("#pair")
    assert [name.inner_text() for name in pair.locator("h3").all()] == ["0.jpg", "2.jpg"]
    assert pair.locator(".frame img").count() == 4
    pair.get_by_label("Blend").fill("10")
    assert pair.locator(".frame img + img").first.evaluate("(i) => i.style.opacity") == "0.1"
    pair.get_by_label("Photo").check()
    assert pair.locator(".frame img").count() == 2
    page.keyboard.press("Escape")
    expect(pair).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "compare"


def test_results_are_saved(visit, server):
    page = visit(server)
    give(page, file("caf\u00e9.jpg", p_value=0.01))
    finished(page, 1)
    names = {}
    for words in ("Report file", "JSON", "Mask", "Zip"):
        with page.expect_download() as download:
            page.locator("li").get_by_text(words, exact=True).click()
        names[words] = download.value.suggested_filename
    with page.expect_download() as download:
        page.click("#zip")
    assert names == {
        "Report file": "caf\u00e9.html",
        "JSON": "caf\u00e9.json",
        "Mask": "caf\u00e9.mask.png",
        "Zip": "caf\u00e9.zip",
    }
    assert download.value.suggested_filename == "exif-jax-results.zip"


def test_photos_are_removed_and_the_focus_stays_in_the_list(visit, server):
    page = visit(server)
    give(page, *(file(f"{n}.jpg") for n in range(3)))
    finished(page, 3)
    page.get_by_role("button", name="Remove 1.jpg").click()
    expect(page.locator("#photos > li")).to_have_count(2)
    assert page.evaluate("document.activeElement.textContent") == "Remove"
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#clear")
    expect(page.locator("#list")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "files"
    assert server.jobs.snapshot() == []


def test_the_keyboard_and_a_screen_reader_reach_everything(visit, server):
    page = visit(server)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    outline = page.locator("label.primary").evaluate("(e) => getComputedStyle(e).outlineStyle")
    assert outline == "solid"  # the focus is seen
    give(page, *(file(f"{n}.jpg", p_value=0.01) for n in range(2)))
    finished(page, 2)
    page.locator("#sort").focus()
    reached = []
    for _ in range(24):
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        page.keyboard.press("Tab")
    for name in ("0.jpg", "1.jpg"):
        for words in ("Compare", "Open the report of", "JSON of", "Mask of", "Remove"):
            assert f"{words} {name}" in reached
    # Everything that can be used has a name, every picture its words, the list its headings.
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, progress, dialog")]
            .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby")
                || e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("h1").count() == 1 and page.locator("html[lang=en]").count() == 1


def test_it_fits_a_phone_the_dark_and_paper(visit, server):
    light = visit(server)
    give(light, file("a.jpg", p_value=0.01), file("y" * 200 + ".jpg", p_value=0.5))
    finished(light, 2)
    phone = visit(server, viewport={"width": 340, "height": 700})
    finished(phone, 2)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 340
    dark = visit(server, color_scheme="dark")
    levels = []
    for page in (light, dark):
        for what in ("backgroundColor", "color"):
            colour = page.evaluate(f"getComputedStyle(document.body).{what}")
            levels.append(np.mean(list(map(int, re.findall(r"\d+", colour)[:3]))))
    assert levels[0] - levels[1] > 150 and levels[3] - levels[2] > 150
    light.emulate_media(media="print")
    for hidden in ("#drop", "#compare", ".links", "#sort"):
        assert not light.locator(hidden).first.is_visible()
    assert light.locator(".verdict").first.is_visible()


def test_that_the_program_has_ended_is_said(visit, tmp_path):
    with running(tmp_path) as server:
        page = visit(server)
        finished(page, 0)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#alert")).to_contain_text("Start exif-serve again")
    visit.trouble.clear()  # the browser's own words about the connection


def test_the_token_is_typed_once(visit, tmp_path):
    with running(tmp_path, token="correct horse battery") as server:
        page = visit(server)
        page.get_by_label("Token").fill("correct horse battery")
        page.get_by_role("button", name="Open").click()
        give(page, file("a.jpg", p_value=0.01))
        finished(page, 1)
        page.reload()
        finished(page, 1)
    visit.trouble[:] = [words for words in visit.trouble if "401" not in words]


def test_a_page_of_another_site_gets_nothing(visit, server, browser):
    page = visit(server)
    with running(server.jobs.root.parent, analyst=False) as other:  # another port: a stranger
        stranger = browser.new_page()
        stranger.goto(other.address)
        policy_free = stranger.evaluate(
            """async (address) => {
                const tries = [["GET", {}], ["POST", {}], ["DELETE", {}]];
                const results = [];
                for (const [method] of tries) {
                    try {
                        const answer = await fetch(address + "/api/photos", { method });
                        results.push(answer.status);
                    } catch (error) { results.push("refused"); }
                }
                return results;
            }""",
            server.address,
        )
        stranger.close()
    assert policy_free == ["refused"] * 3
    assert page.locator("h1").count() == 1


@pytest.mark.slow
def test_the_real_thing_from_the_photo_to_the_explorer(visit, tmp_path):
    model = tiny_release(tmp_path / "model.safetensors")
    Image.fromarray(spliced()[0]).save(tmp_path / "a photo.jpg", quality=95)
    (root := tmp_path / "root").mkdir()
    with running(root, worker_command(str(model), 10**6, None), seconds=280) as server:
        page = visit(server)
        page.set_input_files("#files", str(tmp_path / "a photo.jpg"))
        expect(page.locator("li.done")).to_have_count(1, timeout=240_000)
        assert "224 × 160 pixels" in page.inner_text("li")
        with page.context.expect_page() as opened:
            page.get_by_role("link", name="Open the report of a photo.jpg").click()
        report = opened.value
        report.on("console", lambda message: visit.trouble.append(message.text))
        report.locator("label:has(input[value=explore])").click()
        assert "patches agree with it" in report.inner_text("#status")
        assert "a photo.jpg" in report.inner_text("header")
        # Served without an origin: not even its own script could ask for other photos.
        assert report.evaluate("window.origin") == "null"
