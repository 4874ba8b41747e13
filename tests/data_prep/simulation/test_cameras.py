"""Simulated cameras differ in what leaves traces, and their settings are ones they can have."""

from fractions import Fraction

import numpy as np

from data_prep.simulation.camera import Make, quantisation_tables
from data_prep.simulation.cameras import CAMERAS
from data_prep.simulation.exposure import choose_shot_settings, widest_aperture


def test_cameras_are_at_least_24_of_8_makes_and_differ():
    assert len(CAMERAS) >= 24
    assert len({camera.make.name for camera in CAMERAS}) == 8
    assert len({camera.model for camera in CAMERAS}) == len(CAMERAS)
    assert len({camera.make.name for camera in CAMERAS[:8]}) == 8
    tables = {(tuple(luma), tuple(chroma)) for luma, chroma in map(quantisation_tables, CAMERAS)}
    assert len(tables) == len(CAMERAS)
    assert {camera.demosaic for camera in CAMERAS} == {"bilinear", "linear5", "directed", "hue"}
    assert {camera.make.phase for camera in CAMERAS} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    for camera in CAMERAS:
        assert np.allclose(np.sum(camera.make.matrix, axis=1), 1), camera.model
        assert isinstance(camera.make, Make)


def test_settings_stay_within_what_the_camera_can_do():
    rng = np.random.default_rng(0)
    for camera in CAMERAS:
        for _ in range(60):
            s = choose_shot_settings(camera, rng)
            assert camera.iso[0] <= s.iso <= camera.iso[1]
            assert camera.lens.focal[0] <= s.focal_length <= camera.lens.focal[1]
            assert s.f_number >= widest_aperture(camera, s.focal_length)
            assert Fraction(1, 8000) <= s.exposure_time <= 1
            assert not (s.flash and camera.make.kind == "action")
