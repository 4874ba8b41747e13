"""Predictions of training speed against sums done by hand."""

import json
import sys

import pytest

from benchmarks import scaling
from benchmarks.scaling import Chip, host_cores, predict

CHIP = Chip(peak=100e12, link=100e9, memory=1e12, cores=10)


def test_a_step_lies_between_no_overlap_and_full_overlap():
    # 11 TFLOP at 40 and 55 % of 100 TFLOP/s; 1 GB at 100 GB/s; 50 patches x 100 MB at 1 TB/s.
    speed = predict(CHIP, 11e12, 1e9, 50, augmentation_bytes=100e6)
    assert speed.sending == pytest.approx(0.01)
    assert speed.computing == pytest.approx((0.275, 0.2))
    assert speed.augmenting == pytest.approx(0.005)
    assert speed.step == pytest.approx((0.29, 0.205))
    assert speed.patches_per_second(400) == pytest.approx((400 / 0.29, 400 / 0.205))


def test_where_sending_takes_longest_it_is_the_step():
    assert predict(CHIP, 1e9, 50e9, 1).step[1] == pytest.approx(0.5)


def test_cores_for_patches():
    assert host_cores(2000, 4.5) == pytest.approx(9.0)


def test_the_tables_hold_both_ways_of_augmenting(tmp_path, monkeypatch, capsys):
    row = {"devices": 16, "mesh": {"data": 16, "fsdp": 1}, "batch_size": 1024}
    (tmp_path / "pod.json").write_text(json.dumps([row | {"sent": {"all-reduce": 4e8}}]))
    figures = {
        "host": {"ms_per_patch": 5.0, "kilobytes_sent_per_patch": 150.0},
        "device": {"ms_per_patch": 1.0, "kilobytes_sent_per_patch": 600.0},
    }
    (tmp_path / "augmentation.json").write_text(json.dumps(figures))
    monkeypatch.setattr(scaling, "augmentation_bytes", lambda config: 10e6)
    words = [str(tmp_path / "pod.json"), "--augmentation", str(tmp_path / "augmentation.json")]
    monkeypatch.setattr(sys, "argv", ["scaling", *words])
    scaling.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "v5e |" in line]
    assert [cells[0] for cells in rows] == ["16 v5e"] * 3
    _, on_chip, on_host = rows
    assert (on_chip[1], on_host[1]) == ("chip", "host")
    assert float(on_chip[2]) == pytest.approx(1e3 * 64 * 10e6 / 819e9, abs=0.01)
    assert (on_chip[4], on_host[4]) == ("38.4", "9.6")  # 64 patches of 600 and of 150 kB
    slow = float(on_host[3].split(" to ")[0].replace(",", ""))
    assert float(on_host[6].split(" to ")[0]) == pytest.approx(slow / 16 * 5e-3, rel=0.01)
