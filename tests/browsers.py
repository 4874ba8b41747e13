"""A Chromium without a screen for the tests of pages, or a reason why there is none."""

import contextlib
import os
import pathlib
import shutil

import pytest

playwright = pytest.importorskip("playwright.sync_api")


@contextlib.contextmanager
def chromium():
    """The system's Chromium, or the one of `python -m playwright install chromium`."""
    options = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    with playwright.sync_playwright() as p:
        paths = [shutil.which("chromium"), shutil.which("chromium-browser")]
        paths.append(p.chromium.executable_path)
        path = next((path for path in paths if path and pathlib.Path(path).exists()), None)
        if path is None:
            pytest.skip("no Chromium: python -m playwright install chromium")
        with p.chromium.launch(executable_path=path, args=options) as browser:
            yield browser
