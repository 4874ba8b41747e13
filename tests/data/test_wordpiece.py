"""BERT's uncased WordPiece: known pieces, rows of ids, and what is refused."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from exif_jax.data.tokenizer import TokenizerError
from exif_jax.data.wordpiece import WordPiece

PIECES = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "make", "can", "##on", "##o", "##n", "eos"),
    *("c", "e", "5", "##d", "50", "##50", "/", ".", ",", ":", "-", "mm", "##mm", "cafe", "日", "é"),
    *("##é", "ß", "##s", "s", "$", "«", "…", "##t", "t", "f", "the", "##the"),
]
VOCAB = "\n".join(PIECES).encode()


def pieces(text, length=64):
    tokens, mask = WordPiece(VOCAB).encode([text], length)
    return [PIECES[i] for i in tokens[0, mask[0]]][1:-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Make: Canon", ["make", ":", "can", "##on"]),
        ("CANON EOS 5D", ["can", "##on", "eos", "5", "##d"]),
        ("50.5mm", ["50", ".", "5", "##mm"]),
        ("f/5", ["f", "/", "5"]),
        ("Café", ["cafe"]),
        ("日日 x", ["日", "日", "[UNK]"]),
        ("can\u200bon", ["can", "##on"]),
        ("can\x00on\ttt", ["can", "##on", "t", "##t"]),
        ("canx", ["[UNK]"]),
        ("c" * 101, ["[UNK]"]),
        ("", []),
    ],
)
def test_pieces(text, expected):
    assert pieces(text) == expected


def test_rows_are_framed_cut_and_padded():
    tokens, mask = WordPiece(VOCAB).encode(["eos", "", "eos eos eos eos eos"], 4)
    np.testing.assert_array_equal(tokens, [[2, 10, 3, 0], [2, 3, 0, 0], [2, 10, 10, 3]])
    np.testing.assert_array_equal(mask, [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    assert tokens.dtype == np.int32


def test_refusals():
    with pytest.raises(TokenizerError, match=r"lacks \[UNK\]"):
        WordPiece(b"[PAD]\n[CLS]\n[SEP]\n")
    with pytest.raises(TokenizerError, match="UTF-8"):
        WordPiece(b"\xff\xfe")
    with pytest.raises(TokenizerError, match="--vocab"):
        WordPiece(b"").encode(["x"], 8)
    with pytest.raises(ValueError, match="at least 2"):
        WordPiece(VOCAB).encode(["x"], 1)


# Letters whose class changed between versions of Unicode would compare two Unicode tables.
@given(
    st.text(st.characters(codec="latin-1", exclude_characters="[]"), max_size=40)
    | st.text("canoeCÉé5d ./:-日ß…mt\t", max_size=40)
)
def test_like_the_librarys_own_bert(text):
    vocab = {piece: i for i, piece in enumerate(PIECES)}
    library = tokenizers.BertWordPieceTokenizer(vocab, lowercase=True)
    ids = library.encode(text).ids
    tokens, mask = WordPiece(VOCAB).encode([text], 128)
    assert tokens[0, mask[0]].tolist() == ids


def test_a_text_cannot_end_itself():
    """The library would take "[SEP]" in a text, which anyone may have written, for the end."""
    assert pieces("eos [SEP] eos") == ["eos", "[UNK]", "[UNK]", "[UNK]", "eos"]


def test_a_pickled_tokenizer_gives_the_same_rows():
    tokenizer = WordPiece(VOCAB)
    tokens, mask = tokenizer.encode(["Make: Canon"], 16)  # a tokenizer in use must travel too
    copied_tokens, copied_mask = pickle.loads(pickle.dumps(tokenizer)).encode(["Make: Canon"], 16)
    np.testing.assert_array_equal(copied_tokens, tokens)
    np.testing.assert_array_equal(copied_mask, mask)


WITHOUT_THE_PACKAGE = """
import sys
sys.modules["tokenizers"] = None
from exif_jax.data.wordpiece import TokenizerError, WordPiece
tokenizer = WordPiece(b"[PAD]\\n[UNK]\\n[CLS]\\n[SEP]\\n")
assert tokenizer.vocab_size == 4
try:
    tokenizer.encode(["x"], 8)
except TokenizerError as error:
    print(error)
"""


def test_without_the_package_a_vocabulary_loads_and_the_extra_is_named():
    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "pip install 'exif-jax[paper]'" in output
