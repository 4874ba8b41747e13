"""Training the tokenizer: equal records, equal bytes; what becomes a piece; the command."""

import numpy as np
import pytest
import sentencepiece
from test_tokenizer import camera_texts, tokenizer  # noqa: F401

from data_prep.train_tokenizer import (
    TrainingError,
    collect_texts,
    common_tags,
    main,
    train_tokenizer,
)
from exif_jax.data.records import (
    Record,
    RecordReader,
    encode_image,
    encode_record,
    shard_name,
    write_shard,
)
from exif_jax.data.tokenizer import UNK_ID, Tokenizer
from exif_jax.reading.exif import to_text


def test_training_twice_gives_the_same_bytes(tokenizer):  # noqa: F811
    assert train_tokenizer(camera_texts(), 256) == tokenizer.model_bytes
    assert train_tokenizer(camera_texts()[:20], 256) != tokenizer.model_bytes


def test_common_tags_become_pieces_and_digits_stay_single(tokenizer):  # noqa: F811
    pieces = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model_bytes)
    text = to_text({"Flash": "Fired", "Focal Length": "123.4 mm", "Make": "Nadir"})
    split = pieces.encode(text, out_type=str)
    assert split[:3] == ["▁Flash:▁Fired", ",", "▁Focal▁Length:"]
    assert [piece for piece in split if any(map(str.isdigit, piece))] == ["1", "2", "3", "4"]
    assert len(split) <= 14


def test_frequent_tags_become_whole_pieces():
    tags = {"ISO: 100": 5, "ISO: 1000": 4, "Make: A (B), C": 3, "Rare: 1": 2, "Flash: Fired": 9}
    assert common_tags(tags, 10) == ["Flash: Fired", "ISO: 100", "ISO: 1000", "Make: A (B), C"]
    assert common_tags(tags, 2) == ["Flash: Fired", "ISO: 100"]
    model = train_tokenizer(camera_texts(), 256, common_tags(tags, 10))
    assert train_tokenizer(camera_texts(), 256, common_tags(tags, 10)) == model
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    text = "ISO: 1000, Make: A (B), C, ISO: 100, Flash: Fired"
    assert pieces.encode(text, out_type=str)[:3] == [
        "▁ISO:▁1000,",
        "▁Make:▁A▁(B),▁C,",
        "▁ISO:▁100,",
    ]
    assert pieces.decode(pieces.encode(text)) == text


@pytest.mark.parametrize("texts", [["a"], ["Make: X, Model: Y"], ["Make: X", "Make: X", ""]])
def test_few_texts_are_enough(texts):
    tokens, mask = Tokenizer(train_tokenizer(texts, 2048)).encode(texts, 64)
    assert mask[0].any() and not (tokens == UNK_ID).any()


@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_no_text_is_a_clear_error(texts):
    with pytest.raises(TrainingError, match="no texts"):
        train_tokenizer(texts, 2048)


@pytest.fixture
def records(tmp_path):
    """Two train photos, one of them with two regions, and a validation photo."""
    image = encode_image(np.zeros((8, 8, 3), np.uint8))

    def serialized(photo: int, model: str) -> bytes:
        exif = {"Make": "Canopus", "Model": model}
        return encode_record(Record(image, exif, f"{photo:x}" * 64, (0, 0, 8, 8), "p.jpg"))

    write_shard(
        tmp_path / shard_name("train", 0, 1),
        [serialized(1, "One"), serialized(2, "Two"), serialized(1, "One")],
    )
    write_shard(tmp_path / shard_name("validation", 0, 1), [serialized(3, "Secret")])
    return tmp_path


def test_only_train_photos_are_read_and_each_text_once(records):
    parts = (
        "Make: Canopus|Make: Canopus,|Make:|Make|Canopus|Model:|Model|"
        "Model: One|Model: One,|One|Model: Two|Model: Two,|Two"
    )
    texts, tags = collect_texts(RecordReader(records, "train"))
    assert texts == sorted(parts.split("|"))
    assert tags == {"Make: Canopus": 2, "Model: One": 1, "Model: Two": 1}


def test_command_writes_the_same_file_twice(records, capsys):
    assert main(["--records", str(records)]) == 0
    first = (records / "tokenizer.model").read_bytes()
    assert main(["--records", str(records), "--output", str(records / "b.model")]) == 0
    assert (records / "b.model").read_bytes() == first
    assert f"{Tokenizer(first).vocab_size} pieces" in capsys.readouterr().out


def test_command_errors_are_one_line(records, tmp_path, capsys):
    assert main(["--records", str(tmp_path / "none")]) == 1
    assert main(["--records", str(records), "--output", str(tmp_path / "no/where")]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "none" in errors[0] and "no/where" in errors[1]
    with pytest.raises(SystemExit) as stop:
        main(["--records", str(records), "--vocab-size", "3"])
    assert stop.value.code == 2
