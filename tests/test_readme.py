"""The README runs, from top to bottom: its own shell blocks, on inputs small enough for a test.

What is too large is made smaller in SMALLER and nowhere else; what is not run stands in NOT_RUN.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch_checkpoints as tc
from PIL import Image
from test_convert import PIECES
from test_distributed import free_port

ROOT = pathlib.Path(__file__).parent.parent
BLOCKS = re.findall(
    r"```(sh|python)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
)
# What sets up an environment; and Beam, which has an environment and tests of its own.
# The page runs until it is ended: tests/test_serve.py starts and ends it. The suite's bytes are
# fixed, so that it cannot be made smaller.
NOT_RUN = (
    r"make (demo|test)\b",
    r"pip (install|wheel)\b",
    r"exif-serve\b",
    r"python -m exif_jax\.beam\b",
    r"python -m exif_jax\.evaluate --suite own\b",
)
TINY = " ".join(
    f"--config.{setting}"
    for setting in (
        "model.image.width=32",
        "model.image.mlp_dim=32",
        "model.image.depth=1",
        "model.image.heads=2",
        "model.image.image_size=32",
        "model.text.width=32",
        "model.text.mlp_dim=32",
        "model.text.depth=1",
        "model.text.heads=2",
        "train.batch_size=8",
        "train.num_steps=2",
        "train.loss_chunk=0",
        "optim.warmup_steps=1",
        "data.reader=threads",
    )
)
SMALLER = (
    ("/shared/", ""),
    ("--num-photos 1000", "--num-photos 32 --size 128 --workers 1"),
    ("--splices 40", "--splices 2 --size 256 --workers 1"),
    ("--output records  ", "--output records --region-size 128 --workers 1 "),
    ("--config.data.records=records", f"--config.data.records=records {TINY}"),
    ("--workdir=run --config.data.records=records", "--workdir=pod --config.data.records=records"),
    ("HOST:PORT", "127.0.0.1:%PORT"), ("num_processes=N", "num_processes=1"), ("_id=K", "_id=0"),
    ("find . ", "find photos "),
    ("--root CASIA1", "--root CASIA1 --partial"),
    ("--size 1024x768", "--size 256x192"),
)  # fmt: skip


def commands(block: str) -> list[str]:
    """The block's commands, a line each, without comments."""
    lines = re.sub(r"\s+#.*", "  ", block.replace("\\\n", " ")).splitlines()
    return [part.strip() for line in lines for part in line.split("&&") if part.strip()]


def is_run(command: str) -> bool:
    return not any(re.match(pattern, command) for pattern in NOT_RUN)


def smaller(command: str) -> str:
    command = re.sub(r"  +", " ", command + "  ") if "pod_b" in command else command + "  "
    for large, small in SMALLER:
        command = command.replace(large, small)
    return command.replace("%PORT", str(free_port()))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with what the README takes for granted: photos, a checkpoint, a benchmark."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "configs").symlink_to(ROOT / "configs")
    rng = np.random.default_rng(0)
    for name in ("photo.jpg", "photos/a.jpg", "more/b/c.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = "Canon", "Canon EOS 5D"
        pixels = rng.integers(0, 256, (256, 320, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name, quality=90, exif=exif)
    tc.save(tc.published(rng), folder / "wrapper.pth")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    large = rng.integers(0, 256, (256, 320, 3), np.uint8)
    for name in ("Sp/Sp_D_CND_A_pla0005_pla0023_0281.jpg", "Au/Au_ani_0001.jpg"):
        (folder / "CASIA1" / name).parent.mkdir(parents=True)
        Image.fromarray(large).save(folder / "CASIA1" / name)
    truth = np.zeros((256, 320), np.uint8)
    truth[64:192, 80:240] = 255
    (folder / "CASIA1/gt").mkdir()
    Image.fromarray(truth).save(folder / "CASIA1/gt/Sp_D_CND_A_pla0005_pla0023_0281_gt.png")
    return folder


def run(words, folder: pathlib.Path) -> None:
    environment = os.environ | {
        "EXIF_JAX_PHOTOS": ".",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PLATFORMS": "cpu",
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TQDM_DISABLE": "1",
    }
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_block_runs_in_order(world):
    results = world / "results"
    # The splices come from a block further down; the one that needs them goes last.
    for kind, block in sorted(BLOCKS, key=lambda found: "EXIF_JAX_PHOTOS" in found[1]):
        if kind == "python":
            run([sys.executable, "-c", block], world)
            continue
        for command in filter(is_run, commands(block)):
            if "EXIF_JAX_PHOTOS" in command:
                (world / "splices").symlink_to("SPLICES")
            run(["bash", "-o", "pipefail", "-c", smaller(command)], world)
    assert {"photo.overlay.png", "photo.map.npy", "photo.json", "photo.html"} <= {
        path.name for path in results.iterdir()
    }
    models = ("run/model.safetensors", "pod/model.safetensors", "paper.safetensors")
    for made in (*models, "evaluation/evaluation.json"):
        assert (world / made).stat().st_size, made
    assert list((world / "exported").iterdir())


def test_what_is_not_run_exists():
    skipped = [c for kind, b in BLOCKS if kind == "sh" for c in commands(b) if not is_run(c)]
    makefile = (ROOT / "Makefile").read_text()
    extras = set(re.findall(r'^        "(\w+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE))
    for command in skipped:
        words = shlex.split(command)
        if words[0] == "make":
            assert f"\n{words[1]}:" in makefile
        for named in re.findall(r"\[(.*?)\]", command):
            assert set(named.split(",")) <= extras, command
    assert skipped
