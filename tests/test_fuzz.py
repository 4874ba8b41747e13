"""The fuzzing command: its changes are what their names say, and it sees what is wrong."""

import dataclasses
import io
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import fuzz
from benchmarks.evidence_mutations import EVIDENCE_MUTATIONS
from benchmarks.fuzz import Case, Outcome, djpeg_warning, find_fault, make_case, read
from benchmarks.fuzz_seeds import make_seeds
from benchmarks.jpeg_mutations import JPEG_MUTATIONS, jpeg_parts
from benchmarks.mutations import BYTE_MUTATIONS, Expected
from exif_jax.reading.photo import read_photo

SCENE = np.random.default_rng(3).integers(0, 256, (96, 128, 3), np.uint8)
needs_djpeg = pytest.mark.skipif(shutil.which("djpeg") is None, reason="djpeg is not installed")


def encode(**options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(SCENE).save(file, "JPEG", **options)
    return file.getvalue()


OF_PARTS = (*JPEG_MUTATIONS, *EVIDENCE_MUTATIONS)
JPEGS = [encode(), encode(progressive=True), encode(restart_marker_rows=1)]


def mutate(mutation, data: bytes, seed: int) -> bytes | None:
    return mutation.apply(data, np.random.default_rng(seed), JPEGS)


def test_names_are_unique():
    names = [mutation.name for mutation in (*BYTE_MUTATIONS, *OF_PARTS)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("mutation", [*BYTE_MUTATIONS, *OF_PARTS], ids=lambda m: m.name)
def test_a_change_depends_on_its_numbers_alone(mutation):
    changed = 0
    for seed in range(10):
        for data in JPEGS:
            made = mutate(mutation, data, seed)
            assert made == mutate(mutation, data, seed)
            changed += made not in (None, data)
    assert changed >= 8  # one of the files has restart markers


def test_parts_of_a_jpeg_file_follow_each_other():
    for data in JPEGS:
        parts = jpeg_parts(data)
        assert parts is not None and parts[-1].marker == 0xD9
        assert [part.start for part in parts] == [2, *(part.end for part in parts[:-1])]
        assert {part.marker for part in parts} >= {0xDB, 0xC4, 0xDA}
    assert jpeg_parts(b"no JPEG file") is None and jpeg_parts(JPEGS[0][:-2]) is None


def decoded_by_djpeg(data: bytes) -> bytes:
    return subprocess.run(["djpeg"], input=data, capture_output=True).stdout


@needs_djpeg
@pytest.mark.parametrize(
    "mutation",
    [m for m in OF_PARTS if m.expected in (Expected.SAME_PIXELS, Expected.SAME_PIXELS_NOTED)],
    ids=lambda m: m.name,
)
def test_what_leaves_the_picture_as_it_is_does_so_for_libjpeg(mutation):
    for seed in range(6):
        for data in JPEGS:
            made = mutate(mutation, data, seed)
            assert made is not None
            assert decoded_by_djpeg(made) == decoded_by_djpeg(data) != b""
            if mutation.expected is Expected.SAME_PIXELS:
                assert djpeg_warning(made) == ""


@needs_djpeg
def test_a_damaged_scan_that_is_read_without_a_word_is_a_finding():
    mutation = next(m for m in JPEG_MUTATIONS if m.name == "cut scan with an end marker")
    data = mutate(mutation, JPEGS[0], 1)
    case = Case(0, (mutation.name,), data, mutation.expected)
    silent = Outcome(pixels="other")
    assert "premature end" in find_fault(case, silent, JPEGS[0])
    assert find_fault(case, silent._replace(notes=("damaged",)), JPEGS[0]) == ""
    assert find_fault(case, Outcome(refusal="damaged"), JPEGS[0]) == ""


def test_pixels_that_should_be_the_same_are_compared():
    mutation = next(m for m in JPEG_MUTATIONS if m.name == "fill bytes")
    case = Case(0, (mutation.name,), mutate(mutation, JPEGS[0], 1), mutation.expected)
    assert find_fault(case, read(JPEGS[0]), JPEGS[0]) == ""
    assert find_fault(case, read(JPEGS[1])._replace(pixels="x"), JPEGS[0]) == "other pixels"
    assert find_fault(case, Outcome(refusal="odd"), JPEGS[0]) == "refused: odd"


def test_a_case_can_be_made_again():
    seeds = make_seeds()
    cases = [make_case(seeds, 5, index) for index in range(60)]
    assert cases == [make_case(seeds, 5, index) for index in range(60)]
    assert cases[0] != make_case(seeds, 6, 0)
    expected = {case.expected for case in cases}
    assert {Expected.ANYTHING, Expected.AS_LIBJPEG, Expected.SAME_PIXELS} <= expected


def test_fuzzing_finds_nothing_in_a_few_hundred_cases(tmp_path, capsys):
    argv = ["--count", "500", "--seed", "99", "--findings", str(tmp_path / "findings")]
    assert fuzz.main(argv) == 0
    assert "0 findings" in capsys.readouterr().out
    assert not (tmp_path / "findings").exists()


def test_results_out_of_their_bounds_are_findings(monkeypatch):
    photo = read_photo(JPEGS[0])
    grey = dataclasses.replace(photo, image=photo.image.convert("L"))
    monkeypatch.setattr(fuzz, "read_photo", lambda _: grey)
    with pytest.raises(AssertionError):
        read(b"")


@pytest.mark.parametrize(
    ("worker", "finding"),
    [
        ("import os; print('{\"begin\": 4}', flush=True); os.abort()", "process died"),
        ("import time; print('{\"begin\": 4}', flush=True); time.sleep(60)", "more than 1 s"),
    ],
)
def test_workers_that_abort_or_hang_are_findings(monkeypatch, worker, finding):
    monkeypatch.setattr(fuzz, "WORKER", (sys.executable, "-c", worker))
    monkeypatch.setattr(fuzz, "MAX_SECONDS", 1)
    results = fuzz.watch(0, 4, 5)
    assert not results.outcomes and finding in results.findings[4]


def test_workers_that_die_or_raise_are_findings(monkeypatch):
    monkeypatch.setattr(fuzz, "WORKER", (sys.executable, "-c", _DYING_WORKER))
    results = fuzz.watch(0, 0, 4)
    assert results.findings == {1: "ValueError: odd", 2: "the process died (3)"}
    assert results.outcomes == {"read": 2}


_DYING_WORKER = """
import json, sys
for index in range(int(sys.argv[2]), int(sys.argv[3])):
    print(json.dumps({"begin": index}), flush=True)
    if index == 2:
        sys.exit(3)
    line = {"end": index, "outcome": "read", "mutation": "set byte"}
    if index == 1:
        line = {"end": index, "finding": "ValueError: odd"}
    print(json.dumps(line), flush=True)
"""
