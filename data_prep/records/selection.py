"""Which photos stay once all of them are known: copies, contradictions, lost traces, caps.

Every rule looks at photos that share a key (a hash, a photo id, a camera, a photographer) and at
nothing else, so that it can run over a dictionary or over the groups of a cluster alike. Rules
apply one after the other, to what the ones before have left.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

import numpy as np

from data_prep.processing.camera_traces import TRACES
from data_prep.processing.filters import camera_key
from data_prep.processing.fingerprint import first_similar
from data_prep.processing.photo import PhotoResult
from data_prep.processing.settings import PrepSettings, seeded_hash

# A camera must have this many photos, and this share of them the trace that one of them lost.
_MIN_PHOTOS_OF_CAMERA, _MIN_FRACTION_WITH_TRACE = 8, 0.75


class Candidate(NamedTuple):
    """What the rules see of a usable file; see `PhotoResult`. `chunk` is its chunk's number."""

    file: str
    chunk: int
    sha256: str
    photo_id: str
    camera: tuple[str, str]
    owner: str
    fingerprint: str
    is_crop: bool
    traces: tuple[bool, ...]


class Decision(NamedTuple):
    """Why a file is rejected, or "" and whether it is the first file of its photo."""

    reason: str
    message: str = ""
    is_first: bool = False


class Rule(NamedTuple):
    """A rule over the photos of one key.

    Attributes:
      reason: One of a few fixed phrases.
      key: Of one candidate; the rule does not apply to a candidate whose key is None.
      find_rejects: Candidates of one key, sorted by file, to file -> message of the rejected ones.
    """

    reason: str
    key: Callable[[Candidate, PrepSettings], Hashable | None]
    find_rejects: Callable[[list[Candidate], PrepSettings], dict[str, str]]


def make_candidate(result: PhotoResult, chunk: int) -> Candidate:
    """What the rules see of a usable file of the chunk with that number."""
    return Candidate(
        file=result.file,
        chunk=chunk,
        sha256=result.sha256,
        photo_id=result.photo_id,
        camera=camera_key(result.exif),
        owner=result.owner,
        fingerprint=result.fingerprint,
        is_crop=result.is_crop,
        traces=tuple(result.traces[name] for name in TRACES) if result.traces else (),
    )


# --- keys -----------------------------------------------------------------------------------------


def _sha256(photo: Candidate, settings: PrepSettings) -> Hashable | None:
    return photo.sha256


def _photo_of_crop(photo: Candidate, settings: PrepSettings) -> Hashable | None:
    return photo.photo_id if photo.is_crop else None


def _camera_with_traces(photo: Candidate, settings: PrepSettings) -> Hashable | None:
    return None if photo.is_crop or settings.keep_edited else photo.camera


def _camera_with_fingerprints(photo: Candidate, settings: PrepSettings) -> Hashable | None:
    return None if photo.is_crop or settings.max_hamming_distance < 0 else photo.camera


def _capped_owner(photo: Candidate, settings: PrepSettings) -> Hashable | None:
    return photo.owner if photo.owner and settings.max_per_photographer else None


def _capped_camera(photo: Candidate, settings: PrepSettings) -> Hashable | None:
    return photo.camera if settings.max_per_camera else None


# --- rules ----------------------------------------------------------------------------------------


def _find_copies(photos: list[Candidate], settings: PrepSettings) -> dict[str, str]:
    return {photo.file: f"the same bytes as {photos[0].file}" for photo in photos[1:]}


def _find_other_cameras(photos: list[Candidate], settings: PrepSettings) -> dict[str, str]:
    # A crop of another camera than its photo's first crop would put one photo into both splits.
    message = "another crop of this photo names another camera"
    return {photo.file: message for photo in photos if photo.camera != photos[0].camera}


def _find_lost_traces(photos: list[Candidate], settings: PrepSettings) -> dict[str, str]:
    known = [photo for photo in photos if photo.traces]
    rejects: dict[str, str] = {}
    if len(known) < _MIN_PHOTOS_OF_CAMERA:
        return rejects
    for k, name in enumerate(TRACES):
        count = sum(photo.traces[k] for photo in known)
        if count >= _MIN_FRACTION_WITH_TRACE * len(known):
            message = f"lost the {name} that {count} of {len(known)} photos of its camera have"
            rejects |= {photo.file: message for photo in known if not photo.traces[k]}
    return rejects


def _find_near_duplicates(photos: list[Candidate], settings: PrepSettings) -> dict[str, str]:
    fingerprints = np.array([int(photo.fingerprint, 16) for photo in photos], np.uint64)
    indices = first_similar(fingerprints, settings.max_hamming_distance)
    return {
        photo.file: f"looks like {photos[index].file}"
        for photo, index in zip(photos, indices.tolist(), strict=True)
        if index >= 0
    }


def _find_beyond_owner_cap(photos: list[Candidate], settings: PrepSettings) -> dict[str, str]:
    cap = settings.max_per_photographer
    return _find_beyond(photos, settings.seed, cap, f"more than {cap} photos of its photographer")


def _find_beyond_camera_cap(photos: list[Candidate], settings: PrepSettings) -> dict[str, str]:
    cap = settings.max_per_camera
    return _find_beyond(photos, settings.seed, cap, f"more than {cap} photos of its camera")


def _find_beyond(photos: list[Candidate], seed: int, cap: int, message: str) -> dict[str, str]:
    """The files of all but `cap` photos, which the seed chooses."""
    ids = {photo.photo_id for photo in photos}
    order = sorted(ids, key=lambda photo_id: (seeded_hash(seed, "cap", photo_id), photo_id))
    kept = set(order[:cap])
    return {photo.file: message for photo in photos if photo.photo_id not in kept}


RULES = (
    Rule("duplicate", _sha256, _find_copies),
    Rule("two cameras", _photo_of_crop, _find_other_cameras),
    Rule("lost traces", _camera_with_traces, _find_lost_traces),
    Rule("near duplicate", _camera_with_fingerprints, _find_near_duplicates),
    Rule("photographer cap", _capped_owner, _find_beyond_owner_cap),
    Rule("camera cap", _capped_camera, _find_beyond_camera_cap),
)


def apply_rule(
    rule: Rule, group: Iterable[Candidate], settings: PrepSettings
) -> tuple[list[Candidate], dict[str, str]]:
    """Splits the candidates of one key into those that stay and file -> message of the others."""
    photos = sorted(group)
    rejects = rule.find_rejects(photos, settings)
    return [photo for photo in photos if photo.file not in rejects], rejects


def mark_first(group: Iterable[Candidate]) -> dict[str, Decision]:
    """The decisions on files that stay, of one photo: only the first counts as a photo."""
    photos = sorted(group)
    return {photo.file: Decision("", is_first=k == 0) for k, photo in enumerate(photos)}


def select(candidates: Iterable[Candidate], settings: PrepSettings) -> dict[str, Decision]:
    """All rules on one machine: file -> decision."""
    decisions: dict[str, Decision] = {}
    remaining = list(candidates)
    for rule in RULES:
        groups: dict[Hashable, list[Candidate]] = {}
        kept: list[Candidate] = []
        for photo in remaining:
            key = rule.key(photo, settings)
            if key is None:
                kept.append(photo)
            else:
                groups.setdefault(key, []).append(photo)
        for group in groups.values():
            staying, rejects = apply_rule(rule, group, settings)
            kept += staying
            decisions |= {file: Decision(rule.reason, why) for file, why in rejects.items()}
        remaining = kept
    photos: dict[str, list[Candidate]] = {}
    for photo in remaining:
        photos.setdefault(photo.photo_id, []).append(photo)
    for group in photos.values():
        decisions |= mark_first(group)
    return decisions
