"""Trains the tokenizer of EXIF texts on the train split of a folder of records.

A sentencepiece unigram model (https://arxiv.org/abs/1808.06226). The same records give the same
bytes: one thread, no shuffling.
"""

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import sentencepiece
from tqdm import tqdm

from exif_jax.cli import command

with command.imports(__name__):
    from exif_jax.data.records import RecordReader, decode_record
    from exif_jax.data.tokenizer import PAD_ID, UNK_ID, Tokenizer
    from exif_jax.io.atomic import write_bytes
    from exif_jax.io.errors import ExifJaxError
    from exif_jax.io.files import is_url
    from exif_jax.reading.exif import to_text

PRINTABLE = "".join(map(chr, range(33, 127)))


class TrainingError(ExifJaxError):
    """The texts do not give a tokenizer; the message says why."""


def text_parts(name: str, value: str) -> list[str]:
    """Returns one tag as a text, and the parts that should become pieces.

    sentencepiece proposes as a piece only what it meets in several surroundings. "Flash: Fired"
    must occur before a comma and before an end, "Flash" and "Fired" also by themselves, or common
    words fall into letters: with these parts texts take 2.4 times fewer tokens.
    """
    tag = to_text({name: value})
    return [tag, f"{tag},", f"{name}:", value, *name.split(), *value.split()]


def collect_texts(reader: RecordReader) -> tuple[list[str], Counter[str]]:
    """Returns the parts of the tags of all photos, each once and sorted, and whole tags counted.

    No text of several tags is among them: pieces that span two tags would hold in one order only.
    """
    texts: set[str] = set()
    tags: Counter[str] = Counter()
    for numbers in tqdm(reader.photos(), unit="photo", desc="texts"):
        for name, value in decode_record(reader[numbers[0]]).exif.items():
            texts.update(text_parts(name, value))
            tags[to_text({name: value})] += 1
    return sorted(texts), tags


def common_tags(tags: Mapping[str, int], max_tags: int) -> list[str]:
    """Returns the tags that are worth a piece each: the most frequent that three photos share.

    Such a piece has one embedding that says all of "Make: Canon", so that a text encoder begins
    as a bag of tags and need not first learn to join names to values; texts take 36 tokens and
    not 139 (the median over 496 photos of 101 cameras).
    """
    frequent = sorted(((-n, tag) for tag, n in tags.items() if n >= 3))
    return sorted(tag for _, tag in frequent[:max_tags])


def train_tokenizer(texts: list[str], vocab_size: int, whole_tags: Iterable[str] = ()) -> bytes:
    """Trains a sentencepiece unigram model.

    Args:
      texts: Printable ASCII; equal texts in equal order give equal bytes.
      vocab_size: Most pieces; few texts give fewer.
      whole_tags: Tags that become one piece each wherever another tag follows.

    Returns:
      The serialised model, as `exif_jax.data.tokenizer.Tokenizer` takes it.

    Raises:
      TrainingError: If there is no text or sentencepiece gives up.
    """
    if not any(text.strip() for text in texts):
        raise TrainingError("there are no texts to train on")
    stream = io.BytesIO()
    # The comma ends the value: without it "ISO: 100" would be found in "ISO: 1000". sentencepiece
    # writes a space as U+2581 and puts one before the text.
    symbols = [f" {tag},".replace(" ", "\u2581") for tag in whole_tags]
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=stream,
            model_type="unigram",
            user_defined_symbols=symbols,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            # Canonical texts are printable ASCII already: identity keeps the model small.
            normalization_rule_name="identity",
            # So that no canonical text has an unknown piece, whatever the training texts lack.
            required_chars=PRINTABLE,
            character_coverage=1.0,
            split_digits=True,
            # Pieces may span words, so that "Exposure Time:" can be one.
            split_by_whitespace=False,
            split_by_unicode_script=False,
            max_sentencepiece_length=32,
            max_sentence_length=2**16,
            num_threads=1,
            shuffle_input_sentence=False,
            pad_id=PAD_ID,
            unk_id=UNK_ID,
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise TrainingError(f"sentencepiece: {error}") from error
    return stream.getvalue()


_EXAMPLES = f"""\
examples:
  python -m data_prep.train_tokenizer --records records
  python -m data_prep.train_tokenizer --records records --vocab-size 4096 --output big.model

exit codes: 0 the tokenizer is written, 1 no readable records or no texts, 2 wrong usage
{command.QUIET}
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = command.parser(
        "data_prep.train_tokenizer",
        "Trains the tokenizer of EXIF texts on the train split of a records folder.",
        _EXAMPLES,
    )
    parser.add_argument("--records", required=True, help="folder or URL of data_prep.photos")
    parser.add_argument("--output", type=Path, help="default: RECORDS/tokenizer.model")
    parser.add_argument("--vocab-size", type=int, default=2048, help="most pieces (default 2048)")
    args = parser.parse_args(argv)
    if is_url(args.records) and not args.output:
        parser.error("--records at a URL needs --output FILE; then copy the file to the records")
    if args.vocab_size < 128:
        parser.error("--vocab-size must be at least 128: 94 characters need a piece each")
    output = args.output or Path(args.records, "tokenizer.model")
    try:
        texts, tags = collect_texts(RecordReader(args.records, "train"))
        whole_tags = common_tags(tags, args.vocab_size // 2)
        model = train_tokenizer(texts, args.vocab_size, whole_tags)
        write_bytes(output, model)
    except ExifJaxError as error:
        return command.fail(error)
    except OSError as error:
        return command.fail(f"{output}: {error.strerror}; give an --output that can be written to")
    print(f"{output}: {Tokenizer(model).vocab_size} pieces, {len(model)} bytes")
    return 0


if __name__ == "__main__":
    command.run(main, results_are_printed=False)
