"""Packaging. The core is what `localize` needs; the rest comes as extras."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "exif_jax/__init__.py").read_text())[1]

TRAIN = [
    "google-crc32c>=1.5",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.11.20",
    "protobuf>=5",
    "tensorboardX>=2.6",
]
DATA = ["fsspec>=2024.6", "google-crc32c>=1.5", "protobuf>=5"]
EVAL = ["matplotlib>=3.9", "scikit-learn>=1.5", "scipy>=1.15"]
EXPORT = ["flatbuffers>=24"]
NOTEBOOKS = ["ipykernel>=6.29", "matplotlib>=3.9", "nbclient>=0.10", "nbformat>=5.10"]
PAPER = ["tokenizers>=0.20"]  # the texts of the paper's published model
SERVE = ["starlette>=0.46", "uvicorn>=0.34"]
DOWNLOAD = ["aiohttp>=3.10", "zstandard>=0.22"]
DEV = [
    "exifread>=3.4",
    "httpx>=0.28",
    "hypothesis>=6.100",
    "playwright>=1.50",
    "pre-commit>=3.7",
    "pyright>=1.1.400",
    "pytest-cov>=6.1",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "pytest>=8.3",
    "ruff>=0.12",
]

setup(
    name="exif-jax",
    version=VERSION,
    description="EXIF as language in JAX: find spliced photos by the traces their cameras left",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["exif_jax*", "data_prep*"]),
    package_data={
        "exif_jax": ["py.typed", "reports/page.*", "server/page.*", "weights/pretrained/*"],
        "data_prep": ["records/statistics_page.*"],
    },
    install_requires=[
        "absl-py>=2.1",
        "flax>=0.12,<0.13",
        "jax>=0.10",
        "ml_dtypes>=0.4",
        "ml_collections>=1.0",
        "numpy>=2.0",
        "pillow>=11",
        "safetensors>=0.5",
        "sentencepiece>=0.2.0,!=0.2.1",
        "simplejpeg>=1.8",
        "tqdm>=4.66",
    ],
    extras_require={
        "train": TRAIN,
        "data": DATA,
        "eval": EVAL,
        "download": DOWNLOAD,
        "export": EXPORT,
        # Asks for an older orbax-checkpoint than constraints.txt names: an environment of its own.
        "onnx": ["jax2onnx>=0.17", *EXPORT],
        "notebooks": NOTEBOOKS,
        "paper": PAPER,
        "serve": SERVE,
        "wandb": ["wandb>=0.19"],
        "heif": ["pillow-heif>=0.20"],
        # Beam holds protobuf and numpy back: an environment of its own (`make test-beam`).
        "beam": sorted({*DATA, "apache-beam>=2.70"}),
        # The shards are TensorFlow's own format; this reads them with TensorFlow to prove it.
        "array_record": ["array_record>=0.7"],
        "tensorflow": ["tensorflow-cpu>=2.18", "tensorflow-datasets>=4.9.7", "importlib_resources"],
        "dev": sorted({*TRAIN, *DATA, *EVAL, *DOWNLOAD, *EXPORT, *NOTEBOOKS, *PAPER, *SERVE, *DEV}),
    },
    entry_points={
        "console_scripts": [
            "exif-average=exif_jax.average:run",
            "exif-localize=exif_jax.localize:run",
            "exif-calibrate=exif_jax.calibrate:run",
            "exif-convert=exif_jax.convert:run",
            "exif-evaluate=exif_jax.evaluate:run",
            "exif-export=exif_jax.export:run",
            "exif-serve=exif_jax.serve:run",
            "exif-train=exif_jax.train:run",
            "exif-verify=exif_jax.verify:run",
        ]
    },
)
