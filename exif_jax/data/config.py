"""The `data` section of a training config, and the checks that all sections share."""

from __future__ import annotations

import dataclasses
from typing import Any

AUGMENT_ON = ("host", "device")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What patches and texts are drawn from records, and how; configs/vit_b.py explains each field.

    A default is the plain choice: nothing is done to patches or texts.

    Raises:
        ValueError: a value that no run can use; the message names the field.
    """

    records: str
    more_records: str = ""
    seed: int = 0
    texts_per_photo: int = 1
    patches_per_text: int = 1
    patch_sizes: tuple[int, ...] = ()
    rescale_prob: float = 0.0
    recompress_prob: float = 0.0
    shift_prob: float = 0.0
    filter_prob: float = 0.0
    contrast_prob: float = 0.0
    save_prob: float = 0.0
    shrink_prob: float = 0.0
    noise_prob: float = 0.0
    augment_on: str = "host"
    device_cache: int = 0
    keep_tag_prob: float = 1.0
    shuffle_tags: bool = False
    tag_names: bool = True
    tags: tuple[str, ...] = ()
    cache_regions: int = 256
    max_corrupt_fraction: float = 0.01
    reader: str = "auto"

    def __post_init__(self):
        names = [field.name for field in dataclasses.fields(self)]
        check_positive(self, "texts_per_photo", "patches_per_text", "cache_regions")
        check_fraction(self, *(name for name in names if name.endswith(("_prob", "_fraction"))))
        check_choice(self, "augment_on", AUGMENT_ON)
        check_not_negative(self, "device_cache")
        if any(size < 1 for size in self.patch_sizes):
            raise ValueError(f"patch_sizes is {self.patch_sizes}; each must be positive")
        if self.device_cache and self.augment_on != "device":
            raise ValueError(
                f"device_cache is {self.device_cache} bytes of regions of which the device cuts "
                f"patches, and augment_on is {self.augment_on!r}; set augment_on to 'device' or "
                "device_cache to 0"
            )

    @property
    def patches_per_photo(self) -> int:
        """Patches that each photo of a training batch gives."""
        return self.texts_per_photo * self.patches_per_text


def check_positive(config: Any, *names: str) -> None:
    """Raises ValueError where one of the named fields is not above 0."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{name} is {value}; it must be positive")


def check_not_negative(config: Any, *names: str) -> None:
    """Raises ValueError where one of the named fields is below 0."""
    for name in names:
        value = getattr(config, name)
        if not value >= 0:
            raise ValueError(f"{name} is {value}; it must be 0 or more")


def check_fraction(config: Any, *names: str) -> None:
    """Raises ValueError where one of the named fields does not lie in [0, 1]."""
    for name in names:
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must lie between 0 and 1")


def check_choice(config: Any, name: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError where the named field is none of `choices`."""
    value = getattr(config, name)
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be {' or '.join(choices)}")
