"""Which cameras are held out: near the fraction asked for, never all of them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.processing.settings import PrepSettings
from data_prep.records.split import validation_cameras


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    fraction=st.floats(0, 0.9),
    seed=st.integers(0, 1000),
)
def test_split_keeps_near_its_fraction_and_never_takes_all(counts, fraction, seed):
    cameras = {("Make", f"M{k}"): count for k, count in enumerate(counts)}
    chosen = validation_cameras(cameras, PrepSettings(seed=seed, validation_fraction=fraction))
    assert chosen <= set(cameras) and len(chosen) < len(cameras)
    assert chosen == validation_cameras(
        dict(reversed(cameras.items())), PrepSettings(seed=seed, validation_fraction=fraction)
    )
    assert bool(chosen) == (fraction > 0 and len(cameras) > 1)
    held_out = sum(cameras[camera] for camera in chosen)
    assert abs(held_out - fraction * sum(counts)) <= max(counts)
