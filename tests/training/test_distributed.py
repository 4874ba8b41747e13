"""Training in several processes on one machine: the losses and parameters of one process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from test_train import ROOT, command, losses, records, run, tiny_flags, whole_run  # noqa: F401

from exif_jax.training import distributed
from exif_jax.weights import release_file

DEVICES = 8


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


RUNNING: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def no_process_outlives_its_test():
    yield
    while RUNNING:
        RUNNING.pop().kill()


def start(flags, workdir, log, number: int, code: str = "") -> list[subprocess.Popen]:
    """Begins `number` processes of one run, each with its share of the devices.

    `code` runs in each before the command; a "{k}" in `workdir` becomes the process's number.
    """
    port = free_port()
    started = []
    for k in range(number):
        line = command(flags, str(workdir).format(k=k), DEVICES // number)
        line += [f"--coordinator=127.0.0.1:{port}", f"--num_processes={number}"]
        line += [f"--process_id={k}"]
        if code:
            at = line.index("-m")
            line[at : at + 2] = ["-c", f"{code}\nfrom exif_jax import train; train.run()"]
        output = log.with_suffix(f".{k}").open("w")
        with output:
            started.append(subprocess.Popen(line, cwd=ROOT, stdout=output, stderr=output))
        RUNNING.append(started[-1])
    return started


def assert_same_model(a, b):
    """Equal but for float32 sums in another order, grown by six steps of Adam, and the last bit of
    float16, in which release files are stored (a part in a thousand)."""
    ours, theirs = (
        release_file.load_model(folder / "model.safetensors").params for folder in (a, b)
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-4), ours, theirs)


HEARTBEAT = "from exif_jax.training import distributed; distributed.HEARTBEAT_SECONDS = 10"
# On TPU slices the hosts alternate along the mesh.
ALTERNATE = """
from jax.experimental import mesh_utils
import numpy as np
in_order = mesh_utils.create_device_mesh
def alternating(shape, devices, **kwargs):
    return in_order(shape, devices, **kwargs).reshape(2, -1).T.reshape(shape)
mesh_utils.create_device_mesh = alternating
"""


def validation(workdir) -> dict[str, float]:
    """What the run's last validation measured."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "validation/chance_r1" in row][-1]
    return {name: value for name, value in last.items() if name.startswith("validation/")}


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(2, ALTERNATE), (4, "")])
def test_processes_give_the_losses_of_one(records, whole_run, tmp_path, number, code):  # noqa: F811
    flags = tiny_flags(records, mesh__fsdp=1 if code else 2)
    for process in start(flags, tmp_path / "run", tmp_path / "log", number, code):
        code = process.wait(timeout=280)
        logs = [(tmp_path / f"log.{k}").read_text() for k in range(number)]
        assert code == 0, logs
    assert f"{number} process(es)" in logs[0]
    # Only the first one tells and writes.
    assert not any("step " in text or "wrote" in text for text in logs[1:])
    assert losses(tmp_path / "run") == pytest.approx(losses(whole_run), rel=1e-4)
    assert validation(tmp_path / "run") == pytest.approx(validation(whole_run), rel=1e-3, abs=1e-3)
    assert_same_model(tmp_path / "run", whole_run)


@pytest.mark.slow
def test_a_folder_for_each_process_is_refused(records, tmp_path):  # noqa: F811
    code = "from exif_jax.training import distributed; distributed.FILE_SECONDS = 1"
    started = start(tiny_flags(records), tmp_path / "run{k}", tmp_path / "log", 2, code)
    assert [process.wait(timeout=200) for process in started] == [1, 1]
    for k in range(2):
        logs = (tmp_path / f"log.{k}").read_text()
        assert "process 1 does not see it (1 of 2 do not)" in logs


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(records, whole_run, tmp_path):  # noqa: F811
    flags = tiny_flags(records, mesh__fsdp=2)
    started = start(flags, tmp_path / "run", tmp_path / "log", 2)
    deadline = time.monotonic() + 250
    while 3 not in losses(tmp_path / "run"):
        assert time.monotonic() < deadline and all(p.poll() is None for p in started)
        time.sleep(0.01)
    for process in started:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "run" / "model.safetensors").exists(), "it ended before it was killed"
    done = run(flags, tmp_path / "run", devices=2)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "run") == pytest.approx(losses(whole_run), rel=1e-4)
    assert_same_model(tmp_path / "run", whole_run)


@pytest.mark.slow
def test_sigterm_to_one_process_saves_and_ends_both(records, tmp_path):  # noqa: F811
    flags = tiny_flags(records, train__num_steps=2000, train__save_every=5000)
    flags += ["--config.train.eval_every=5000"]
    started = start(flags, tmp_path / "run", tmp_path / "log", 2)
    deadline = time.monotonic() + 250
    while 3 not in losses(tmp_path / "run"):
        assert time.monotonic() < deadline and all(p.poll() is None for p in started)
        time.sleep(0.01)
    started[1].send_signal(signal.SIGTERM)
    codes = [process.wait(timeout=200) for process in started]
    logs = [(tmp_path / f"log.{k}").read_text() for k in range(2)]
    assert codes == [128 + signal.SIGTERM] * 2, logs
    folder = tmp_path / "run" / "checkpoints"
    (step,) = [path.name for path in folder.iterdir() if path.name.isdigit()]
    assert all(f"step {step} is saved" in text for text in logs)


@pytest.mark.slow
def test_a_process_that_dies_does_not_leave_the_other_waiting(records, tmp_path):  # noqa: F811
    flags = tiny_flags(records, train__num_steps=2000, train__save_every=5000)
    flags += ["--config.train.eval_every=5000"]
    started = start(flags, tmp_path / "run", tmp_path / "log", 2, HEARTBEAT)
    deadline = time.monotonic() + 250
    while 3 not in losses(tmp_path / "run"):
        assert time.monotonic() < deadline and all(p.poll() is None for p in started)
        time.sleep(0.01)
    started[1].kill()
    started[1].wait()
    # At the latest when the dead one misses its heartbeats.
    assert started[0].wait(timeout=120) not in (0, None)
    logs = (tmp_path / "log.0").read_text()
    assert any(word in logs for word in ("heartbeat", "Connection closed", "Gloo", "unhealthy"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("", 2, -1), "need --coordinator"),
        (("", -1, 1), "need --coordinator"),
        (("127.0.0.1:1", 2, 2), "needs its own number, from 0"),
        (("127.0.0.1:1", -1, 0), "needs its own number, from 0"),
    ],
)
def test_numbers_that_make_no_sense_are_explained(arguments, words):
    with pytest.raises(distributed.DistributedError, match=words):
        distributed.initialize_distributed(*arguments)


def test_processes_that_do_not_come_are_explained(tmp_path):
    code = (
        "from exif_jax.training import distributed\n"
        "distributed.JOIN_SECONDS = 2\n"
        f"distributed.initialize_distributed('127.0.0.1:{free_port()}', 2, 1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    stderr = done.stderr
    assert "did not find each other" in stderr or "DEADLINE_EXCEEDED" in stderr


def test_one_process_is_alone_and_first():
    distributed.initialize_distributed("", -1, -1)
    assert distributed.is_main_process()
    with distributed.main_process_first("test") as first:
        assert first
