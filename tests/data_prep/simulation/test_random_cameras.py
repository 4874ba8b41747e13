"""Cameras drawn by chance: always the same, unlike one another, and able to take photos."""

import dataclasses

import numpy as np

from data_prep.simulation.camera import quantisation_tables
from data_prep.simulation.cameras import CAMERAS
from data_prep.simulation.exposure import choose_shot_settings
from data_prep.simulation.random_cameras import random_camera
from data_prep.simulation.scenes import scene
from data_prep.simulation.shooting import encode_jpeg, shoot

DRAWN = [random_camera(number) for number in range(len(CAMERAS), len(CAMERAS) + 300)]


def test_the_first_are_those_described_by_hand():
    assert tuple(random_camera(i) for i in range(len(CAMERAS))) == CAMERAS


def test_a_number_is_always_the_same_camera_and_three_are_of_a_make():
    assert [random_camera(number) for number in range(len(CAMERAS), len(CAMERAS) + 300)] == DRAWN
    for first in range(0, 300, 3):
        assert len({camera.make for camera in DRAWN[first : first + 3]}) == 1
    assert len({camera.make.name for camera in DRAWN}) > 95
    assert len({(camera.make.name, camera.model) for camera in DRAWN}) == 300


def test_they_differ_in_what_leaves_traces():
    tables = {(tuple(luma), tuple(chroma)) for luma, chroma in map(quantisation_tables, DRAWN)}
    assert len(tables) > 200
    for field in ("demosaic", "subsampling"):
        assert {getattr(c, field) for c in DRAWN} == {getattr(c, field) for c in CAMERAS}
    assert {c.make.phase for c in DRAWN} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert {c.make.denoise for c in DRAWN} == {c.make.denoise for c in CAMERAS}
    assert {c.make.kind for c in DRAWN} == {c.make.kind for c in CAMERAS}


def test_they_are_ones_that_can_be():
    for camera in DRAWN:
        assert np.allclose(np.sum(camera.make.matrix, axis=1), 1)
        assert 0 < camera.iso[0] < camera.iso[1]
        assert 0 < camera.lens.focal[0] <= camera.lens.focal[1]
        assert camera.lens.focal[0] < camera.lens.focal[1] or len(set(camera.lens.aperture)) == 1
        assert camera.make.name.isalpha()
        values = [*dataclasses.asdict(camera).values(), *dataclasses.asdict(camera.make).values()]
        assert not any(isinstance(value, np.generic) for value in values)


def test_each_takes_a_photo_within_its_means():
    view = scene(np.random.default_rng(0), 64)
    for number, camera in enumerate(DRAWN[::10]):
        rng = np.random.default_rng(number)
        settings = choose_shot_settings(camera, rng)
        pixels, exif = shoot(camera, view, settings, rng)
        assert pixels.std() > 1
        assert camera.iso[0] <= settings.iso <= camera.iso[1]
        assert len(encode_jpeg(pixels, exif, camera, settings.fine)) > 500
