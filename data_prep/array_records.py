"""TFRecord shards -> ArrayRecord, which Grain and tensorflow-datasets read at random.

`python -m data_prep.array_records --records RECORDS --output DIR`. exif-jax itself does not need
it: its own index gives random access to TFRecords. The payloads are the same bytes.
https://github.com/google/array_record
"""

import os
from pathlib import Path

from exif_jax.cli import command

with command.imports(__name__, "array_record,data"):
    from array_record.python.array_record_module import ArrayRecordWriter
    from tqdm import tqdm

    from data_prep.records.tfds_files import write_tfds_files
    from exif_jax.data.records import SPLITS, RecordError, RecordReader, read_index
    from exif_jax.io.atomic import write_bytes
    from exif_jax.io.files import read_file
    from exif_jax.io.tfrecord import read_payload


def convert(records: str, output: str) -> dict[str, list[int]]:
    """Writes an ArrayRecord shard for each TFRecord shard, and what tensorflow-datasets reads.

    Args:
      records: A folder of records.
      output: Another folder, local; made if missing.

    Returns:
      Split -> records of each shard.

    Raises:
      RecordError: If a shard is missing or damaged.
      OSError: If a shard cannot be written.
    """
    os.makedirs(output, exist_ok=True)
    lengths: dict[str, list[int]] = {}
    num_bytes: dict[str, int] = {}
    for split in SPLITS:
        lengths[split], num_bytes[split] = [], 0
        try:
            paths = RecordReader(records, split).paths
        except RecordError:
            if split == "train":
                raise
            continue  # of one camera there is no validation split
        for path in tqdm(paths, unit="shard", desc=split):
            spans = read_index(path)[:, :2].tolist()
            name = f"{Path(path).stem}.array_record"
            _write_shard(Path(output) / name, path, spans)
            lengths[split].append(len(spans))
            num_bytes[split] += sum(length for _, length in spans)
    for name in ("tag_counts.json", "tokenizer.model", "statistics.json", "statistics.html"):
        if os.path.exists(os.path.join(records, name)):
            write_bytes(Path(output, name), read_file(os.path.join(records, name)))
    write_tfds_files(output, lengths, num_bytes, "array_record")
    return lengths


def _write_shard(target: Path, path: str, spans: list[list[int]]) -> None:
    aside = target.with_name(f".{target.name}.tmp")
    # One record a group: whoever reads at random decodes no neighbours.
    writer = ArrayRecordWriter(str(aside), "group_size:1")
    try:
        for offset, length in spans:
            writer.write(read_payload(path, offset, length))
        writer.close()
        os.replace(aside, target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = command.parser(
        "data_prep.array_records",
        "Copies a folder of records into ArrayRecord shards (for Grain and tfds).",
        "exit codes: 0 done, 1 the records or the output cannot be used, 2 wrong usage. "
        + command.QUIET,
    )
    parser.add_argument("--records", required=True, help="folder of data_prep.photos")
    parser.add_argument("--output", required=True, help="another folder; made if missing")
    args = parser.parse_args(argv)
    if os.path.abspath(args.records) == os.path.abspath(args.output):
        parser.error("--output must be another folder than --records")
    try:
        lengths = convert(args.records, args.output)
    except (RecordError, OSError, RuntimeError) as error:
        return command.fail(error)
    print(f"{sum(map(sum, lengths.values())):,} records in {args.output}")
    return 0


if __name__ == "__main__":
    command.run(main, results_are_printed=False)
