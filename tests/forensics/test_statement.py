"""File and pixels in one statement: strongest first, nothing averaged away, nothing proved."""

import dataclasses
import json
import math

import pytest
from camera_file import camera_file, scene
from planted import acme, planted_gallery
from planted_reference_set import GRID, patches_of, planted_model

from exif_jax.forensics.file_evidence.examine import examine
from exif_jax.forensics.statement import PIXELS, state, statement_as_json
from exif_jax.forensics.verification import verify_embeddings
from exif_jax.reading.photo import read_photo

CLEAN = examine(read_photo(acme(seed=99)), planted_gallery())
EDITED = examine(
    read_photo(camera_file(scene(seed=99), "Acme", "One", b"", {0xA002: 9}, quality=80)),
    planted_gallery(),
)
VERIFICATION = verify_embeddings(patches_of(0), GRID, {"Make": "NIKON"}, planted_model())


def with_p(p_value):
    return dataclasses.replace(VERIFICATION, p_value=p_value)


def test_what_fits_is_no_proof():
    statement = state(CLEAN, with_p(0.7))
    assert statement.contradictions == () and "proves nothing" in statement.sentence
    assert statement.headline == statement.sentence
    assert statement.strength == pytest.approx(-math.log10(0.7), abs=1e-3)


def test_pixels_add_to_the_file_and_nothing_takes_away():
    file_only, both = state(EDITED, with_p(1.0)), state(EDITED, with_p(0.001))
    assert both.strength == pytest.approx(file_only.strength + 3, abs=1e-3)
    assert both.contradictions[0].rule == PIXELS  # the strongest
    assert {f.rule for f in file_only.contradictions} < {f.rule for f in both.contradictions}
    assert state(EDITED, None).strength == file_only.strength
    assert state(EDITED, None).p_value is None


@pytest.mark.parametrize(
    ("p_value", "verdict"), [(0.05, "contradicts"), (0.051, "fits"), (None, "silent")]
)
def test_pixels_contradict_at_one_in_twenty(p_value, verdict):
    findings = {f.rule: f for f in state(CLEAN, with_p(p_value)).findings}
    assert findings[PIXELS].verdict == verdict


def test_the_sentence_names_the_strongest_and_counts_the_rest():
    statement = state(EDITED, None)
    against = statement.contradictions
    assert len(against) > 3 and statement.sentence.startswith(against[0].sentence)
    assert statement.sentence.endswith(f"and {len(against) - 3} more")
    assert statement.headline == f"{against[0].rule}: {against[0].sentence}"


def test_as_json():
    record = json.loads(json.dumps(statement_as_json(state(EDITED, None)), allow_nan=False))
    assert record["findings"][0]["verdict"] == "contradicts"
    assert set(record["findings"][0]) == {
        *("rule", "group", "verdict", "sentence", "source", "strength")
    }
