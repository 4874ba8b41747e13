"""BERT's tokenizer, for checkpoints that were trained with it: the text encoder of the paper.

Devlin et al., "BERT", 2019, in its uncased form: lower case without accents, words and punctuation
apart, then the longest pieces of the vocabulary from the left (Wu et al. 2016).
"""

from __future__ import annotations

import unicodedata
from typing import ClassVar

import numpy as np

from exif_jax.data.tokenizer import TokenizerError

_MAX_WORD = 100  # characters; a longer word is unknown
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_CJK = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """Splits texts into pieces of a `vocab.txt`.

    Attributes:
        model_bytes: the vocabulary, a piece a line; b"" where a checkpoint came without one, and
            then no text can be encoded.
        vocab_size: number of pieces.
    """

    kind: ClassVar[str] = "wordpiece"

    def __init__(self, model_bytes: bytes):
        """Loads a vocabulary.

        Raises:
            TokenizerError: it is no UTF-8 text, or lacks one of the special pieces.
        """
        self.model_bytes = bytes(model_bytes)
        try:
            lines = self.model_bytes.decode("utf-8").split("\n")
        except UnicodeDecodeError as e:
            raise TokenizerError(f"the vocabulary is no UTF-8 text ({e})") from e
        if lines[-1] == "":
            lines.pop()
        self._ids = {line.rstrip("\r"): i for i, line in enumerate(lines)}
        self.vocab_size = len(lines)
        missing = [piece for piece in _SPECIAL if piece not in self._ids]
        if self.vocab_size and missing:
            raise TokenizerError(f"the vocabulary lacks {', '.join(missing)}")

    def encode(self, texts: list[str], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the texts as rows of ids between [CLS] and [SEP], as `Tokenizer.encode` does.

        Args:
            texts: B texts.
            length: ids a row, L >= 2; longer texts lose their end, [SEP] stays.

        Returns:
            tokens: int32 [B, L], [PAD] after the text's end; mask: bool [B, L], True where an id
            is.

        Raises:
            TokenizerError: the model was converted without a vocabulary.
        """
        if not self.vocab_size:
            raise TokenizerError(
                "this model was converted without its vocabulary and reads no text; convert it "
                "again with --vocab vocab.txt"
            )
        if length < 2:
            raise ValueError(f"length must be at least 2, not {length}")
        pad, _, start, end = (self._ids[piece] for piece in _SPECIAL)
        tokens = np.full((len(texts), length), pad, np.int32)
        counts = np.zeros(len(texts), np.int64)
        for row, text in enumerate(texts):
            pieces = [i for word in _words(text) for i in self._pieces(word)][: length - 2]
            counts[row] = len(pieces) + 2
            tokens[row, : counts[row]] = [start, *pieces, end]
        return tokens, np.arange(length) < counts[:, None]

    def _pieces(self, word: str) -> list[int]:
        unknown = [self._ids["[UNK]"]]
        if len(word) > _MAX_WORD:
            return unknown
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((e for e in ends if prefix + word[start:e] in self._ids), None)
            if end is None:
                return unknown
            found.append(self._ids[prefix + word[start:end]])
            start = end
        return found


def _words(text: str) -> list[str]:
    """Lower-case words without accents; every punctuation mark and CJK character is a word."""
    text = "".join(c for c in text if c in "\t\n\r" or not unicodedata.category(c).startswith("C"))
    text = unicodedata.normalize("NFD", text.replace("\ufffd", "").lower())
    text = "".join(c for c in text if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if _stands_alone(c) else c for c in text).split()


def _stands_alone(c: str) -> bool:
    code = ord(c)
    symbol = code < 128 and c.isprintable() and not c.isalnum() and c != " "
    cjk = any(first <= code <= last for first, last in _CJK)
    return symbol or cjk or unicodedata.category(c).startswith("P")
