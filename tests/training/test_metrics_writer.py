"""The metrics file after clean runs, killed runs and resumed runs."""

import json
import sys
import types

import pytest
from PIL import Image

from exif_jax.training.metrics_writer import MetricsError, MetricsWriter


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def write(folder, first_step: int, steps) -> None:
    writer = MetricsWriter(folder, first_step)
    for step in steps:
        writer.write(step, {"loss": step / 10})
    writer.close()


def expected(*steps) -> list[dict]:
    return [{"step": step, "loss": step / 10} for step in steps]


def test_rows_are_written_and_printed(tmp_path, capsys):
    writer = MetricsWriter(tmp_path, 0)
    writer.write(3, {"loss": 0.25, "rate": 1234567.0}, "(5 min left)")
    assert rows(tmp_path) == [{"step": 3, "loss": 0.25, "rate": 1234567.0}]  # before close()
    writer.close()
    shown = capsys.readouterr()
    assert shown.err == "step       3  loss 0.25  rate 1.235e+06  (5 min left)\n"
    assert shown.out == ""


def test_numbers_that_json_does_not_know_are_null(tmp_path):
    writer = MetricsWriter(tmp_path, 0)
    writer.write(1, {"loss": float("nan"), "grad_norm": float("inf"), "skipped": 1.0})
    writer.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"step": 1, "loss": null, "grad_norm": null, "skipped": 1.0}\n'
    # Also in a file that holds them already.
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": 1.0}\n')
    write(tmp_path, 1, [])
    assert rows(tmp_path) == [{"step": 1, "loss": None}]


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    writer = MetricsWriter(tmp_path, 0)
    monkeypatch.setattr("exif_jax.io.jsonl.append_rows", fail)
    with pytest.raises(MetricsError, match=r"metrics\.jsonl: cannot write \(No space left"):
        writer.write(1, {"loss": 1.0})
    writer.close()


def test_a_resumed_run_has_every_row_once(tmp_path):
    write(tmp_path, 0, range(1, 8))
    # The newest checkpoint is of step 4: what came later is done again.
    write(tmp_path, 4, range(5, 10))
    assert rows(tmp_path) == expected(*range(1, 10))


def test_the_row_of_the_checkpoints_own_step_stays_once(tmp_path):
    writer = MetricsWriter(tmp_path, 0)
    writer.write(4, {"loss": 1.0})
    writer.write(4, {"validation/r1": 0.5})
    writer.write(5, {"loss": 2.0})
    writer.close()
    resumed = MetricsWriter(tmp_path, 4)
    resumed.write(4, {"validation/r1": 0.5})  # measured again on resuming
    resumed.write(4, {"validation/r5": 0.9})  # not there before
    resumed.write(5, {"loss": 2.5})
    resumed.close()
    assert rows(tmp_path) == [
        {"step": 4, "loss": 1.0},
        {"step": 4, "validation/r1": 0.5},
        {"step": 4, "validation/r5": 0.9},
        {"step": 5, "loss": 2.5},
    ]


@pytest.mark.parametrize("rest", ['{"step": 3, "lo', '{"step": ', "\x00\x00\x00", "[1]", "7", "\n"])
def test_a_half_written_last_row_is_dropped(tmp_path, rest):
    write(tmp_path, 0, [1, 2])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(rest)
    write(tmp_path, 2, [3])
    assert rows(tmp_path) == expected(1, 2, 3)


def test_bytes_that_are_no_text_are_dropped(tmp_path):
    write(tmp_path, 0, [1, 2])
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\x80")
    write(tmp_path, 2, [3])
    assert rows(tmp_path) == expected(1, 2, 3)


def test_a_run_from_the_start_forgets_the_killed_one(tmp_path):
    write(tmp_path, 0, [0, 1, 2, 3])
    write(tmp_path, 0, [0, 1])
    assert rows(tmp_path) == expected(0, 1)


def test_nothing_is_lost_if_the_file_cannot_be_replaced(tmp_path, monkeypatch):
    write(tmp_path, 0, [1, 2, 3])

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        MetricsWriter(tmp_path, 1)
    assert rows(tmp_path) == expected(1, 2, 3)


def test_tensorboard_gets_the_same_scalars(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    write(tmp_path, 0, [1, 2])
    (path,) = (tmp_path / "tensorboard").glob("events*")
    data, scalars = path.read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        payload, crc = data[12 : 12 + length], data[12 + length : 16 + length]
        assert int.from_bytes(crc, "little") == masked_crc32c(payload)
        event = Event.FromString(payload)
        scalars += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        data = data[16 + length :]
    assert scalars == [(1, "loss", pytest.approx(0.1)), (2, "loss", pytest.approx(0.2))]


def test_without_tensorboardx_the_file_is_still_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    write(tmp_path, 0, [1])
    assert rows(tmp_path) == expected(1)
    assert not (tmp_path / "tensorboard").exists()


class StandInRun:
    """What we use of a Weights & Biases run; the package itself is not among the tests' needs."""

    def __init__(self, name):
        self.id, self.logged, self.finished = name, [], False

    def log(self, row):
        self.logged.append(row)

    def define_metric(self, *_, **__):
        pass

    def finish(self):
        self.finished = True


def test_weights_and_biases_get_every_row_and_a_resumed_run_goes_on_in_its_own(
    tmp_path, monkeypatch
):
    runs = []

    def init(project, dir, config, id, resume):
        assert (project, config, resume) == ("forensics", {"seed": 0}, "allow")
        runs.append(StandInRun(id or "made-up"))
        return runs[-1]

    wandb = types.SimpleNamespace(init=init, Image=lambda picture: ("image", picture.size))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for first in (0, 1):
        writer = MetricsWriter(tmp_path, first, False, "forensics", {"seed": 0})
        writer.write(first + 1, {"loss": 2.0})
        writer.picture(first + 1, "probe", Image.new("RGB", (3, 2)))
        writer.close()
    assert [run.id for run in runs] == ["made-up", "made-up"]
    assert runs[1].logged == [{"loss": 2.0, "step": 2}, {"probe": ("image", (3, 2)), "step": 2}]
    assert all(run.finished for run in runs)
    silent = MetricsWriter(tmp_path, 2, True, "forensics", {"seed": 0})
    silent.write(3, {"loss": 1.0})
    silent.close()
    assert len(runs) == 2


def test_weights_and_biases_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MetricsError, match="'forensics' and Weights & Biases is not installed"):
        MetricsWriter(tmp_path, 0, False, "forensics")


def test_single_tags_are_written_and_not_printed(tmp_path, capsys):
    writer = MetricsWriter(tmp_path, 0)
    writer.write(1, {"validation/tag_accuracy": 0.5, "validation/tag_accuracy/Make": 0.25})
    writer.close()
    printed = capsys.readouterr().err
    assert "tag_accuracy 0.5" in printed and "Make" not in printed
    assert "Make" in (tmp_path / "metrics.jsonl").read_text()
