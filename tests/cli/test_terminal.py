"""Printing that decides nothing: closed pipes, full disks, terminals with few letters."""

import errno
import io
import os
import subprocess
import sys

import pytest

from exif_jax.cli import terminal
from exif_jax.cli.terminal import ForgivingStream, forgiving_streams, printing_error


def failing(number):
    """A stream that raises an error of the system at the first flush, like a buffered file."""

    class Stream(io.StringIO):
        encoding = "utf-8"

        def flush(self):
            raise OSError(number, os.strerror(number))

    return Stream()


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_printing_ends_and_nothing_is_raised(number):
    stream = ForgivingStream(failing(number))
    stream.write("one\n")
    stream.flush()
    assert stream.error.errno == number
    assert stream.write("two\n") == 4
    stream.flush()
    assert stream.getvalue() == "one\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_the_terminal_lacks_are_escaped(encoding):
    target = io.BytesIO()
    stream = ForgivingStream(io.TextIOWrapper(target, encoding=encoding))
    stream.write("ä ü 日本 \udcff\n")
    stream.write("plain\n")
    stream.flush()
    shown = target.getvalue().decode(encoding)
    expected = {
        "ascii": "\\xe4 \\xfc \\u65e5\\u672c \\udcff\nplain\n",
        "latin-1": "ä ü \\u65e5\\u672c \\udcff\nplain\n",
        "utf-8": "ä ü 日本 \\udcff\nplain\n",
    }
    assert shown == expected[encoding] and stream.error is None


def test_streams_are_put_back_and_wrapped_once():
    before = sys.stdout, sys.stderr
    with forgiving_streams():
        assert isinstance(sys.stdout, ForgivingStream) and isinstance(sys.stderr, ForgivingStream)
        inside = sys.stdout
        with forgiving_streams():
            assert sys.stdout is inside
        assert sys.stdout is inside
    assert (sys.stdout, sys.stderr) == before


def test_a_program_without_streams_prints_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with forgiving_streams():
        print("into the void")
        assert printing_error() is None


@pytest.mark.parametrize(("number", "counts"), [(errno.EPIPE, False), (errno.ENOSPC, True)])
def test_only_a_closed_pipe_is_no_error_of_the_results(monkeypatch, number, counts):
    stream = failing(number)
    monkeypatch.setattr(sys, "stdout", stream)
    with forgiving_streams():
        sys.stdout.flush()
        assert (printing_error() is not None) == counts


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_real_full_disk_leaves_nothing_to_complain_of_at_exit():
    code = (
        "import sys\n"
        "from exif_jax.cli.terminal import forgiving_streams, printing_error\n"
        "with forgiving_streams():\n"
        "    print('x' * 100_000); sys.stdout.flush()\n"
        "    print(printing_error().strerror, file=sys.stderr)\n"
        "print('y')\n"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (0, "No space left on device\n")
    assert terminal.printing_error() is None
