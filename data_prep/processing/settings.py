"""What decides the records besides the photos: the settings, and choices that look random.

Nothing here depends on the number of workers, on the machine or on a library's random generator:
every choice is a SHA-256 of the seed and of what is chosen.
"""

import hashlib
from dataclasses import dataclass

from exif_jax.reading.photo import MAX_PIXELS

MIN_SIDE = 128  # pixels: smaller photos hold no patch of the usual size


@dataclass(frozen=True)
class PrepSettings:
    """What decides the bytes of the records, besides the photos themselves.

    Attributes:
      seed: Any integer; another seed gives other regions, another split and another order.
      region_size: Side of a region in pixels, a multiple of 16, at least 128.
      regions_per_photo: Most regions that one photo gives, at least 1.
      validation_fraction: Share of the photos whose cameras are held out, in [0, 1).
      min_tags: Photos with fewer canonical tags are rejected.
      shards: Shards of each split; 0 = as many as make about 256 MiB each.
      keep_edited: Also take photos that a program edited or resized, by all that the file says.
      max_hamming_distance: A photo is a near duplicate of one of its camera if no more bits of
        their fingerprints differ (`fingerprint.fingerprint`); -1 keeps them all.
      max_per_camera: Most photos of one camera model; 0 = all.
      max_per_photographer: Most photos of one photographer, where the source tells them apart;
        0 = all.
      max_pixels: Photos of more pixels are rejected, undecoded; at least 1.
    """

    seed: int = 0
    region_size: int = 448
    regions_per_photo: int = 4
    validation_fraction: float = 0.15
    min_tags: int = 5
    shards: int = 0
    keep_edited: bool = False
    max_hamming_distance: int = 6
    max_per_camera: int = 0
    max_per_photographer: int = 0
    max_pixels: int = MAX_PIXELS


def seeded_hash(seed: int, *parts: object) -> int:
    """Returns 64 bits that look random and depend on nothing but the arguments' text."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
