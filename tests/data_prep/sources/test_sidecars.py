"""Side-cars that say nothing."""

import pytest

from data_prep.sources.sidecars import sidecar_exif


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b"\xff", b"[" * 10**5, b'{"a": 1}'])
def test_side_cars_that_are_none(content):
    assert sidecar_exif(content) is None


def test_flickrs_refusal_means_no_exif():
    assert sidecar_exif(b'{"stat": "fail", "code": 2, "message": "Permission denied"}') == {}
