"""Kinds of EXIF values: what exiftool prints, with and without -n, to one canonical text."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.TiffImagePlugin import IFDRational

from exif_jax.reading import exif_values as kinds
from exif_jax.reading.exif_values import MAX_CHARS, decimal, parse_number, raw_text

ZOOM = "24.0-70.0 mm f/2.8-4.0"
bounded = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((400, "400"), (2.5, "2.5"), (1 / 3, "0.333333333333333"), (True, "true"), (-0.5, "-0.5")),
        *((Fraction(1, 60), "0.01666666667"), (Fraction(6, 3), "2"), (2**70, f"{2**70 / 1:.10g}")),
        *((IFDRational(0, 0), "undef"), (IFDRational(1, 0), "inf"), (IFDRational(28, 10), "2.8")),
        *(("Canon\0junk", "Canon"), (b"0232", "0232"), (b"\xc4", "Ä"), ("x" * 999, "x" * 400)),
        *(((24, IFDRational(7, 2), "a"), "24 3.5 a"), ([1, (2, 3), [4], 5], "1 5")),
        *(([7] * 20, " ".join("7" * 16)), (None, ""), ({}, ""), (object(), ""), (1j, "")),
    ],
)
def test_raw_values_are_said_as_exiftool_says_them(value, text):
    assert raw_text(value) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("0.5", 0.5), ("1/60", 1 / 60), ("+1/3", 1 / 3), ("50.0 mm", 50), ("0.086 m", 0.086)),
        *((" -2 ", -2), ("1e-3", 1e-3), ("999999999", 999999999), ("7.", 7)),
        *(("1000000000", None), ("1/0", None), ("0/0", None), ("inf", None), ("nan", None)),
        *(("", None), ("1 s", None), (".5", None), ("1 2", None), ("٣", None), ("9" * 31, None)),
    ],
)
def test_numbers_are_parsed_or_none(text, number):
    assert parse_number(text) == number


@bounded
@given(st.fractions(-(10**8), 10**8, max_denominator=10**6))
def test_a_ratio_comes_back_to_ten_digits(ratio):
    assert parse_number(raw_text(ratio)) == pytest.approx(float(ratio), rel=1e-9)
    assert parse_number(f"{ratio.numerator}/{ratio.denominator}") == pytest.approx(float(ratio))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (kinds.plain_text, {" Canon ": "Canon", "a,  b\n": "a; b", "Ä\x1ba": "?a", " ": None}),
        (kinds.plain_text, {"1.10": "1.1", "007": "007", "-0": "0", "TRUE": "true", "1e2": "100"}),
        (kinds.plain_text, {"x" * 50: "x" * 40, "x" * 39 + " y": "x" * 39}),
        (decimal(1, " mm"), {"50": "50.0 mm", "50.0 mm": "50.0 mm", "0": None, "0.04": None}),
        (decimal(2, zero=True), {"0": "0.00", "-0.001": "0.00", "1/3": "0.33", "undef": None}),
        (kinds.seconds, {"0.0166667": "1/60 s", "1/8000": "1/8000 s", "0.25": "1/4 s"}),
        (kinds.seconds, {"2": "2.0 s", "0.3": "0.3 s", "30": "30.0 s", "0": None, "1e-7": None}),
        (kinds.f_number, {"2.8": "f/2.8", "0.04": None, "0.95": "f/0.95", "0.999": "f/1.0"}),
        (kinds.aperture, {"2.8": "f/2.8", "1.0": None, "1.05": None, "1.06": "f/1.1"}),
        (kinds.exposure_bias, {"0": "0 EV", "undef": "0 EV", "-0.5": "-0.50 EV", "": None}),
        (kinds.exposure_bias, {"-0.67": "-0.67 EV", "1.59": "+1.59 EV", "0.004": "0 EV"}),
        (kinds.first_integer, {"400 0": "400", "100, 200": "100", "0.4": None, "a": None}),
        (kinds.first_integer, {"0.5": "1", "2.5": "3"}),
        (kinds.number_list, {"255 " * 12: "255 " * 9 + "255", "1234 " * 9: "1234 " * 7 + "1234"}),
        (kinds.plain_text, {"é?": "?", "?é?a": "?a"}),
        (kinds.number_list, {"0.299, 0.587": "0.299 0.587", "1/3 2": "0.3333 2", "1 a": None}),
        (kinds.version, {"0232": "2.32", "0100": "1.00", "232": None, "٠٢٣٢": None}),
        (kinds.interop_index, {"R98": "R98", "R03 - DCF option file": "R03", "R9": None}),
        (kinds.components, {"1 2 3 0": "Y Cb Cr", "Y, Cb, Cr, -": "Y Cb Cr", "4 5 6 0": "R G B"}),
        (kinds.components, {"0 0 0 0": None, "1 2 3": None, "7 7 7 7": None, "Err": None}),
        (kinds.cfa_pattern, {"2 2 1 0 2 1": "Green Red / Blue Green", "3 3 1 0 2 1": None}),
        (kinds.cfa_pattern, {"[Red,Green][Green,Blue]": "Red Green / Green Blue", "[Pink]": None}),
        (kinds.lens_range, dict.fromkeys(("24 70 2.8 4", "24-70mm f/2.8-4"), ZOOM)),
        (kinds.lens_range, {"50 50 1.4 1.4": "50.0 mm f/1.4", "50mm f/1.4": "50.0 mm f/1.4"}),
        (kinds.lens_range, {"24 70 undef undef": "24.0-70.0 mm", "0 0 0 0": None, "? 7 2 2": None}),
    ],
)  # fmt: skip
def test_kinds(kind, said):
    assert {text: kind(text) for text in said} == said


@pytest.mark.parametrize("n", [4, 5, 25, 60, 125, 320, 1000, 8000])
def test_a_shutter_speed_is_one_over_a_whole_number_in_every_form(n):
    for form in (f"1/{n}", f"{1 / n:.10g}", f"{1 / n:.6f}", f"10/{10 * n}"):
        assert kinds.seconds(form) == f"1/{n} s"


@pytest.mark.parametrize("thirds", range(-15, 16))
def test_exposure_steps_are_thirds_in_every_form(thirds):
    said = f"{thirds / 3:+.2f} EV" if thirds else "0 EV"
    for form in (f"{thirds}/3", f"{thirds / 3:.10g}", f"{thirds / 3:.2f}"):
        assert kinds.exposure_bias(form) == said


# Exif 2.32, 4.6.5: codes of each tag that are defined, with a word that tells them.
CODES = {
    kinds.ORIENTATION: {1: "normal", 2: "Mirror horizontal", 3: "180", 4: "vertical", 6: "90 CW"},
    kinds.PROGRAM: {1: "Manual", 2: "Program AE", 3: "Aperture", 4: "Shutter", 8: "Landscape"},
    kinds.SENSITIVITY: {1: "SOS", 2: "REI", 3: "ISO Speed", 4: "SOS and REI", 7: "; REI and ISO"},
    kinds.METERING: {1: "Average", 2: "Center", 3: "Spot", 4: "Multi", 6: "Part", 255: "Other"},
    kinds.LIGHT: {1: "Daylight", 2: "Fluor", 3: "Tungsten", 4: "Flash", 9: "Fine", 10: "Cloudy",
                  11: "Shade", 14: "Cool", 17: "Light A", 20: "D55", 23: "D50", 255: "Other"},
    kinds.COLOR_SPACE: {1: "sRGB", 0xFFFF: "Uncalibrated"},
    kinds.SENSING: {1: "Not", 2: "One-chip", 5: "sequential area", 7: "Trilinear", 8: "linear"},
    kinds.SOURCE: {1: "Film", 2: "Reflection", 3: "Digital Camera"},
    kinds.GAIN: {0: "None", 1: "Low gain up", 2: "High gain up", 3: "Low gain down", 4: "High"},
    kinds.CAPTURE: {0: "Standard", 1: "Landscape", 2: "Portrait", 3: "Night"},
    kinds.DISTANCE_RANGE: {0: "Unknown", 1: "Macro", 2: "Close", 3: "Distant"},
    kinds.LEVELS: {0: "Normal", 1: "Low", 2: "High"},
    kinds.COMPOSITE: {0: "Unknown", 1: "Not a", 2: "General", 3: "While Shooting"},
    kinds.UNIT: {2: "inches", 3: "cm"},
}  # fmt: skip


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind("1"))
def test_codes_have_the_words_of_the_standard_and_are_read_back(kind):
    for code, word in CODES[kind].items():
        assert word in kind(str(code))
    for code in [*range(256), 0xFFFF]:
        said = kind(str(code))
        assert said and kind(said) in (said, None)  # None: words that were shortened
        assert kind(f"Unknown ({code})") == kind(f"Unknown (0x{code:x})") == said
    assert kind("") is kind("no such word") is kind("-1") is kind("1 2") is None


@pytest.mark.parametrize("code", [c for c in range(0x60) if "Unknown" not in kinds.FLASH(str(c))])
def test_the_words_of_flash_follow_its_bits(code):
    parts = set(kinds.FLASH(str(code)).split("; "))
    assert parts & {"No return", "Return"} == {0: set(), 4: {"No return"}, 6: {"Return"}}[code & 6]
    mode = {0: set(), 8: {"On"}, 16: {"Off"}, 24: {"Auto"}}[code & 24]
    assert parts & {"On", "Off", "Auto"} == mode
    assert not parts & ({"Did not fire", "No Flash"} if code & 1 else {"Fired"})
    assert ("flash function" in str(parts)) == bool(code & 32)
    assert ("Red-eye" in parts) == bool(code & 64)


KINDS = [*CODES, kinds.FLASH, kinds.RENDERED, decimal(2, " m"), decimal(0)]
KINDS += [kinds.plain_text, kinds.seconds, kinds.f_number, kinds.aperture, kinds.exposure_bias]
KINDS += [kinds.first_integer, kinds.number_list, kinds.version, kinds.interop_index]
KINDS += [kinds.components, kinds.cfa_pattern, kinds.lens_range]
WORDS = r"([-+]?\d{1,12}([./e]\d{1,12})?( mm?)?[ ,]?){1,8}|Unknown \((0x)?[0-9a-f]{1,10}\)"


@bounded
@given(st.text(max_size=60) | st.from_regex(WORDS, fullmatch=True))
def test_any_text_gives_a_canonical_one_or_none(text):
    for kind in KINDS:
        assert re.fullmatch(rf"[ -+\--~]{{1,{MAX_CHARS}}}", kind(text) or "None")
