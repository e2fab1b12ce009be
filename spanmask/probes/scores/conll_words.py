"""The words and sentences of CoNLL-2012 columns, which scorers have no use for and models read."""

from __future__ import annotations

from collections.abc import Sequence

from spanmask.errors import CorpusError

#: Of which column a word is, by how many there are: OntoGUM's number, word, mentions, and words with their mentions alone.
_PLACES = {2: 0, 3: 1}
#: Document, part, number of the token, word, whatever follows, mentions: OntoNotes, LitBank, and what `write_conll` writes.
_LEAST, _PLACE = 5, 3


class Sentences:
    """Collects the words of a document line by line, if they are wanted; a blank line ends a sentence."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._whole: list[tuple[str, ...]] = []
        self._words: list[str] = []

    def add(self, line: bytes, path: str, number: int) -> None:
        """Add the word of a token's line.

        Raises
        ------
        CorpusError
            Its columns do not tell which one is the word, or it is no UTF-8.
        """
        if not self._wanted:
            return
        columns = line.rstrip(b"\r").split(b"\t") if b"\t" in line else line.split()
        count = len(columns)
        place = _PLACE if count >= _LEAST else _PLACES.get(count)
        if place is None:
            raise CorpusError(
                f"found {count} columns, expected 2 (word, mentions), 3 (number, word, mentions), or 5 or more (document, part, number, "
                "word, …, mentions)",
                path=path,
                line=number,
            )
        try:
            self._words.append(columns[place].decode().strip())
        except UnicodeDecodeError:
            raise CorpusError("the word is not UTF-8; save the file as that", path=path, line=number) from None

    def end(self) -> None:
        """End the sentence, if it has a word."""
        if self._words:
            self._whole.append(tuple(self._words))
            self._words = []

    def all(self) -> Sequence[Sequence[str]]:
        """Return the words of each sentence, the one under way with them."""
        self.end()
        return tuple(self._whole)
