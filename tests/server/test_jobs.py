"""The list of photos: their order, their states, what is kept and what is removed."""

import json
import threading

import pytest

from exif_jax.server.jobs import ENTRY, UPLOAD, JobList, Limits, QueueFull, display_name

LIMITS = Limits(max_bytes=1000)


def queued(jobs, name="a.jpg", data=b"x"):
    job = jobs.add(name)
    (jobs.folder(job) / UPLOAD).write_bytes(data)
    jobs.queue(job, len(data))
    return job


def test_photos_are_taken_in_their_order_and_only_when_they_are_whole(tmp_path):
    jobs = JobList(tmp_path, LIMITS)
    jobs.add("on its way")
    first, second = queued(jobs), queued(jobs)
    assert [jobs.take(), jobs.take()] == [first, second]
    assert [job.state for job in jobs.snapshot()] == ["uploading", "working", "working"]


def test_who_waits_for_a_photo_gets_it_or_hears_that_none_comes(tmp_path):
    jobs, taken = JobList(tmp_path, LIMITS), []
    thread = threading.Thread(target=lambda: [taken.append(jobs.take()) for _ in range(2)])
    thread.start()
    job = queued(jobs)
    while not taken:
        pass
    jobs.close()
    thread.join()
    assert taken == [job, None] and jobs.take() is None


def test_the_photo_goes_when_it_is_done_and_stays_where_it_is_kept(tmp_path):
    for keep in (False, True):
        root = tmp_path / str(keep)
        root.mkdir()
        jobs = JobList(root, LIMITS, keep=keep)
        queued(jobs)
        job = jobs.take()
        jobs.finish(job, summary={"score": 1.0})
        assert (jobs.folder(job) / UPLOAD).exists() == keep
        assert (job.state, job.summary) == ("done", {"score": 1.0})


def test_an_earlier_list_is_found_again(tmp_path):
    jobs = JobList(tmp_path, LIMITS, keep=True)
    for name, outcome in (("b.jpg", {"summary": {"score": 0.5}}), ("a.jpg", {"error": "no"})):
        queued(jobs, name)
        job = jobs.take()
        jobs.update(job, step="reading")
        jobs.finish(job, **outcome)
    queued(jobs, "unfinished.jpg")
    again = JobList(tmp_path, LIMITS, keep=True).snapshot()
    assert again == jobs.snapshot()[:2]
    assert [job.state for job in again] == ["done", "failed"]


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "[]",
        "{}",
        '{"id": "../../etc", "name": "a", "state": "done"}',
        '{"id": "x", "name": 3, "state": "done"}',
        '{"id": "x", "name": "a", "state": "working"}',
        '{"id": "x", "name": "a", "state": "done", "more": 1}',
    ],
)
def test_what_is_no_entry_of_ours_is_left_alone(tmp_path, entry):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ENTRY).write_text(entry)
    assert JobList(tmp_path, LIMITS).snapshot() == []
    assert (tmp_path / "x" / ENTRY).read_text() == entry


def test_what_is_removed_takes_its_files_along(tmp_path):
    jobs = JobList(tmp_path, LIMITS)
    job = queued(jobs)
    assert jobs.remove(job.id) and not jobs.remove(job.id)
    assert list(tmp_path.iterdir()) == [] and jobs.get(job.id) is None


def test_what_is_removed_in_its_turn_goes_with_the_end_of_it(tmp_path):
    jobs = JobList(tmp_path, LIMITS)
    queued(jobs)
    job = jobs.take()
    jobs.clear()
    assert jobs.snapshot() == [] and jobs.folder(job).exists()  # the worker writes there
    jobs.finish(job, summary={})
    assert list(tmp_path.iterdir()) == [] and jobs.snapshot() == []


def test_a_disk_that_fills_at_the_end_fails_the_photo(tmp_path):
    jobs = JobList(tmp_path, LIMITS)
    queued(jobs)
    job = jobs.take()
    (jobs.folder(job) / UPLOAD).unlink()
    jobs.folder(job).rmdir()
    jobs.finish(job, summary={})
    assert job.state == "failed" and "cannot be written" in job.error


def test_limits(tmp_path):
    jobs = JobList(tmp_path, Limits(1000, max_waiting=3, max_photos=4, max_uploads=2))
    first = jobs.add("a")
    jobs.add("b")
    with pytest.raises(QueueFull) as full:
        jobs.add("c")
    assert full.value.retry
    jobs.queue(first, 1)
    jobs.add("c")
    with pytest.raises(QueueFull) as full:  # three wait or come
        jobs.add("d")
    assert full.value.retry
    jobs.finish(jobs.take(), error="no")
    jobs.clear()
    assert jobs.add("d")


def test_every_change_has_a_version_of_its_own(tmp_path):
    jobs = JobList(tmp_path, LIMITS)
    versions = [jobs.version]
    job = queued(jobs)
    versions.append(jobs.version)
    jobs.update(job, step="reading")
    versions.append(jobs.version)
    jobs.remove(job.id)
    versions.append(jobs.version)
    assert versions == sorted(set(versions))


def test_names_for_people_and_for_files(tmp_path):
    assert display_name("C:\\photos\\a.jpg") == display_name("../x/a.jpg") == "a.jpg"
    assert display_name("") == display_name("x/") == "photo"
    assert len(display_name("x" * 1000)) == 255
    display_name("\udcff\0").encode()
    jobs = JobList(tmp_path, LIMITS)
    for name in ("a.jpg", "A.png", "...", "<b>.jpg"):
        queued(jobs, name)
        jobs.finish(jobs.take(), summary={})
    assert list(jobs.download_names().values()) == ["a", "A-2", "_", "_b_"]


def test_an_entry_is_json_whatever_the_name(tmp_path):
    jobs = JobList(tmp_path, LIMITS)
    queued(jobs, '"\u2028\U0001f600\udcff.jpg')
    job = jobs.take()
    jobs.finish(job, summary={})
    assert json.loads((jobs.folder(job) / ENTRY).read_bytes())["name"] == job.name
