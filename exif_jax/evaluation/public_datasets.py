"""The common splice benchmarks, read from the copies that users hold. Nothing is downloaded.

Each reader takes the folder that an archive unpacks to, or the one above it, and says precisely
what a copy lacks. Layouts, counts and what the masks mean are those of the archives and of the
code that others read them with: github.com/photoholmes/photoholmes (src/photoholmes/datasets),
github.com/yizhe-ang/fake-detection-lab (src/datasets and the checksums in data/raw),
github.com/hellomuffin/exif-as-language (datasets).
"""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator

from exif_jax.evaluation.datasets import DatasetError, Mask, Sample, photos_in, sample

_TIF = (".tif", ".tiff")
_JPEG = (".jpg", ".jpeg")
_LISTED = 3  # files that are named when many are missing


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A benchmark.

    Attributes:
        layout: what a copy holds, for the error message of one that does not.
        read: the samples of a folder, in a fixed order.
        spliced, pristine: how many photos a whole copy holds; None: not checked.
        archives: name -> sha256 of what is published, for the error message.
    """

    layout: str
    read: Callable[[pathlib.Path], Iterator[Sample]]
    spliced: int | None = None
    pristine: int | None = None
    archives: tuple[tuple[str, str], ...] = ()


def read_public(name: str, root: str | os.PathLike, partial: bool = False) -> list[Sample]:
    """The samples of one of DATASETS: the spliced photos, then the pristine ones.

    Args:
        name: of the dataset.
        root: its folder, or the folder above it.
        partial: take a copy of which photos or masks are missing; what is there is used.

    Raises:
        DatasetError: what is missing, and what a whole copy holds.
    """
    dataset, root = DATASETS[name], pathlib.Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: there is no such folder")
    found: list[Sample] = []
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        found = list(dataset.read(folder))
        if found:
            break
    # The same photo may be reached by two patterns on file systems that do not tell case.
    found = list({s.image: s for s in found}.values())
    spliced = [s for s in found if s.mask]
    pristine = [s for s in found if not s.mask]
    whole = f"a whole copy of {name} holds {dataset.layout}"
    if dataset.archives:
        sums = ", ".join(f"{file} (sha256 {digest})" for file, digest in dataset.archives)
        whole += f", as unpacked from {sums}"
    if not spliced:
        raise DatasetError(f"{root}: no spliced photos found; {whole}")
    missing = [s.mask.path for s in spliced if s.mask and not s.mask.path.is_file()]
    problems = []
    if missing:
        names = ", ".join(str(path) for path in missing[:_LISTED])
        problems.append(f"{len(missing)} masks are missing ({names}{', ...' * (len(missing) > 3)})")
    for kind, have, want in (
        ("spliced", len(spliced), dataset.spliced),
        ("pristine", len(pristine), dataset.pristine),
    ):
        if want is not None and have != want:
            problems.append(f"{have} {kind} photos instead of {want}")
    if problems and not partial:
        raise DatasetError(
            f"{root}: {'; '.join(problems)}; {whole}. --partial uses what is there, which gives "
            "figures that compare with no others"
        )
    lost = set(missing)
    return [s for s in spliced if s.mask and s.mask.path not in lost] + pristine


def _columbia(root: pathlib.Path) -> Iterator[Sample]:
    for image in photos_in(root / "4cam_splc", _TIF):
        mask = root / "4cam_splc" / "edgemask" / f"{image.stem}_edgemask.jpg"
        yield sample(root, image, Mask(mask, "green"))
    for image in photos_in(root / "4cam_auth", _TIF):
        yield sample(root, image)


def _dso1(root: pathlib.Path) -> Iterator[Sample]:
    for image in photos_in(root / "DSO-1", {".png"}):
        spliced = image.name.startswith("splicing")
        mask = root / "DSO-1-Fake-Images-Masks" / image.name
        yield sample(root, image, Mask(mask, "dark") if spliced else None)


def _realistic_tampering(root: pathlib.Path) -> Iterator[Sample]:
    for camera in ("Canon_60D", "Nikon_D90", "Nikon_D7000", "Sony_A57"):
        for image in photos_in(root / camera / "tampered-realistic", _TIF):
            mask = root / camera / "ground-truth" / f"{image.stem}.PNG"
            yield sample(root, image, Mask(mask, "marked"))
        for image in photos_in(root / camera / "pristine", _TIF):
            yield sample(root, image)


def _in_the_wild(root: pathlib.Path) -> Iterator[Sample]:
    for folder in (root, root / "label_in_wild"):
        for image in photos_in(folder / "images", _JPEG):
            yield sample(root, image, Mask(folder / "masks" / f"{image.stem}.png", "marked"))


def _hays(root: pathlib.Path) -> Iterator[Sample]:
    for image in photos_in(root):
        if not image.stem.endswith("_mask"):
            mask = image.with_name(f"{image.stem}_mask{image.suffix}")
            other = image.with_name(f"{image.stem}_mask.jpg")
            yield sample(root, image, Mask(mask if mask.is_file() else other, "bright"))


def _casia1(root: pathlib.Path) -> Iterator[Sample]:
    for kind in ("Sp", "CM"):
        truth = root / "CASIA 1.0 groundtruth" / kind
        for image in photos_in(root / "Tp" / kind):
            yield sample(root, image, Mask(truth / f"{image.stem}_gt.png", "marked"))
    for image in photos_in(root / "Au"):
        yield sample(root, image)


def _casia2(root: pathlib.Path) -> Iterator[Sample]:
    truths = [
        root / name for name in ("CASIA 2 Groundtruth", "CASIA2.0_Groundtruth", "Groundtruth")
    ]
    truth = next(filter(pathlib.Path.is_dir, truths), truths[0])
    for image in photos_in(root / "Tp"):
        yield sample(root, image, Mask(truth / f"{image.stem}_gt.png", "marked"))
    for image in photos_in(root / "Au", {*_JPEG, *_TIF, ".bmp"}):
        yield sample(root, image)


def _coverage(root: pathlib.Path) -> Iterator[Sample]:
    for image in photos_in(root / "image", _TIF):
        if image.stem.endswith("t"):
            mask = root / "mask" / f"{image.stem[:-1]}forged.tif"
            yield sample(root, image, Mask(mask, "bright"))
        else:
            yield sample(root, image)


def _nist16(root: pathlib.Path) -> Iterator[Sample]:
    seen = set()
    for task in ("manipulation", "splice", "removal"):
        table = root / "reference" / task / f"NC2016-{task}-ref.csv"
        if not table.is_file():
            continue
        with open(table, newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file, delimiter="|"):
                probe = (row.get("ProbeFileName") or "").strip()
                mask = (row.get("ProbeMaskFileName") or "").strip()
                if not probe or probe in seen or _leads_out(probe) or _leads_out(mask):
                    continue
                target = (row.get("IsTarget") or "").strip() == "Y"
                if target and not mask:
                    continue  # this task's reference has no mask for it; another's may
                seen.add(probe)
                yield sample(root, root / probe, Mask(root / mask, "dark") if target else None)


def _leads_out(path: str) -> bool:
    return os.path.isabs(path) or ".." in pathlib.PurePosixPath(path).parts or "\0" in path


def _imd2020(root: pathlib.Path) -> Iterator[Sample]:
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        photos = photos_in(folder)
        if not any(photo.stem.endswith("_orig") for photo in photos):
            continue
        for image in photos:
            if image.stem.endswith("_orig"):
                yield sample(root, image)
            elif not image.stem.endswith("_mask"):
                yield sample(root, image, Mask(folder / f"{image.stem}_mask.png", "marked"))


def _autosplice(quality: int) -> Callable[[pathlib.Path], Iterator[Sample]]:
    def read(root: pathlib.Path) -> Iterator[Sample]:
        for image in photos_in(root / f"Forged_JPEG{quality}", _JPEG):
            mask = root / "Mask" / f"{image.stem.split('_')[0]}_mask.png"
            yield sample(root, image, Mask(mask, "marked"))
        for image in photos_in(root / "Authentic", _JPEG):
            yield sample(root, image)

    return read


def _osn(source: str, network: str) -> Callable[[pathlib.Path], Iterator[Sample]]:
    """Other datasets after a social network. All masks are bright where tampered, DSO-1's too."""

    def read(root: pathlib.Path) -> Iterator[Sample]:
        # The archives do not agree on capitals.
        names = {path.name.lower(): path for path in root.iterdir()} if root.is_dir() else {}
        folder = names.get(f"{source}_{network}".lower())
        if folder is None or not folder.is_dir():
            return
        truth = next((p for p in sorted(folder.iterdir()) if p.name.lower().endswith("_gt")), None)
        for inside in (folder, folder / "Sp", folder / "CM"):
            for image in photos_in(inside):
                mask = (truth or folder / f"{source}_GT") / f"{image.stem}_gt.png"
                yield sample(root, image, Mask(mask, "marked"))

    return read


def _trace(trace: str, mask: str) -> Callable[[pathlib.Path], Iterator[Sample]]:
    def read(root: pathlib.Path) -> Iterator[Sample]:
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            image = folder / f"{trace}_{mask}.png"
            if image.is_file():
                yield sample(root, image, Mask(folder / f"mask_{mask}.png", "marked"))

    return read


DATASETS: dict[str, Dataset] = {
    "columbia": Dataset(
        "4cam_splc/*.tif, 4cam_splc/edgemask/*_edgemask.jpg and 4cam_auth/*.tif",
        _columbia,
        180,
        183,
        (
            (
                "4cam_auth.tar.bz2",
                "561dcc477824817e23e8f4457e9139096f05139d8440725112c0281b7f9ebac3",
            ),
            (
                "4cam_splc.tar.bz2",
                "b47411de8cd73283d0525f6e03e33d98adef6e7f73b27422ac5079837692679f",
            ),
        ),
    ),
    "dso-1": Dataset(
        "DSO-1/{splicing,normal}-*.png and DSO-1-Fake-Images-Masks/splicing-*.png (0 = tampered)",
        _dso1,
        100,
        100,
        (
            (
                "tifs-database.zip",
                "f1b2c66c8e0a1e13444990c980d0d569e57243efe64d83c54fff94455e5b1746",
            ),
        ),
    ),
    "realistic-tampering": Dataset(
        "{Canon_60D,Nikon_D90,Nikon_D7000,Sony_A57}/{tampered-realistic,pristine}/*.TIF and "
        "ground-truth/*.PNG",
        _realistic_tampering,
        220,
        220,
        (
            (
                "realistic-tampering-dataset.zip",
                "c86e664027c3c67136db2a871f1cb19ab9646938675d0077d50808bd7378b8ef",
            ),
        ),
    ),
    "in-the-wild": Dataset(
        "label_in_wild/images/*.jpg and label_in_wild/masks/*.png",
        _in_the_wild,
        201,
        0,
        (("in_wild.tar.gz", "6a00d4c66742bd50068c739edd67d99b346a51db797778140a568763ef49c2c5"),),
    ),
    "hays": Dataset(
        "NAME.EXT and NAME_mask.EXT or NAME_mask.jpg, in one folder",
        _hays,
        51,
        0,
        (("test_set.zip", "5b219cf3262844ec6b89af021b2d86a615a94a0f0245800bd1540254e1180d76"),),
    ),
    "casia1": Dataset(
        "Tp/{Sp,CM}/*.jpg, Au/*.jpg and 'CASIA 1.0 groundtruth'/{Sp,CM}/*_gt.png", _casia1, 921
    ),
    "casia2": Dataset("Tp/*, Au/* and 'CASIA 2 Groundtruth'/*_gt.png", _casia2, 5123),
    "coverage": Dataset("image/{N,Nt}.tif and mask/Nforged.tif", _coverage, 100, 100),
    "nist16": Dataset(
        "reference/{manipulation,splice,removal}/NC2016-*-ref.csv and the probes and masks that "
        "they name (0 = tampered)",
        _nist16,
        564,
    ),
    "imd2020": Dataset("*/*_orig.*, and */NAME.* with */NAME_mask.png", _imd2020, 2010, 414),
    **{
        f"autosplice-{quality}": Dataset(
            f"Forged_JPEG{quality}/*.jpg, Mask/*_mask.png and Authentic/*.jpg", _autosplice(quality)
        )
        for quality in (100, 90, 75)
    },
    **{
        f"osn-{source.lower()}-{network.lower()}": Dataset(
            f"{source}_{network}/*.jpg (or Sp/*.jpg and CM/*.jpg) and {source}_GT/*_gt.png in it",
            _osn(source, network),
        )
        for source in ("Columbia", "CASIA", "DSO", "NIST")
        for network in ("Facebook", "Whatsapp", "Weibo", "Wechat")
    },
    **{
        f"trace-{trace.replace('_', '-')}-{mask}": Dataset(
            f"*/{trace}_{mask}.png and */mask_{mask}.png", _trace(trace, mask)
        )
        for trace in (
            *("noise", "jpeg_quality", "jpeg_grid", "hybrid_select", "cfa_alg", "cfa_grid"),
        )
        for mask in ("exo", "endo")
    },
}
"""Readers by name. Counts of CASIA: namtpham's ground truth; of IMD2020 and NIST16: their pages."""
