"""The training command, end to end on a few simulated photos."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import torch_checkpoints
from small_disk import read_only
from tiny_model import embed_images

from configs import demo, resnet50_paper
from data_prep import photos, simulate, train_tokenizer
from exif_jax import release, train
from exif_jax.data.dataset import PatchDataset
from exif_jax.data.records_folder import DataError, load_tokenizer
from exif_jax.io import locks
from exif_jax.training.config import TrainError, parse_config
from exif_jax.training.initialization import PretrainedError
from exif_jax.weights import release_file

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="session")
def records(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("train")
    simulate.main(["--output", f"{folder}/photos", "--num-photos", "64", "--size", "128"])
    photos.main(
        [
            *(f"--input={folder}/photos", f"--output={folder}/records", "--region-size=128"),
            *("--workers=1", "--validation-fraction=0.3"),
        ]
    )
    train_tokenizer.main([f"--records={folder}/records"])
    return folder / "records"


def tiny_config(records: pathlib.Path, num_steps: int = 6):
    c = demo.get_config()
    c.data.records = str(records)
    c.data.reader = "threads"  # TensorFlow takes seconds to import
    c.model.image.width = c.model.image.mlp_dim = 32
    c.model.image.depth = c.model.text.depth = 1
    c.model.image.image_size = 32
    c.model.image.heads = c.model.text.heads = 2
    c.model.text.width = c.model.text.mlp_dim = 32
    c.optim.warmup_steps = 2
    c.train.batch_size = 16
    c.train.num_steps = num_steps
    c.train.log_every = c.train.save_every = 1
    c.train.eval_every = 3
    return c


def losses(workdir: pathlib.Path) -> dict[int, float]:
    """Step -> training loss, of whole lines; a running process may be writing the last one."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def test_a_run_leaves_metrics_and_a_model_that_loads(records, tmp_path):
    results = train.train(tiny_config(records), tmp_path)
    assert set(losses(tmp_path)) == {1, 2, 3, 4, 5, 6}
    assert 0 <= results["image_to_exif_r1"] <= results["image_to_exif_r5"] <= 1
    trained = release_file.load_model(tmp_path / "model.safetensors")
    untrained = release_file.load_model(tmp_path / "untrained.safetensors")
    assert trained.patch_size == 32 and trained.id != untrained.id
    assert "Make" in trained.tags
    assert str(records) not in json.dumps(trained.provenance)
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.parametrize("augment_on", ["host", "device"])
def test_batches_of_patches_of_many_sizes_train_one_encoder(records, tmp_path, augment_on):
    config = tiny_config(records, num_steps=4)
    config.data.augment_on = augment_on
    config.data.patch_sizes = (16, 32)
    config.model.image.positions = "none"
    data = PatchDataset(parse_config(config).data, "train", load_tokenizer(str(records)), 32, 64)
    assert {data.patch_size(step) for step in range(4)} == {16, 32}
    config.optim.schedule, config.optim.decay_fraction = "wsd", 0.0
    config.optim.warmup_steps = 1
    train.train(config, tmp_path / "whole")
    for steps in (2, 4):  # of "wsd" the first steps do not know how many will follow
        config.train.num_steps = steps
        train.train(config, tmp_path / "resumed")
    whole = losses(tmp_path / "whole")
    assert set(whole) == {1, 2, 3, 4} and np.isfinite(list(whole.values())).all()
    assert losses(tmp_path / "resumed") == whole
    trained = release_file.load_model(tmp_path / "whole" / "model.safetensors")
    for side in (16, 32, 48):
        z = embed_images(trained.config, trained.params, np.zeros((2, side, side, 3), np.uint8))
        assert z.shape == (2, trained.config.embed_dim)


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
def test_the_reader_does_not_show_in_the_losses(records, tmp_path):
    pytest.importorskip("tensorflow")
    for reader in ("threads", "tf.data"):
        c = tiny_config(records, num_steps=3)
        c.data.reader = reader
        train.train(c, tmp_path / reader)
    assert losses(tmp_path / "threads") == losses(tmp_path / "tf.data")


def test_a_trace_of_some_steps_is_written_and_the_wait_for_input_measured(records, tmp_path):
    c = tiny_config(records, num_steps=9)
    c.train.profile_steps = 2
    train.train(c, tmp_path)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    waits = [row["input_wait"] for row in rows if "input_wait" in row]
    assert len(waits) == 9 and all(0 <= wait <= 1 for wait in waits)


def test_damaged_records_are_counted_in_the_metrics(records, tmp_path):
    folder = shutil.copytree(records, tmp_path / "records")
    path = next(folder.glob("train-*.tfrecord"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    c = tiny_config(folder, num_steps=12)  # of 4 photos each: all 45
    c.data.max_corrupt_fraction = 0.5
    train.train(c, tmp_path / "run")
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [row["corrupt_records"] for row in rows if "corrupt_records" in row][-1] == 1.0
    c.data.max_corrupt_fraction = 0.0
    with pytest.raises(DataError, match="records are damaged"):
        train.train(c, tmp_path / "other")


def test_the_papers_model_starts_from_imagenet_and_trains(records, tmp_path):
    tensors = torch_checkpoints.resnet50(np.random.default_rng(0), 4, (1, 1), outputs=1000)
    torch_checkpoints.save(tensors, tmp_path / "resnet.pth")
    c = tiny_config(records, num_steps=3)
    c.model = resnet50_paper.get_config().model
    c.model.image.image_size, c.model.image.width, c.model.image.stages = 32, 4, (1, 1)
    c.model.text.width = c.model.text.mlp_dim = c.model.embed_dim = 32
    c.model.text.heads = c.model.text.depth = 1
    c.model.text.max_length = 64
    c.train.init_image = str(tmp_path / "resnet.pth")
    train.train(c, tmp_path / "run")
    start = release_file.load_model(tmp_path / "run" / "untrained.safetensors")
    image = start.params["image"]
    np.testing.assert_allclose(image["stem"]["var"], tensors["bn1.running_var"], rtol=1e-3)
    assert start.provenance["config"]["train"]["init_image"] == "resnet.pth"
    trained = release_file.load_model(tmp_path / "run" / "model.safetensors").params["image"]
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), image, trained)
    assert all(change > 0 for change in jax.tree.leaves(moved))
    with pytest.raises(PretrainedError, match=r"nowhere\.npz: this image encoder cannot begin"):
        c.train.init_image = "nowhere.npz"
        train.train(c, tmp_path / "other")


def command(config_flags: list[str], workdir: pathlib.Path, devices: int) -> list[str]:
    return [
        *("env", "JAX_PLATFORMS=cpu", f"JAX_NUM_CPU_DEVICES={devices}", sys.executable),
        *("-m", "exif_jax.train", "--config=configs/demo.py", f"--workdir={workdir}"),
        *config_flags,
    ]


def tiny_flags(records: pathlib.Path, **changes) -> list[str]:
    """The tiny configuration as command-line overrides of configs/demo.py."""
    config, base = tiny_config(records), demo.get_config()
    flags = []
    for group in ("data", "optim", "train"):
        flags += [
            f"--config.{group}.{name}={value}"
            for name, value in config[group].items()
            if base[group][name] != value
        ]
    for tower in ("image", "text"):
        flags += [
            f"--config.model.{tower}.{name}={value}"
            for name, value in config.model[tower].items()
            if base.model[tower][name] != value
        ]
    return flags + [f"--config.{name.replace('__', '.')}={v}" for name, v in changes.items()]


def run(flags: list[str], workdir: pathlib.Path, devices: int = 1) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(flags, workdir, devices), cwd=ROOT, capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def whole_run(records, tmp_path_factory) -> pathlib.Path:
    """A run on one device that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("whole")
    done = run(tiny_flags(records), workdir)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.mark.slow
def test_eight_devices_give_the_losses_of_one(records, whole_run, tmp_path):
    done = run(tiny_flags(records, mesh__fsdp=2), tmp_path, devices=8)
    assert done.returncode == 0, done.stderr
    assert "'data': 4, 'fsdp': 2" in done.stderr
    # float32 sums in another order: rounding of 1e-7, grown by six steps of Adam.
    assert losses(tmp_path) == pytest.approx(losses(whole_run), rel=1e-4)


@pytest.mark.slow
def test_sigterm_saves_the_step_and_the_run_goes_on_bit_for_bit(records, whole_run, tmp_path):
    flags = tiny_flags(records, train__save_every=1000)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command(flags, tmp_path, 1), cwd=ROOT, stdout=log, stderr=log)
        while process.poll() is None and 2 not in losses(tmp_path):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
    last_line = (tmp_path / "log").read_text().splitlines()[-1]
    (step,) = [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]
    message = f"stopped by SIGTERM; step {step} is saved: the same command goes on from there"
    assert last_line == message
    assert 2 <= int(step) < 6 and not (tmp_path / "model.safetensors").exists()
    done = run(flags, tmp_path)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path) == losses(whole_run)


@pytest.mark.slow
def test_logits_in_chunks_give_the_same_losses(records, whole_run, tmp_path):
    done = run(tiny_flags(records, train__loss_chunk=5), tmp_path, devices=4)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path) == pytest.approx(losses(whole_run), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kill_after", [3])
def test_a_killed_run_resumes_to_the_same_curve_bit_for_bit(
    records, whole_run, tmp_path, kill_after
):
    flags = tiny_flags(records)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command(flags, tmp_path, 1), cwd=ROOT, stdout=log, stderr=log)
        while process.poll() is None and kill_after not in losses(tmp_path):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)  # most likely while a checkpoint is being written
        process.wait()
    assert not (tmp_path / "model.safetensors").exists(), "the run ended before it was killed"
    done = run(flags, tmp_path)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path) == losses(whole_run)
    a, b = (folder / "model.safetensors" for folder in (tmp_path, whole_run))
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.slow
def test_a_disk_too_small_for_checkpoints_is_named_and_nothing_is_lost(
    records, whole_run, tmp_path
):
    """A limit on the size of files stands in for a full disk: models fit, checkpoints do not."""
    resource = pytest.importorskip("resource")  # not on Windows
    limit = 2 * (whole_run / "untrained.safetensors").stat().st_size
    flags = tiny_flags(records)
    done = subprocess.run(
        command(flags, tmp_path, 1),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1, done.stderr
    # Threads of tensorstore print tracebacks of their own around it; one line is ours.
    assert "Task exception was never retrieved" not in done.stderr
    (ours,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert str(tmp_path) in ours
    assert "cannot write a checkpoint" in ours and "make room" in ours
    assert not (tmp_path / "model.safetensors").exists()
    done = run(flags, tmp_path)
    assert done.returncode == 0, done.stderr
    a, b = (folder / "model.safetensors" for folder in (tmp_path, whole_run))
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize(
    ("error", "named", "silent"),
    [
        (OSError(5, "Input/output error", "/elsewhere/photo.jpg"), "/elsewhere/photo.jpg", "run"),
        (OSError(28, "No space left on device", "run/config.json"), "run/config.json", "elsewhere"),
        (OSError(5, "Input/output error"), "the system reports: Input/output error", "run/"),
    ],
)
def test_a_system_error_names_the_file_that_failed(error, named, silent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = train.explain_os_error(error, "run")
    assert named in message and "the same command goes on" in message
    assert silent not in message
    assert ("make room" in message) == (error.filename == "run/config.json")


def test_a_second_run_in_the_same_workdir_is_refused(records, tmp_path):
    with locks.hold(tmp_path), pytest.raises(locks.FolderHeldError, match=str(tmp_path)):
        train.train(tiny_config(records), tmp_path)


def test_a_read_only_workdir_is_named(records, tmp_path):
    with read_only(tmp_path / "locked"), pytest.raises(TrainError, match="work folder"):
        train.train(tiny_config(records), tmp_path / "locked")


def test_any_checkpoint_can_be_released(whole_run, tmp_path, capsys):
    out = tmp_path / "released.safetensors"
    assert release.main([str(whole_run), str(out), "--dtype", "float32"]) == 0
    assert f"{out}: " in capsys.readouterr().out
    a, b = (release_file.load_model(path) for path in (out, whole_run / "model.safetensors"))
    assert a.provenance["steps"] == b.provenance["steps"] == 6
    assert a.config == b.config and a.tags == b.tags
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-6), *(a.params, b.params)
    )
    assert release.main([str(whole_run), str(tmp_path / "none" / "x.safetensors")]) == 1
    assert "choose another OUT" in capsys.readouterr().err
    assert release.main([str(tmp_path), str(out)]) == 1
    assert "untrained.safetensors" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:the load_module")  # ml_collections' own
@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.train.bach_size=3", "no field train.bach_size; did you mean train.batch_size?"),
        ("--config.optim.learning_rate=1", "did you mean optim.lr?"),
        ("--config.lr=1", "did you mean optim.lr?"),
        ("--config.model.image.widht=8", "did you mean model.image.width?"),
        ("--optim.lr=1", "did you mean --config.optim.lr?"),
        ("--config=configs/vit_ti_128.py:eighth", "choose one of first, second"),
    ],
)
def test_a_misspelt_flag_is_refused_with_what_was_meant(flag, message, capsys, monkeypatch):
    argv = ["train", "--config=configs/demo.py", flag]
    monkeypatch.setattr(sys, "argv", argv)  # where ml_collections looks for fields
    with pytest.raises(SystemExit) as stop:
        train.parse_flags(argv)
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed


def test_an_empty_workdir_is_refused(records):
    """Path("") is the folder that the command happens to run in."""
    done = run(tiny_flags(records), "")
    assert done.returncode == 2 and "--workdir is empty" in done.stderr


@pytest.mark.filterwarnings("ignore:the load_module")  # ml_collections' own
@pytest.mark.parametrize("words", [["--nosuch=1"], ["--config=none.py"], ["--num_processes=two"]])
def test_wrong_flags_end_with_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        train.parse_flags(["train", *words])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and words[0].strip("-").partition("=")[0] in message


def test_help_is_no_failure(tmp_path):
    done = run(["--help"], tmp_path)
    assert done.returncode == 0 and "--workdir" in done.stdout


def test_a_missing_folder_is_one_line_and_status_1(records, tmp_path):
    done = run(["--config.data.records=/no/such/records"], tmp_path)
    assert done.returncode == 1
    assert "/no/such/records" in done.stderr and "Traceback" not in done.stderr


def test_a_diverging_run_stops_and_says_so(records, tmp_path):
    config = tiny_config(records)
    config.optim.lr = float("1e38")
    config.optim.clip_norm = 1e30
    config.train.max_skipped = 3
    with pytest.raises(TrainError, match=r"3 steps in a row .* lower --config\.optim\.lr"):
        train.train(config, tmp_path)
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert None in losses(tmp_path).values()
    (path,) = tmp_path.glob("bad_batch_*.0.npz")
    with np.load(path, allow_pickle=False) as batch:
        assert batch["image"].shape == (16, 32, 32, 3) and batch["image"].dtype == np.uint8
