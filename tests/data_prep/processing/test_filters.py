"""Which photos one file alone rules out."""

import pytest

from data_prep.processing.filters import reject_reason
from data_prep.processing.settings import PrepSettings


@pytest.mark.parametrize(
    ("software", "reason"),
    [
        *(
            ("Adobe Photoshop CS6 (Windows)", "edited"),
            ("GIMP 2.8", "edited"),
            ("Picasa", "edited"),
        ),
        *(("Ver.1.00", ""), ("Nikon Transfer 6.2.1 W", ""), ("11.2.5", ""), ("", "")),
        *(("HDR+ 1.0.362396382zd", ""), ("G920VVRU4DQL1", ""), ("ACDSee Pro 3", "edited")),
    ],
)
def test_photos_that_a_program_wrote_are_rejected_unless_asked_for(software, reason):
    exif = dict.fromkeys("abc", "1") | {"Make": "Canon", "Model": "X", "Software": software}
    assert reject_reason(exif, (600, 400), PrepSettings(), is_crop=False)[0] == reason
    assert reject_reason(exif, (600, 400), PrepSettings(keep_edited=True), is_crop=False)[0] == ""


@pytest.mark.parametrize(
    ("sides", "is_crop", "reason"),
    [
        *(
            (("600", "400"), False, ""),
            (("400", "600"), False, ""),
            (("6000", "4000"), False, "resized"),
        ),
        *(
            (("6000", "4000"), True, ""),
            (("wide", "4000"), False, ""),  # a manifest may say anything
            (("600", ""), False, ""),
            (("601", "400"), False, "resized"),
        ),
    ],
)
def test_photos_of_another_size_than_their_exif_are_rejected(sides, is_crop, reason):
    exif = dict.fromkeys("abc", "1") | {"Make": "Canon", "Model": "X"}
    exif |= {"Exif Image Width": sides[0], "Exif Image Height": sides[1]}
    given, message = reject_reason(exif, (600, 400), PrepSettings(), is_crop)
    assert given == reason
    assert ("600 x 400 pixels" in message) == (reason != "")
