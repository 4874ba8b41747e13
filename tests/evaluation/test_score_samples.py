"""The samples of a calibration: balanced from the beginning, repeatable, what they claim to be."""

import collections
import pathlib

import numpy as np
import pytest

from exif_jax.evaluation import score_samples
from exif_jax.evaluation.score_samples import SIZES, SMALL_SIZES, Treatment
from exif_jax.forensics.learned_map import SMALL
from exif_jax.forensics.regions import compactness
from exif_jax.reading.pixels import Jpeg, compress


def photos(cameras=16, each=3):
    return {f"c{k}": [pathlib.Path(f"{k}_{i}.jpg") for i in range(each)] for k in range(cameras)}


def test_the_plan_is_balanced_wherever_it_is_stopped():
    tasks = score_samples.plan(photos())
    assert len({task.key for task in tasks}) == len(tasks) == 16 * 3 * 3
    assert {task.camera for task in tasks[:16]} == set(photos())
    for stop in (48, 96, len(tasks)):
        counts = [sum(task.camera == camera for task in tasks[:stop]) for camera in photos()]
        assert max(counts) - min(counts) <= 2
    later = tasks[16:]
    sizes = collections.Counter(task.treatment.size for task in later)
    assert sizes["cut"] > 0.6 * sizes["small"] and sizes["small"] > 0.6 * sizes["cut"]
    sizes["cut"] += sizes.pop("small")  # the same room, and half as many of either
    assert sizes.keys() == set(SIZES) and min(sizes.values()) > 0.6 * max(sizes.values())
    spliced = [task for task in tasks if task.donor]
    assert len(spliced) == 16 * 3
    assert all(task.donor not in photos()[task.camera] for task in spliced)


def test_small_pictures_are_no_larger_than_the_learned_map_takes_part_in():
    whole, small = (score_samples.plan(photos(), small) for small in (False, True))
    assert [task.photo for task in whole] == [task.photo for task in small]
    sizes = collections.Counter(task.treatment.size for task in small)
    assert sizes.keys() == {*SMALL_SIZES, "small"} and min(sizes.values()) > 0.1 * len(small)
    for task in small[:48]:
        treated, _ = score_samples.treat(noise(1500, 2000, 100), None, task.treatment, task.key)
        assert max(treated.shape) <= SMALL


def test_one_camera_gives_no_splices():
    assert not any(task.donor for task in score_samples.plan(photos(cameras=1)))


def noise(height, width, level, seed=0):
    values = np.random.default_rng(seed).normal(level, 20, (height, width, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_a_splice_is_the_donors_inside_and_the_hosts_outside(seed):
    host, donor = noise(300, 400, 60), noise(200, 260, 200, 1)
    pixels, mask = score_samples.splice(host, donor, f"seed {seed}")
    assert 0.02 < mask.mean() < 0.4
    assert pixels[mask].mean() == pytest.approx(200, abs=15)
    assert (pixels[~mask] == host[~mask]).mean() > 0.9  # an edge of a pixel or two is mixed
    again, _ = score_samples.splice(host, donor, f"seed {seed}")
    assert (again == pixels).all()


def test_treatments_have_the_sizes_that_they_claim():
    pixels, mask = noise(900, 1200, 100), np.zeros((900, 1200), bool)
    mask[300:700, 300:800] = True
    for treatment, size in (
        (Treatment("whole", None), (900, 1200)),
        (Treatment("half", 80), (450, 600)),
        (Treatment("web", None), (600, 800)),
        (Treatment("cut", 60), (256, 384)),
    ):
        treated, treated_mask = score_samples.treat(pixels, mask, treatment, "x")
        assert treated.shape == (*size, 3) and treated_mask.shape == size
    narrow, _ = score_samples.treat(pixels[:, :700], None, Treatment("web", None), "x")
    assert narrow.shape[1] == 700
    small, _ = score_samples.treat(pixels, mask, Treatment("small", None), "x")
    assert max(small.shape) == 384
    _, inside = score_samples.treat(pixels, mask, Treatment("cut", None), "x")
    assert 0.1 < inside.mean() < 0.5
    with pytest.raises(ValueError, match="too few to cut"):
        score_samples.treat(pixels[:200], None, Treatment("cut", None), "x")


def test_mask_figures_are_those_of_the_region_and_of_the_best_cut():
    heatmap = np.zeros((80, 80), np.float32)
    mask = np.zeros((80, 80), bool)
    mask[20:60, 20:60] = True
    heatmap[mask] = 0.6
    heatmap[:20] = 0.3
    assert score_samples.mask_figures(heatmap, heatmap > 0.5, mask) == {"f1_mask": 1, "f1_best": 1}
    found = score_samples.mask_figures(heatmap, heatmap > 0.2, mask)
    assert found["f1_best"] == 1
    assert found["f1_mask"] == pytest.approx(2 * 1600 / (1600 + 1600 + 20 * 80), abs=1e-3)
    assert score_samples.mask_figures(heatmap, mask & False, mask)["f1_mask"] == 0
    for all_or_none in (np.ones_like(mask), np.zeros_like(mask)):
        assert score_samples.mask_figures(heatmap, mask, all_or_none) == {}


def test_compactness():
    clusters = np.zeros((20, 30), int)
    assert compactness(clusters) == 0
    clusters[5:11, 8:14] = 1
    assert compactness(clusters) == pytest.approx(1)
    scattered = np.indices((20, 30)).sum(axis=0) % 2
    assert compactness(scattered) < 0.1


def test_half_of_the_small_pictures_were_saved_before_and_no_larger_ones():
    whole, small = (score_samples.plan(photos(each=9), small) for small in (False, True))
    assert {task.treatment.earlier for task in whole} == {0}
    times = collections.Counter(task.treatment.earlier for task in small)
    for number, share in ((0, 0.5), (1, 0.25), (2, 0.25)):
        assert times[number] / len(small) == pytest.approx(share, abs=0.06)
    for size in SMALL_SIZES:  # whatever the size
        of_size = [task.treatment.earlier for task in small if task.treatment.size == size]
        assert 0.3 < np.mean([number > 0 for number in of_size]) < 0.7
    assert len({task.key for task in small}) == len(
        {(t.photo, t.donor, t.treatment) for t in small}
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_photo_that_was_saved_before_is_smaller_and_its_blocks_are_quantised(seed):
    pixels = noise(1500, 2000, 100)
    assert score_samples.saved_earlier(pixels, 0, "x") is pixels
    once, twice = (score_samples.saved_earlier(pixels, n, f"{seed}") for n in (1, 2))
    assert 640 <= max(once.shape) <= 1600 and 640 <= max(twice.shape) <= max(once.shape)
    assert (score_samples.saved_earlier(pixels, 1, f"{seed}") == once).all()
    # Saved again in the same way it hardly changes: it lies on the grid of its own compression.
    again = [
        np.abs(once - compress(once, Jpeg(q, s)).astype(int)) for q in range(70, 99) for s in (0, 2)
    ]
    other = [
        np.abs(once - compress(np.roll(once, (4, 4), (0, 1)), Jpeg(q, s)).astype(int))
        for q in (75, 90)
        for s in (0, 2)
    ]
    assert min(a.mean() for a in again) < 0.2 * min(o.mean() for o in other)


def test_small_photos_are_not_enlarged_by_an_earlier_save():
    pixels = noise(300, 400, 100)
    saved = score_samples.saved_earlier(pixels, 2, "x")
    assert saved.shape == pixels.shape and (saved != pixels).any()
