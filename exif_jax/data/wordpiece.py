"""BERT's tokenizer, for checkpoints that were trained with it: the text encoder of the paper.

Devlin et al., "BERT", 2019, in its uncased form, by Hugging Face's `tokenizers`, which is imported
when the first text is encoded: a converted model locates splices without it.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np

from exif_jax.data.tokenizer import TokenizerError

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_MAX_WORD_CHARS = 100  # a longer word is unknown, as in BERT


class WordPiece:
    """Splits texts into the pieces of a `vocab.txt`.

    Attributes:
        kind: the name of this class of tokenizers in release files.
        model_bytes: the vocabulary, one piece on each line; b"" where a checkpoint came without
            one, and then no text can be encoded.
        vocab_size: number of pieces.
    """

    kind: ClassVar[str] = "wordpiece"

    def __init__(self, model_bytes: bytes):
        """Loads a vocabulary.

        Raises:
            TokenizerError: it is not UTF-8 text, or lacks one of the special pieces.
        """
        self.model_bytes = bytes(model_bytes)
        try:
            lines = self.model_bytes.decode("utf-8").split("\n")
        except UnicodeDecodeError as e:
            raise TokenizerError(f"the vocabulary is not UTF-8 text ({e})") from e
        if lines[-1] == "":
            lines.pop()
        self._ids = {line.rstrip("\r"): i for i, line in enumerate(lines)}
        self.vocab_size = len(lines)
        missing = [piece for piece in _SPECIAL if piece not in self._ids]
        if self.vocab_size and missing:
            raise TokenizerError(f"the vocabulary lacks {', '.join(missing)}")

    def encode(self, texts: list[str], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the texts as rows of ids between [CLS] and [SEP], cut or padded to one length.

        Args:
            texts: B texts.
            length: ids L of a row, at least 2; longer texts lose their end and keep [SEP].

        Returns:
            tokens: int32 [B, L], [PAD] after [SEP].
            mask: bool [B, L], True up to [SEP].

        Raises:
            TokenizerError: the model was converted without a vocabulary, or the package
                `tokenizers` is not installed.
            ValueError: the length is below 2.
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
            # No special tokens: a text that says "[SEP]" must not end itself.
            ids = self._bert.encode(text, add_special_tokens=False).ids[: length - 2]
            counts[row] = len(ids) + 2
            tokens[row, : counts[row]] = [start, *ids, end]
        return tokens, np.arange(length) < counts[:, None]

    @functools.cached_property
    def _bert(self) -> Any:
        """The tokenizer of the library, of type `tokenizers.Tokenizer`."""
        try:
            import tokenizers  # type: ignore[reportMissingImports]
        except ModuleNotFoundError as e:
            raise TokenizerError(
                "the texts of this model need the package tokenizers: pip install 'exif-jax[paper]'"
            ) from e
        model = tokenizers.models.WordPiece(
            self._ids, unk_token="[UNK]", max_input_chars_per_word=_MAX_WORD_CHARS
        )
        bert = tokenizers.Tokenizer(model)
        bert.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
        bert.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        return bert

    def __reduce__(self):
        # The vocabulary is all that there is to it, and loads anywhere.
        return WordPiece, (self.model_bytes,)
