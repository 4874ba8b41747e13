"""The tokenizer: texts to tokens and back, bad files named."""

import io
import pickle

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.train_tokenizer import text_parts, train_tokenizer
from exif_jax.data.tokenizer import PAD_ID, UNK_ID, Tokenizer, TokenizerError
from exif_jax.reading.exif import to_text


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


def test_any_order_of_tags_takes_the_same_pieces(tokenizer):
    tags = camera_tags()[0]
    forward, backward = to_text(tags), to_text(dict(reversed(tags.items())))
    tokens, _ = tokenizer.encode([forward, backward], 64)
    assert sorted(tokens[0]) == sorted(tokens[1])


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
