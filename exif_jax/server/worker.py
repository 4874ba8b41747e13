"""The process that looks at photos, one after the other: what a hostile one can stop is this.

Requests come as lines of JSON on standard input, answers go as lines of JSON to standard output:

    {"photo": path, "name": shown, "folder": path}
    {"step": words} ... then {"done": summary} or {"failed": words}

It ends with its input. Where that ended because the server was killed, nobody else is left to
remove what it had spooled: `--remove DIR` is then removed here.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from exif_jax.api import resolve_model
from exif_jax.cli import command, photo_command
from exif_jax.cli.batch import PhotoFailed
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.forensics.result import Localization
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import printable
from exif_jax.localize import localize_to
from exif_jax.reading.photo import MAX_PIXELS, Photo, PhotoError, read_photo
from exif_jax.reports.render import colorize, png_bytes, upright
from exif_jax.server.results import RESULT_NAME, summary_of
from exif_jax.weights.release_file import Model, ReleaseError

_PREVIEW_SIDE, _MAP_SIDE = 1200, 500


def analyse(
    path: pathlib.Path,
    shown: str,
    folder: pathlib.Path,
    model: Model,
    max_pixels: int,
    on_step: Callable[[str], None],
) -> dict[str, Any]:
    """Localises one photo and writes all that the page shows of it into a folder.

    Args:
        path: the photo's bytes; its name says nothing.
        shown: the name that the report gives it.
        folder: an existing folder for the files of `results.FILES`.
        model: a loaded model.
        max_pixels: photos of more are refused before they are decoded.
        on_step: is told what is being done, in words.

    Returns:
        The summary for the list, as `results.summary_of` makes it.

    Raises:
        PhotoError: the file cannot be read as a photo. PhotoFailed: it cannot be localised.
        OSError: the results cannot be written.
    """
    on_step("Reading the photo")
    photo = read_photo(path, name=shown, max_pixels=max_pixels)
    _write_preview(folder / "photo.jpg", photo)
    on_step("Comparing its patches")
    settings = LocalizationSettings()
    localization, _ = localize_to(folder, RESULT_NAME, photo, shown, model, settings, page=True)
    (folder / f"{RESULT_NAME}.map.npy").unlink()  # as large as 4 bytes a pixel; the page has no use
    write_bytes(folder / "map.png", png_bytes(_map_picture(localization, photo.orientation)))
    write_bytes(folder / "mask.png", png_bytes(_mask_picture(localization)))
    report = json.loads((folder / f"{RESULT_NAME}.json").read_bytes())
    return summary_of(report)


def _write_preview(path: pathlib.Path, photo: Photo) -> None:
    picture = photo.image
    scale = min(1.0, _PREVIEW_SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = picture.resize(size, Image.Resampling.BOX, reducing_gap=1.0)
    turned = np.ascontiguousarray(upright(np.asarray(small), photo.orientation))
    Image.fromarray(turned).save(path, "JPEG", quality=85)


def _map_picture(localization: Localization, orientation: int) -> Image.Image:
    """The map in colour, upright, at most twice `_MAP_SIDE` a side."""
    step = max(1, max(localization.heatmap.shape) // _MAP_SIDE)  # the map is smooth
    heatmap = upright(localization.heatmap[::step, ::step], orientation)
    return Image.fromarray(np.ascontiguousarray(colorize(heatmap)))


def _mask_picture(localization: Localization) -> Image.Image:
    """What the map singles out, white, as large as the photo and as stored, as masks are."""
    return Image.fromarray(localization.mask)


# --- the process --------------------------------------------------------------------------------


def main() -> None:
    """Answers requests until the input ends; a model that cannot be read ends it with 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS)
    parser.add_argument("--remove", metavar="DIR")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server's Ctrl-C; it ends the input
    # Whatever prints by itself must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**words: Any) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    try:
        status = _serve(args, answer)
    finally:
        if args.remove:
            shutil.rmtree(args.remove, ignore_errors=True)
    os._exit(status)  # the interpreter's own way takes 0.4 s to take JAX apart


def _serve(args: argparse.Namespace, answer: Callable[..., None]) -> int:
    photo_command.keep_compiled()
    try:
        model = resolve_model(args.model)
    except ReleaseError as error:
        return command.fail(printable(error))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            summary = analyse(
                pathlib.Path(request["photo"]),
                request["name"],
                pathlib.Path(request["folder"]),
                model,
                args.max_pixels,
                lambda words: answer(step=words),
            )
        except PhotoError as error:
            answer(failed=f"{error.cause[:1].upper()}{error.cause[1:]}. {error.cure}.")
        except PhotoFailed as error:
            answer(failed=f"{str(error)[:1].upper()}{str(error)[1:]}.")
        except OSError as error:
            answer(failed=f"The results cannot be written ({error.strerror}). Make room.")
        except Exception as error:  # one photo, whatever it does, is not the end of the others
            words = " ".join(str(error).split())[:300]
            answer(failed=f"It could not be analysed ({type(error).__name__}: {words}).")
        else:
            answer(done=summary)
    return 0


if __name__ == "__main__":
    main()
