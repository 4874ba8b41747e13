"""The common splice benchmarks by name, read from the copies that users hold.

Nothing is downloaded. A copy may be given by its folder, or by one or two folders above it; what
it lacks is said precisely. The layouts stand with the readers: `public_readers` and `casia`.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib

from exif_jax.evaluation import public_readers as readers
from exif_jax.evaluation.casia import read_casia1, read_casia2
from exif_jax.evaluation.datasets import Dataset, Sample, of_kinds, subfolders
from exif_jax.evaluation.folder_dataset import read_folder
from exif_jax.evaluation.masks import DatasetError
from exif_jax.io.text import printable

_LISTED = 3  # files that are named when many are missing
_FOLDERS_ABOVE = 2


@dataclasses.dataclass(frozen=True)
class PublicDataset:
    """A benchmark.

    Attributes:
        layout: what a copy holds, for the error message of one that does not.
        read: the samples of a folder, in a fixed order; may raise DatasetError and OSError.
        tampered, pristine: how many photos a whole copy holds, each of the numbers in circulation
            with the usual one first; empty where it is not checked.
        archives: pairs of the name and sha256 of what is published, for the error message.
        masks_from: where the masks come from if not with the photos, for the error message.
    """

    layout: str
    read: readers.Reader
    tampered: tuple[int, ...] = ()
    pristine: tuple[int, ...] = ()
    archives: tuple[tuple[str, str], ...] = ()
    masks_from: str = ""


def read_dataset(
    name: str,
    root: str | os.PathLike,
    partial: bool = False,
    kinds: tuple[str, ...] = (),
    need_masks: bool = True,
) -> Dataset:
    """Reads a dataset by its name: "folder", or one of DATASETS.

    Args:
        name: one of DATASET_NAMES.
        root: its folder.
        partial: see `read_public`.
        kinds: take only tampered photos of these kinds; all where empty.
        need_masks: see `read_public`.

    Raises:
        DatasetError: the folder is no such dataset or incomplete, or has no photos of a kind.
    """
    if name == "folder":
        try:
            dataset = read_folder(root)
        except OSError as e:
            raise _unreadable(e, root) from e
    else:
        dataset = read_public(name, root, partial, need_masks)
    return of_kinds(dataset, kinds)


def read_public(
    name: str, root: str | os.PathLike, partial: bool = False, need_masks: bool = True
) -> Dataset:
    """Reads one of DATASETS.

    Args:
        name: of the dataset.
        root: its folder, or one or two folders above it.
        partial: take a copy of which photos or masks are missing. Tampered photos without masks
            then have none, and count in detection only.
        need_masks: whether missing masks make a copy incomplete.

    Raises:
        DatasetError: what is missing, and what a whole copy holds; or a folder cannot be read.
    """
    public, root = DATASETS[name], pathlib.Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: there is no such folder")
    try:
        dataset = _read_below(public, root)
    except OSError as e:
        raise _unreadable(e, root) from e
    tampered = [s for s in dataset.samples if s.is_tampered]
    whole = f"a whole copy of {name} holds {public.layout}"
    if public.archives:
        sums = ", ".join(f"{file} (sha256 {digest})" for file, digest in public.archives)
        whole += f", as unpacked from {sums}"
    if not tampered:
        raise DatasetError(f"{root}: no tampered photos found; {whole}")

    lost = [s for s in tampered if s.mask and not s.mask.path.is_file()]
    problems = []
    if lost and need_masks:
        names = ", ".join(str(s.mask.path) for s in lost[:_LISTED] if s.mask)
        source = f"; they are at {public.masks_from}" if public.masks_from else ""
        problems.append(
            f"{len(lost)} masks are missing ({names}{', ...' * (len(lost) > _LISTED)}{source})"
        )
    for kind, there, wanted in (
        ("tampered", len(tampered), public.tampered),
        ("pristine", len(dataset.samples) - len(tampered), public.pristine),
    ):
        if wanted and there not in wanted:
            problems.append(f"{there} {kind} photos instead of {' or '.join(map(str, wanted))}")
    if problems and not partial:
        raise DatasetError(
            f"{root}: {'; '.join(problems)}; {whole}. --partial uses what is there, which gives "
            "figures that compare with no others"
        )
    return _without_masks(dataset, lost) if lost else dataset


def _read_below(public: PublicDataset, root: pathlib.Path) -> Dataset:
    """What the first folder gives that holds the dataset: the root, or one some levels below."""
    level = [root]
    for _ in range(_FOLDERS_ABOVE + 1):
        for folder in level:
            dataset = public.read(folder)
            if any(sample.is_tampered for sample in dataset.samples):
                return dataset
        level = [inner for folder in level for inner in subfolders(folder)]
    return Dataset([])


def _without_masks(dataset: Dataset, lost: list[Sample]) -> Dataset:
    names = {sample.name for sample in lost}
    samples = [
        dataclasses.replace(sample, mask=None) if sample.name in names else sample
        for sample in dataset.samples
    ]
    note = f"tampered photos whose masks are missing, which count in detection only: {len(lost)}"
    return dataclasses.replace(dataset, samples=samples, notes=(*dataset.notes, note))


def _unreadable(error: OSError, root: str | os.PathLike) -> DatasetError:
    name = printable(error.filename or root)
    return DatasetError(f"{name}: cannot be read ({error.strerror}); change its permissions")


DATASETS: dict[str, PublicDataset] = {
    "columbia": PublicDataset(
        "4cam_splc/*.tif, 4cam_splc/edgemask/*_edgemask.jpg and 4cam_auth/*.tif",
        readers.read_columbia,
        (180,),
        (183,),
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
    "dso-1": PublicDataset(
        "DSO-1/{splicing,normal}-*.png and DSO-1-Fake-Images-Masks/splicing-*.png (0 = tampered)",
        readers.read_dso1,
        (100,),
        (100,),
        (
            (
                "tifs-database.zip",
                "f1b2c66c8e0a1e13444990c980d0d569e57243efe64d83c54fff94455e5b1746",
            ),
        ),
    ),
    "realistic-tampering": PublicDataset(
        "{Canon_60D,Nikon_D90,Nikon_D7000,Sony_A57}/{tampered-realistic,pristine}/*.TIF and "
        "ground-truth/*.PNG",
        readers.read_realistic_tampering,
        (220,),
        (220,),
        (
            (
                "realistic-tampering-dataset.zip",
                "c86e664027c3c67136db2a871f1cb19ab9646938675d0077d50808bd7378b8ef",
            ),
        ),
    ),
    "in-the-wild": PublicDataset(
        "label_in_wild/images/*.jpg and label_in_wild/masks/*.png",
        readers.read_in_the_wild,
        (201,),
        (0,),
        (("in_wild.tar.gz", "6a00d4c66742bd50068c739edd67d99b346a51db797778140a568763ef49c2c5"),),
    ),
    "hays": PublicDataset(
        "NAME.EXT and NAME_mask.EXT or NAME_mask.jpg, in one folder",
        readers.read_hays,
        (51,),
        (0,),
        (("test_set.zip", "5b219cf3262844ec6b89af021b2d86a615a94a0f0245800bd1540254e1180d76"),),
    ),
    "casia1": PublicDataset(
        "Au/Au_*.jpg, Tp/{Sp,CM}/Sp_*.jpg or Sp/Sp_*.jpg, and 'CASIA 1.0 groundtruth'/{Sp,CM}/"
        "Sp_*_gt.png, in folders of any names",
        read_casia1,
        (921, 920),
        (800,),
        masks_from="github.com/namtpham/casia1groundtruth",
    ),
    "casia2": PublicDataset(
        "Au/Au_*, Tp/Tp_* and 'CASIA 2 Groundtruth'/Tp_*_gt.png, in folders of any names",
        read_casia2,
        (5123,),
        (7491, 7437),
        masks_from="github.com/namtpham/casia2groundtruth",
    ),
    "coverage": PublicDataset(
        "image/{N,Nt}.tif and mask/Nforged.tif", readers.read_coverage, (100,), (100,)
    ),
    "nist16": PublicDataset(
        "reference/{manipulation,splice,removal}/NC2016-*-ref.csv and the probes and masks that "
        "they name (0 = tampered)",
        readers.read_nist16,
        (564,),
    ),
    "imd2020": PublicDataset(
        "*/*_orig.*, and */NAME.* with */NAME_mask.png", readers.read_imd2020, (2010,), (414,)
    ),
    **{
        f"autosplice-{quality}": PublicDataset(
            f"Forged_JPEG{quality}/*.jpg, Mask/*_mask.png and Authentic/*.jpg",
            readers.read_autosplice(quality),
        )
        for quality in (100, 90, 75)
    },
    **{
        f"osn-{source.lower()}-{network.lower()}": PublicDataset(
            f"{source}_{network}/*.jpg (or Sp/*.jpg and CM/*.jpg), and {source}_GT/*_gt.png in "
            "that folder or beside it",
            readers.read_social_network(source, network),
        )
        for source in ("Columbia", "CASIA", "DSO", "NIST")
        for network in ("Facebook", "Whatsapp", "Weibo", "Wechat")
    },
    **{
        f"trace-{trace.replace('_', '-')}-{mask}": PublicDataset(
            f"*/{trace}_{mask}.png and */mask_{mask}.png", readers.read_trace(trace, mask)
        )
        for trace in (
            *("noise", "jpeg_quality", "jpeg_grid", "hybrid_select", "cfa_alg", "cfa_grid"),
        )
        for mask in ("exo", "endo")
    },
}
"""Readers by name."""

DATASET_NAMES = ("folder", *DATASETS)
