"""The photos below a folder, and in words what else lies there.

Nothing is left out without a word: what a walk passes over is counted in a `WalkReport`.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Collection, Iterator

from exif_jax.io.text import printable
from exif_jax.reading.photo import EXTENSIONS

# Pictures that this project makes say so in a text chunk before their pixels.
SOFTWARE = "exif-jax"
_OWN_MARK = b"tEXtSoftware\0" + SOFTWARE.encode()
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES = 512

# Endings of what is written for a photo beside its overlay NAME.overlay.png.
_BESIDE_AN_OVERLAY = (".map.npy", ".json", ".html")
# What a run writes besides; names that start with ".exif-jax" are its locks and the like.
_JOURNAL = "results.jsonl"
_VERIFICATION = ".verify.json"

_SYSTEM_FILES = frozenset(
    (".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".localized", "icon\r")
)
_SYSTEM_FOLDERS = frozenset(
    (
        *("@eadir", "__macosx", ".thumbnails", "$recycle.bin", "system volume information"),
        *(".spotlight-v100", ".trashes", ".fseventsd", ".temporaryitems", "lost+found"),
    )
)
_MAX_ENDINGS = 12  # that the summary names; one line has no room for all that disks hold

_HEIF_CURE = "pip install pillow-heif"
_AVIF_CURE = "pip install -U pillow"
_RAW_CURE = "raw files are not read: export them as TIFF or JPEG at full size"
# What makes photos of other endings readable.
CURES = {
    **dict.fromkeys((".heic", ".heif", ".hif"), _HEIF_CURE),
    **dict.fromkeys((".avif", ".avifs"), _AVIF_CURE),
    **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
        _RAW_CURE,
    ),
}


@dataclasses.dataclass
class WalkReport:
    """What walks over folders have passed over so far.

    Attributes:
      endings: How many files have which ending in lower case ("" for none) and are not read.
      own_files: How many are pictures and results that this project wrote.
      system_files: How many files and folders an operating system left for itself.
      unreadable: One message for each folder that cannot be read: its name and the cause.
    """

    endings: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    own_files: int = 0
    system_files: int = 0
    unreadable: list[str] = dataclasses.field(default_factory=list)

    def summary(self) -> str:
        """Returns one line like "skipped 3 .heic (pip install pillow-heif), 2 .txt", or ""."""
        # What can be cured comes first, then what is most.
        ordered = sorted(
            self.endings.items(), key=lambda item: (item[0] not in CURES, -item[1], item[0])
        )
        parts = [_describe_ending(*item) for item in ordered[:_MAX_ENDINGS]]
        if rest := sum(count for _, count in ordered[_MAX_ENDINGS:]):
            parts.append(f"{rest} with other endings")
        if self.own_files:
            parts.append(f"{self.own_files} results of exif-jax")
        if self.system_files:
            parts.append(f"{self.system_files} of operating systems (._*, Thumbs.db, ...)")
        return f"skipped {', '.join(parts)}" if parts else ""


def _describe_ending(ending: str, count: int) -> str:
    cure = f" ({CURES[ending]})" if ending in CURES else ""
    return f"{count} {printable(ending[:20]) or 'without an ending'}{cure}"


def walk_files(top: str | os.PathLike, report: WalkReport) -> Iterator[pathlib.Path]:
    """Yields every file below a folder: those of a folder sorted, then its subfolders'.

    Links to folders are followed, after all that lies below the folder itself, so that a photo
    goes by its own path where it has one. No folder is entered twice, and none that holds `top`,
    so that circles end.

    Args:
      top: The folder.
      report: Receives the operating systems' files and the folders that cannot be read.
    """
    entered = _identities_of_parents(top)
    linked = [pathlib.Path(top)]
    while linked:
        pending = [linked.pop(0)]
        while pending:
            folder = pending.pop()
            try:
                identity = _identity(folder)
                if identity in entered:
                    continue
                entered.add(identity)
                with os.scandir(folder) as entries:
                    listing = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                report.unreadable.append(f"{printable(folder)}: {error.strerror or error}")
                continue
            subfolders = []
            for entry in listing:
                is_folder = _is_folder(entry)
                if is_left_by_a_system(entry.name, is_folder):
                    report.system_files += 1
                elif not is_folder:
                    yield folder / entry.name
                elif entry.is_symlink():
                    linked.append(folder / entry.name)
                else:
                    subfolders.append(folder / entry.name)
            pending.extend(reversed(subfolders))


def find_photos(
    top: str | os.PathLike, report: WalkReport, extensions: Collection[str] = EXTENSIONS
) -> Iterator[pathlib.Path]:
    """Yields the photos below a folder, in the order of `walk_files`.

    Args:
      top: The folder.
      report: Receives what is passed over.
      extensions: The endings that count, in lower case.
    """
    for path in walk_files(top, report):
        ending = path.suffix.lower()
        if is_own_result(path):
            report.own_files += 1
        elif ending in extensions:
            yield path
        else:
            report.endings[ending] += 1


def is_own_picture(path: str | os.PathLike) -> bool:
    """Whether a file is a PNG that this project made: an overlay or a map, and no photo.

    The mark in the file counts, whatever its name; what cannot be read is no such picture.
    """
    if pathlib.Path(path).suffix.lower() != ".png":
        return False
    try:
        # A pipe of that name must not be waited for.
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return False
    return head.startswith(_PNG_SIGNATURE) and _OWN_MARK in head


def is_own_result(path: pathlib.Path) -> bool:
    """Whether a file is one that `localize` or `verify` wrote, by its mark or its neighbours."""
    name = path.name
    if name == _JOURNAL or name.startswith(".exif-jax") or name.endswith(_VERIFICATION):
        return True
    if path.suffix.lower() == ".png":
        return is_own_picture(path)
    return any(
        is_own_picture(path.with_name(f"{name.removesuffix(ending)}.overlay.png"))
        for ending in _BESIDE_AN_OVERLAY
        if name.endswith(ending)
    )


def _identities_of_parents(top: str | os.PathLike) -> set[object]:
    identities = set()
    for parent in pathlib.Path(os.path.realpath(top)).parents:
        with contextlib.suppress(OSError):
            identities.add(_identity(parent))
    return identities


def _identity(folder: pathlib.Path) -> object:
    status = folder.stat()
    if status.st_ino:
        return status.st_dev, status.st_ino
    return os.path.realpath(folder)  # file systems without such numbers, on Windows


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in a circle, say: whoever reads it says so
        return False


def is_left_by_a_system(name: str, is_folder: bool) -> bool:
    """Whether a file or folder of that name is one that operating systems leave for themselves."""
    lowered = name.lower()
    if is_folder:
        return lowered in _SYSTEM_FOLDERS
    return name.startswith("._") or lowered in _SYSTEM_FILES
