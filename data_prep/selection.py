"""Which photos stay once all of them are known: copies, contradictions, lost traces, caps.

Every rule looks at photos that share a key (a hash, a photo id, a camera, a photographer) and at
nothing else, so that it can run over a dictionary or over the groups of a cluster alike. Rules
apply one after the other, to what the ones before have left.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from data_prep.stages import PhotoResult, Settings, camera_key, seeded_hash
from data_prep.traces import FACTS, first_alike

# A camera's photos must be this many, and this share of them have what one of them lost.
_ENOUGH, _MOST = 8, 0.75


class Candidate(NamedTuple):
    """What the rules see of a usable file; see `PhotoResult`."""

    file: str
    chunk: int
    sha256: str
    photo_id: str
    camera: tuple[str, str]
    owner: str
    alike: str
    crop: bool
    facts: tuple[bool, ...]


class Verdict(NamedTuple):
    """Why a file is left out, or "" and whether it is the first file of its photo."""

    reason: str
    message: str = ""
    first: bool = False


class Rule(NamedTuple):
    """`judge` says of photos with an equal `key` which to leave out; no rule applies to key None.

    Attributes:
      reason: one of a few fixed phrases.
      key: of one candidate.
      judge: candidates of one key, sorted by file, to file -> message of those to leave out.
    """

    reason: str
    key: Callable[[Candidate, Settings], Hashable | None]
    judge: Callable[[list[Candidate], Settings], dict[str, str]]


def candidate(result: PhotoResult, chunk: int) -> Candidate:
    """What the rules see of a usable file of the chunk with that number."""
    return Candidate(
        *(result.file, chunk, result.sha256, result.photo_id, camera_key(result.exif)),
        *(result.owner, result.alike, result.crop),
        tuple(result.facts[name] for name in FACTS) if result.facts else (),
    )


# --- rules ----------------------------------------------------------------------------------------


def _copies(photos: list[Candidate], settings: Settings) -> dict[str, str]:
    return {photo.file: f"the same bytes as {photos[0].file}" for photo in photos[1:]}


def _two_cameras(photos: list[Candidate], settings: Settings) -> dict[str, str]:
    # A crop of another camera than its photo's first crop would put one photo into both splits.
    message = "another crop of this photo names another camera"
    return {photo.file: message for photo in photos if photo.camera != photos[0].camera}


def _lost_traces(photos: list[Candidate], settings: Settings) -> dict[str, str]:
    told = [photo for photo in photos if photo.facts]
    lost: dict[str, str] = {}
    if len(told) < _ENOUGH:
        return lost
    for k, name in enumerate(FACTS):
        have = sum(photo.facts[k] for photo in told)
        if have >= _MOST * len(told):
            message = f"lost the {name} that {have} of {len(told)} photos of its camera have"
            lost |= {photo.file: message for photo in told if not photo.facts[k]}
    return lost


def _look_alike(photos: list[Candidate], settings: Settings) -> dict[str, str]:
    fingerprints = np.array([int(photo.alike, 16) for photo in photos], np.uint64)
    places = first_alike(fingerprints, settings.max_hamming_distance)
    return {
        photo.file: f"looks like {photos[place].file}"
        for photo, place in zip(photos, places.tolist(), strict=True)
        if place >= 0
    }


def _beyond(photos: list[Candidate], seed: int, most: int, message: str) -> dict[str, str]:
    ids = {photo.photo_id for photo in photos}
    order = sorted(ids, key=lambda photo_id: (seeded_hash(seed, "cap", photo_id), photo_id))
    kept = set(order[:most])
    return {photo.file: message for photo in photos if photo.photo_id not in kept}


def _owner_cap(photos: list[Candidate], settings: Settings) -> dict[str, str]:
    most = settings.owner_photos
    return _beyond(photos, settings.seed, most, f"more than {most} photos of its photographer")


def _camera_cap(photos: list[Candidate], settings: Settings) -> dict[str, str]:
    most = settings.camera_photos
    return _beyond(photos, settings.seed, most, f"more than {most} photos of its camera")


RULES = (
    Rule("duplicate", lambda photo, settings: photo.sha256, _copies),
    Rule(
        "two cameras", lambda photo, settings: photo.photo_id if photo.crop else None, _two_cameras
    ),
    Rule(
        "lost traces",
        lambda photo, settings: None if photo.crop or settings.keep_edited else photo.camera,
        _lost_traces,
    ),
    Rule(
        "near duplicate",
        lambda photo, settings: (
            None if photo.crop or settings.max_hamming_distance < 0 else photo.camera
        ),
        _look_alike,
    ),
    Rule(
        "photographer cap",
        lambda photo, settings: photo.owner if photo.owner and settings.owner_photos else None,
        _owner_cap,
    ),
    Rule(
        "camera cap",
        lambda photo, settings: photo.camera if settings.camera_photos else None,
        _camera_cap,
    ),
)


def apply_rule(
    rule: Rule, group: Iterable[Candidate], settings: Settings
) -> tuple[list[Candidate], dict[str, str]]:
    """Splits the candidates of one key into those that stay and file -> message of the others."""
    photos = sorted(group)
    out = rule.judge(photos, settings)
    return [photo for photo in photos if photo.file not in out], out


def mark_first(group: Iterable[Candidate]) -> dict[str, Verdict]:
    """The verdicts on files that stay, of one photo: only the first counts as a photo."""
    photos = sorted(group)
    return {photo.file: Verdict("", first=k == 0) for k, photo in enumerate(photos)}


def select(candidates: Iterable[Candidate], settings: Settings) -> dict[str, Verdict]:
    """All rules on one machine: file -> verdict."""
    verdicts: dict[str, Verdict] = {}
    left = list(candidates)
    for rule in RULES:
        groups, free = _group(left, lambda photo, rule=rule: rule.key(photo, settings))
        left = free
        for group in groups.values():
            kept, out = apply_rule(rule, group, settings)
            left += kept
            verdicts |= {file: Verdict(rule.reason, message) for file, message in out.items()}
    for group in _group(left, lambda photo: photo.photo_id)[0].values():
        verdicts |= mark_first(group)
    return verdicts


def _group(
    photos: Iterable[Candidate], key: Callable[[Candidate], Hashable | None]
) -> tuple[Mapping[Hashable, list[Candidate]], list[Candidate]]:
    """Key -> photos, and the photos without a key."""
    groups: dict[Hashable, list[Candidate]] = {}
    free = []
    for photo in photos:
        found = key(photo)
        if found is None:
            free.append(photo)
        else:
            groups.setdefault(found, []).append(photo)
    return groups, free
