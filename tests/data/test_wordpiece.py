"""BERT's uncased WordPiece, against the `tokenizers` library where it is installed."""

import numpy as np
import pytest
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
    st.text(st.characters(codec="latin-1"), max_size=40)
    | st.text("canoeCÉé5d ./:-日ß…mt\t", max_size=40)
)
def test_like_the_library(text):
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {piece: i for i, piece in enumerate(PIECES)}
    library = tokenizers.BertWordPieceTokenizer(vocab, lowercase=True)
    ids = library.encode(text).ids
    tokens, mask = WordPiece(VOCAB).encode([text], 128)
    assert tokens[0, mask[0]].tolist() == ids
