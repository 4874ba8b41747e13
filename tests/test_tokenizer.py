import io
import pickle

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.train_tokenizer import (
    TrainingError,
    collect_texts,
    common_tags,
    main,
    text_parts,
    train_tokenizer,
)
from exif_jax.exif import to_text
from exif_jax.records import (
    Record,
    RecordReader,
    encode_image,
    encode_record,
    shard_name,
    write_shard,
)
from exif_jax.tokenizer import PAD_ID, UNK_ID, Tokenizer, TokenizerError


def camera_tags() -> list[dict[str, str]]:
    return [
        {"Make": make, "Model": f"{make} {n}", "Focal Length": f"{n}.0 mm", "Flash": "Fired"}
        for make in ("Canopus", "Nadir")
        for n in range(10, 60)
    ]


def camera_texts() -> list[str]:
    return sorted(
        {part for tags in camera_tags() for tag in tags.items() for part in text_parts(*tag)}
    )


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_tokenizer(camera_texts(), 256))


def test_training_twice_gives_the_same_bytes(tokenizer):
    assert train_tokenizer(camera_texts(), 256) == tokenizer.model_bytes
    assert train_tokenizer(camera_texts()[:20], 256) != tokenizer.model_bytes


def test_common_tags_become_pieces_and_digits_stay_single(tokenizer):
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


def test_any_order_of_tags_takes_the_same_pieces(tokenizer):
    tags = camera_tags()[0]
    forward, backward = to_text(tags), to_text(dict(reversed(tags.items())))
    tokens, _ = tokenizer.encode([forward, backward], 64)
    assert sorted(tokens[0]) == sorted(tokens[1])


@pytest.mark.parametrize("texts", [["a"], ["Make: X, Model: Y"], ["Make: X", "Make: X", ""]])
def test_few_texts_are_enough(texts):
    tokenizer = Tokenizer(train_tokenizer(texts, 2048))
    tokens, mask = tokenizer.encode(texts, 64)
    assert mask[0].any() and not (tokens == UNK_ID).any()


@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_no_text_is_a_clear_error(texts):
    with pytest.raises(TrainingError, match="no texts"):
        train_tokenizer(texts, 2048)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(words=st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)))
def test_every_printable_text_comes_back_from_its_tokens(tokenizer, words):
    text = " ".join(words)
    tokens, mask = tokenizer.encode([text], 4096)
    assert not (tokens == UNK_ID).any()
    pieces = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model_bytes)
    assert pieces.decode(tokens[mask].tolist()) == text


def test_rows_are_padded_and_cut_on_the_right(tokenizer):
    short, long = "Make: Canopus", ", ".join(camera_texts())
    tokens, mask = tokenizer.encode([short, long, ""], 16)
    assert tokens.dtype == np.int32 and tokens.shape == (3, 16)
    assert mask.dtype == np.bool_ and mask.shape == (3, 16)
    count = int(mask[0].sum())
    assert 0 < count < 16 and mask[0, :count].all()
    assert (tokens[~mask] == PAD_ID).all() and (tokens[mask] != PAD_ID).all()
    assert mask[1].all() and not mask[2].any()
    whole, _ = tokenizer.encode([long], 4096)
    np.testing.assert_array_equal(tokens[1], whole[0, :16])
    assert tokens.max() < tokenizer.vocab_size
    assert [part.shape for part in tokenizer.encode([], 16)] == [(0, 16), (0, 16)]
    with pytest.raises(ValueError, match="length"):
        tokenizer.encode([short], 0)


def test_text_cannot_forge_the_padding(tokenizer):
    tokens, mask = tokenizer.encode(["<pad> <unk> \u2581"], 32)
    assert (tokens[mask] != PAD_ID).all()


def test_a_tokenizer_travels_as_bytes_file_and_pickle(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tokenizer.model_bytes)
    expected = tokenizer.encode(camera_texts(), 40)
    for copy in (
        Tokenizer(tokenizer.model_bytes),
        Tokenizer.from_file(path),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert copy.vocab_size == tokenizer.vocab_size
        for ours, theirs in zip(copy.encode(camera_texts(), 40), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def foreign_model() -> bytes:
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some text of another project"]),
        model_writer=stream,
        vocab_size=64,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return stream.getvalue()


@pytest.mark.parametrize("content", [b"", b"\x00", b"pickle?", bytes(range(256)) * 8])
def test_bytes_that_are_no_tokenizer_are_refused(content, tmp_path):
    path = tmp_path / "hostile.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=r"hostile\.model.*train_tokenizer"):
        Tokenizer.from_file(path)


def test_another_projects_tokenizer_is_refused():
    with pytest.raises(TokenizerError, match="pad and unknown"):
        Tokenizer(foreign_model())


def test_damaged_tokenizers_never_raise_anything_else(tokenizer):
    for cut in range(0, len(tokenizer.model_bytes), 97):
        try:
            Tokenizer(tokenizer.model_bytes[:cut]).encode(["Make: Canopus"], 8)
        except TokenizerError as error:
            assert str(error)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=r"none\.model: No such file"):
        Tokenizer.from_file(tmp_path / "none.model")


# --- command ----------------------------------------------------------------------------------


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
