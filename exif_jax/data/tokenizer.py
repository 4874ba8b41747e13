"""EXIF text -> token ids, on the host with NumPy. The pieces are a sentencepiece unigram model.

Kudo and Richardson, 2018, https://arxiv.org/abs/1808.06226. The model is trained by
`python -m data_prep.train_tokenizer` and travels inside release files as plain bytes.
"""

from __future__ import annotations

import os
from typing import ClassVar

import numpy as np
import sentencepiece

from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import read_file

PAD_ID = 0
UNK_ID = 1


class TokenizerError(ExifJaxError):
    """The bytes or the file are not a tokenizer of this project, or it cannot be used."""


class Tokenizer:
    """Splits texts into the pieces of a sentencepiece model.

    Attributes:
        kind: the name of this class of tokenizers in release files.
        model_bytes: the serialised model, as saved in `tokenizer.model` and in release files.
        vocab_size: number of ids, `PAD_ID` and `UNK_ID` included.
    """

    kind: ClassVar[str] = "sentencepiece"

    def __init__(self, model_bytes: bytes):
        """Loads a serialised sentencepiece model.

        Raises:
            TokenizerError: the bytes are not a sentencepiece model with pad = 0 and unknown = 1.
        """
        self.model_bytes = bytes(model_bytes)
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            # Empty input is refused here because sentencepiece would take it for a valid model.
            if not model_bytes or not self._processor.LoadFromSerializedProto(self.model_bytes):
                raise ValueError("no sentencepiece model")
            ids = (self._processor.pad_id(), self._processor.unk_id())
        except (RuntimeError, ValueError, OSError) as error:
            raise TokenizerError(
                f"the tokenizer does not load ({error}); train one with data_prep.train_tokenizer"
            ) from error
        if ids != (PAD_ID, UNK_ID):
            raise TokenizerError(
                f"the tokenizer has pad and unknown ids {ids} instead of {(PAD_ID, UNK_ID)}; "
                "train one with data_prep.train_tokenizer"
            )
        self.vocab_size = int(self._processor.get_piece_size())

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> Tokenizer:
        """Reads a `tokenizer.model` file.

        Raises:
            TokenizerError: it cannot be read or is not a tokenizer; the message names the file.
        """
        try:
            return cls(read_file(path))
        except OSError as error:
            raise TokenizerError(f"{os.fspath(path)}: {error.strerror}") from error
        except TokenizerError as error:
            raise TokenizerError(f"{os.fspath(path)}: {error}") from error

    def encode(self, texts: list[str], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the texts as rows of token ids, cut or padded on the right to one length.

        Args:
            texts: B texts, as `exif_jax.reading.exif.to_text` writes them.
            length: tokens L of a row, at least 1; longer texts lose their end.

        Returns:
            tokens: int32 [B, L] in [0, vocab_size), `PAD_ID` after the text's end.
            mask: bool [B, L], True at the text's tokens; the row of an empty text is all False.

        Raises:
            ValueError: the length is below 1.
        """
        if length < 1:
            raise ValueError(f"length must be at least 1, not {length}")
        tokens = np.full((len(texts), length), PAD_ID, np.int32)
        counts = np.zeros(len(texts), np.int64)
        for row, ids in enumerate(self._processor.encode(list(texts), out_type=int)):
            counts[row] = min(len(ids), length)
            tokens[row, : counts[row]] = ids[:length]
        return tokens, np.arange(length) < counts[:, None]

    def __reduce__(self):
        # The wrapped C++ object does not travel between processes; its bytes do.
        return Tokenizer, (self.model_bytes,)
