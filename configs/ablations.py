"""The paper's ablations: `--config=configs/ablations.py:SWEEP=VARIANT`, as tag_names=dropped.

`python -m benchmarks.ablations` runs them all and prints a table.
"""

import pathlib

import exif_jax
from configs import vit_ti_cpu

SHIPPED = (
    pathlib.Path(exif_jax.__file__).parent / "weights" / "pretrained" / "vit_ti_128.safetensors"
)

# What a variant changes of configs/vit_ti_cpu.py.
SWEEPS = {
    "tag_order": {
        "shuffled": {},
        "fixed": {"data.shuffle_tags": False},
    },
    "tag_names": {
        "kept": {},
        "dropped": {"data.tag_names": False},
    },
    "tags": {
        "all": {},
        "make_model": {"data.tags": ("Make", "Model")},
        "exposure": {"data.tags": ("Exposure Time", "F Number", "ISO", "Focal Length")},
    },
    "text_tower": {
        "scratch": {},
        "pretrained": {"train.init_model": str(SHIPPED), "train.init_parts": ("text",)},
    },
    "patch_size": {
        "64": {"model.image.image_size": 64},
        "96": {"model.image.image_size": 96},
        "128": {},
        "192": {"model.image.image_size": 192},
    },
    "patches_per_photo": {
        "1": {"data.texts_per_photo": 1, "data.patches_per_text": 1, "train.image_weight": 0.0},
        "2": {"data.texts_per_photo": 1, "data.patches_per_text": 2},
        "4": {"data.texts_per_photo": 1, "data.patches_per_text": 4},
        "2x2": {},  # two histories with two patches each
    },
}


def get_config(change: str):
    c = vit_ti_cpu.get_config()
    sweep, _, variant = change.partition("=")
    if variant not in SWEEPS.get(sweep, {}):
        known = [f"{name}={value}" for name, values in SWEEPS.items() for value in values]
        raise ValueError(f"configs/ablations.py:{change}: choose one of {', '.join(known)}")
    for name, value in SWEEPS[sweep][variant].items():
        group, field = name.rsplit(".", 1)
        part = c
        for key in group.split("."):
            part = part[key]
        part[field] = value
    return c
