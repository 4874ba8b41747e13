"""Composites: the truth about each, what each kind promises, and that they follow from the seed."""

import numpy as np
import pytest
from PIL import Image

from exif_jax.data import composite_batches, composites, histories, masks, photo_pool
from exif_jax.data.composites import KINDS, make_composite, match_tone


@pytest.fixture(scope="module")
def pool_folder(tmp_path_factory):
    """A pool of six photos with texture, one of them large, and of four pieces."""
    root = tmp_path_factory.mktemp("pool")
    rng = np.random.default_rng(0)
    for folder, names, size in (("whole", "abcdef", (420, 300)), ("pieces", "wxyz", (448, 448))):
        (root / folder).mkdir()
        for k, name in enumerate(names):
            wide, high = (1600, 1200) if name == "f" else size
            smooth = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
            values = np.asarray(smooth.resize((wide, high), Image.Resampling.BICUBIC), np.float32)
            values += rng.normal(0, 4 + k, values.shape)
            Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(
                root / folder / f"{name}.png"
            )
    photo_pool.make_pool([root / "whole"], [root / "pieces"], root / "pool")
    return root / "pool"


@pytest.fixture(scope="module")
def pool(pool_folder):
    return photo_pool.load_pool(pool_folder)


def rng(*seed):
    return np.random.default_rng(seed)


def test_shares_are_shares():
    assert abs(sum(KINDS.values()) - 1) < 1e-9
    assert abs(sum(photo_pool.SHARES.values()) - 1) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_shape_and_follows_from_the_seed(pool, kind):
    first, again = (make_composite(pool, rng(1, 2), 128, 192, kind) for _ in range(2))
    other = make_composite(pool, rng(1, 3), 128, 192, kind)
    assert first.picture.shape == (128, 192, 3) and first.picture.dtype == np.uint8
    assert first.tampered.shape == (16, 24) and first.kind == kind
    assert np.array_equal(first.picture, again.picture)
    assert np.array_equal(first.tampered, again.tampered)
    assert not np.array_equal(first.picture, other.picture)


@pytest.mark.parametrize("kind", KINDS)
def test_only_pristine_ones_have_an_empty_truth(pool, kind):
    share = [make_composite(pool, rng(5, k), 128, 192, kind).tampered.mean() for k in range(6)]
    if kind == "pristine":
        assert max(share) == 0
    else:
        assert min(share) > 0.005 and max(share) < 0.45


@pytest.fixture
def plain(monkeypatch):
    """Nothing happens to a finished picture, and edges are hard."""
    monkeypatch.setattr(composites, "_SHRUNK_AFTER", 0)
    monkeypatch.setattr(composites, "_ORIGINALS_SHRUNK", 0)
    monkeypatch.setitem(composites._ORIGINAL, composites.RESAMPLED, 0)
    monkeypatch.setattr(composites, "_CROPPED_AFTER", 0)
    monkeypatch.setattr(histories, "later_life", lambda picture, rng: picture)
    monkeypatch.setattr(
        composites, "softened", lambda mask, rng: mask.astype(np.float32)[..., None] / 255
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "pristine"])
def test_truth_is_where_the_host_was_changed(pool, plain, monkeypatch, kind):
    hosts = []
    # A host that is an original has no saves.
    module, name = (
        (composites, "_clean_part")
        if kind == composites.ORIGINALS
        else (histories, "earlier_saves")
    )
    made_by = getattr(module, name)

    def keep_first(*args, **named):
        made = made_by(*args, **named)
        hosts.append(made)
        return made

    monkeypatch.setattr(module, name, keep_first)
    for k in range(4):
        hosts.clear()
        made = make_composite(pool, rng(7, k), 128, 192, kind)
        changed = (made.picture != hosts[0]).any(-1).reshape(16, 8, 24, 8).mean((1, 3))
        assert (changed[made.tampered == 0] == 0).all()
        assert changed[made.tampered > 0].mean() > 0.05


def test_originals_are_native_pixels_on_their_own_grid(pool, plain):
    """Both the host and the donor are pieces as cameras wrote them, and not of one photo."""
    pieces = [pool.picture(int(k)) for k in pool.of_kind[photo_pool.NATIVE]]
    for k in range(8):
        made = make_composite(pool, rng(11, k), 128, 192, composites.ORIGINALS)
        corners = (made.tampered == 0).nonzero()
        y, x = (int(a[0]) * 8 for a in corners)
        block = made.picture[y : y + 8, x : x + 8]
        found = [
            (at, left)
            for piece in pieces
            for view in (piece, piece[:, ::-1])
            for at in range(0, len(view) - 7, 8)
            for left in range(0, view.shape[1] - 7, 8)
            if np.array_equal(view[at : at + 8, left : left + 8], block)
        ]
        assert found


def test_a_donor_is_of_another_photo(pool):
    for number in range(len(pool)):
        same = np.flatnonzero([e.photo == pool.entries[number].photo for e in pool.entries])
        others = np.setdiff1d(np.arange(len(pool)), same)
        found = composites._another(pool, number, np.r_[same, others[:1]])
        assert found == others[0]
        assert composites._another(pool, number, same) == same[-1]  # none else was drawn


def test_pristine_pictures_are_their_host(pool, plain, monkeypatch):
    monkeypatch.setattr(histories, "earlier_saves", lambda picture, rng, none=0.15: picture)
    made = make_composite(pool, rng(8), 128, 192, "pristine").picture
    whole = [pool.picture(k) for k in range(len(pool))]
    corner = made[:8, :8]
    found = False
    for picture in (*whole, *(p[:, ::-1] for p in whole)):
        near = (picture[:, :, 0] == corner[0, 0, 0]).nonzero()
        for y, x in zip(*near, strict=True):
            found |= np.array_equal(picture[y : y + 8, x : x + 8], corner)
    assert found


def test_regions_have_their_area():
    for k in range(20):
        mask = masks.blob(128, 192, rng(k))
        assert mask.shape == (128, 192) and set(np.unique(mask)) == {0, 255}
        assert 0.015 <= mask.mean() / 255 <= 0.4


def test_an_object_is_found_along_its_edges():
    picture = np.full((160, 240, 3), 60, np.uint8)
    picture[40:100, 60:160] = (200, 80, 40)
    found = [masks.object_region(picture, rng(k)) for k in range(8)]
    objects = [mask for mask in found if mask is not None]
    assert objects
    truth = np.zeros((160, 240), bool)
    truth[40:100, 60:160] = True
    around = 2 * (60 + 100)  # pixels of its edge, of which a coarse one is 4 wide
    assert min(((mask > 127) ^ truth).sum() for mask in objects) <= 4 * around


def test_an_object_of_many_colours_is_found_before_a_background_of_one(monkeypatch):
    monkeypatch.setattr(masks, "_BEFORE_LIKE_COLOURS", 1)
    picture = np.full((160, 240, 3), 60, np.uint8)
    colours = Image.fromarray(rng(1).integers(0, 256, (6, 10, 3), dtype=np.uint8))
    picture[40:100, 60:160] = np.asarray(colours.resize((100, 60), Image.Resampling.NEAREST))
    found = [masks.object_region(picture, rng(k)) for k in range(8)]
    objects = [mask for mask in found if mask is not None]
    assert objects
    truth = np.zeros((160, 240), bool)
    truth[40:100, 60:160] = True
    around = 2 * (60 + 100)
    assert min(((mask > 127) ^ truth).sum() for mask in objects) <= 4 * around
    picture[:, 60:160] = picture[40, 60:160]  # what reaches from border to border is no object
    assert all(masks.object_region(picture, rng(k)) is None for k in range(8))


def test_flat_pictures_have_no_objects():
    assert masks.object_region(np.full((96, 96, 3), 9, np.uint8), rng(1)) is None


@pytest.mark.parametrize("share", [0, 1])
def test_donors_of_one_source_were_saved_as_the_host_was(pool, share, monkeypatch):
    """By the qualities of all saves of host and donor, without the picture's later life."""
    qualities = []

    def encode(picture, quality, subsampling):
        qualities.append((quality, subsampling))
        return picture

    monkeypatch.setattr(histories, "encode", encode)
    monkeypatch.setattr(histories, "later_life", lambda picture, _: picture)
    for name in ("_SAME_SOURCE", "_SHRUNK_AFTER", "_CROPPED_AFTER", "_UNSAVED"):
        monkeypatch.setattr(composites, name, share if name == "_SAME_SOURCE" else 0)
    same = 0
    for k in range(12):
        qualities.clear()
        make_composite(pool, rng(6, k), 128, 192, "other photo")
        number = len(qualities) // 2
        same += qualities[:number] == qualities[number : 2 * number]
    assert same >= 7 if share else same <= 2  # a donor may be saved once more, cut out


def test_tone_is_the_hosts():
    donor = rng(1).integers(0, 100, (64, 64, 3), dtype=np.uint8)
    host = rng(2).integers(100, 200, (64, 64, 3), dtype=np.uint8)
    matched = match_tone(donor, host, 1.0)
    np.testing.assert_allclose(matched.mean((0, 1)), host.mean((0, 1)), atol=3)
    assert np.array_equal(match_tone(donor, host, 0.0), donor)


def test_a_rich_region_lies_where_the_donor_has_more_than_the_host(monkeypatch):
    donor, host = (rng(n).integers(120, 136, (96, 128, 3), dtype=np.uint8) for n in (1, 2))
    donor[32:64, 64:96] = rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)  # detail and colour
    host[:, :32] = rng(4).integers(0, 256, (96, 32, 3), dtype=np.uint8)
    masks_in_turn = []
    for left in (0, 32, 64, 96):
        masks_in_turn.append(np.zeros((96, 128), np.uint8))
        masks_in_turn[-1][32:64, left : left + 32] = 255
    turn = iter(masks_in_turn)
    monkeypatch.setattr(composites, "region", lambda *_: next(turn))
    assert composites._rich_region(donor, host, rng(5)) is masks_in_turn[2]


def test_another_grid_keeps_the_scene():
    picture = np.asarray(
        Image.fromarray(rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((128, 96))
    )
    made = histories.on_another_grid(picture, rng(4))
    assert made.shape == picture.shape
    assert 0 < np.abs(made.astype(int) - picture).mean() < 8


def test_batches_follow_from_the_step(pool_folder, pool):
    part = pool.part(validation=False)
    args = (3, 2, 1)
    expected = composite_batches.make_batch(part, args[0], 4, args[1], args[2])
    made = list(
        composite_batches.composite_batches(str(pool_folder), args[0], range(3, 6), *args[1:], 2)
    )
    assert len(made) == 3
    for name, values in expected.items():
        assert np.array_equal(made[1][name], values)


@pytest.mark.parametrize(
    ("original", "room", "least", "most"),
    [(True, 1.0, 1.15, 1.15), (True, 3.0, 1.15, 3.0), (True, 9.0, 1.15, 5.0)]
    + [(False, room, 1.15, 2.5) for room in (1.0, 9.0)],
)
def test_originals_are_shrunk_as_far_as_their_photo_has_the_room(original, room, least, most):
    kind = composites.ORIGINALS if original else "other photo"
    drawn = [composites._shrinking(kind, original, room, rng(7, k)) for k in range(300)]
    shrunk = [factor for factor in drawn if factor != 1]
    assert min(shrunk) >= least - 1e-9 and max(shrunk) <= most + 1e-9
    assert max(shrunk) >= least + 0.95 * (most - least)
    share = composites._ORIGINALS_SHRUNK if original else composites._SHRUNK_AFTER
    assert len(shrunk) / len(drawn) == pytest.approx(share, abs=0.1)


def test_every_second_pixel_tells_how_rich_large_pictures_are(pool):
    number = next(k for k, e in enumerate(pool.entries) if e.width == 1280)
    large = pool.picture(number)
    rich = composites._richness(large)
    assert rich.shape == (120, 160)
    of_halves = composites._richness(np.ascontiguousarray(large[:, :640]))
    assert np.corrcoef(rich[:, :80].ravel(), of_halves.ravel())[0, 1] > 0.5


def test_larger_pictures_come_fewer_to_a_batch():
    sizes = {composite_batches.batch_shape(step, 16, 1) for step in range(6)}
    of_each = {(height, width): number for number, height, width in sizes}
    assert of_each == {(192, 256): 16, (256, 192): 16, (256, 384): 8, (384, 256): 8, (384, 512): 4}
    assert all(composite_batches.batch_shape(step, 20, 8)[0] % 8 == 0 for step in range(6))


def test_validation_holds_every_kind(pool):
    made = composite_batches.validation_composites(pool, 0, 2)
    assert [c.kind for c in made] == [kind for kind in KINDS for _ in range(2)]


# --- the pool -------------------------------------------------------------------------------------


def test_a_large_photo_is_shrunk_and_cut(pool):
    of_f = [entry for entry in pool.entries if entry.photo == "f"]
    assert [entry.kind for entry in of_f] == ["whole", "native", "native"]
    assert 420 <= of_f[0].width <= 1600 and (of_f[1].width, of_f[1].height) == (1280, 960)


def test_pieces_at_full_size_are_the_photos_own(pool_folder, pool):
    photo = np.asarray(Image.open(pool_folder.parent / "whole" / "f.png"))
    number = next(k for k, e in enumerate(pool.entries) if (e.photo, e.kind) == ("f", "native"))
    piece = pool.picture(number)
    places = [
        (y, x)
        for y in range(0, 1200 - 960 + 1, 8)
        for x in range(0, 1600 - 1280 + 1, 8)
        if np.array_equal(photo[y, x : x + 8], piece[0, :8])
    ]
    assert any(np.array_equal(photo[y : y + 960, x : x + 1280], piece) for y, x in places)


def test_held_out_photos_are_not_trained_on(pool):
    parts = [{e.photo for e in pool.part(held_out).entries} for held_out in (True, False)]
    assert not parts[0] & parts[1] and len(parts[0] | parts[1]) == 10


def test_a_pool_is_the_same_twice(pool_folder, pool, tmp_path):
    root = pool_folder.parent
    photo_pool.make_pool([root / "whole"], [root / "pieces"], tmp_path / "again")
    assert photo_pool.load_pool(tmp_path / "again").fingerprint == pool.fingerprint


def test_unreadable_photos_are_named_and_left_out(tmp_path, capsys):
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    Image.fromarray(rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    assert photo_pool.make_pool([tmp_path], [], tmp_path / "pool") == 1
    assert "bad.jpg" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["no folder", "short", "not json"])
def test_a_damaged_pool_is_refused(tmp_path, damage):
    Image.fromarray(rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    folder = tmp_path / "pool"
    if damage != "no folder":
        photo_pool.make_pool([tmp_path], [], folder)
    if damage == "short":
        data = (folder / "pixels.bin").read_bytes()
        (folder / "pixels.bin").write_bytes(data[:-1])
    if damage == "not json":
        (folder / "index.json").write_text("[")
    with pytest.raises(photo_pool.PoolError, match="no pool of photos"):
        photo_pool.load_pool(folder)


def test_folders_without_photos_are_refused(tmp_path):
    with pytest.raises(photo_pool.PoolError, match="no such folder"):
        photo_pool.make_pool([tmp_path / "none"], [], tmp_path / "pool")
    (tmp_path / "empty").mkdir()
    with pytest.raises(photo_pool.PoolError, match="no photo could be read"):
        photo_pool.make_pool([tmp_path / "empty"], [], tmp_path / "pool")
