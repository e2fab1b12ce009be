"""Read files that are one array of JSON: an `InputFile` flows in, its elements flow out, as JSON lines.

Elements are named by their numbers, from 0. Behind one that is not JSON nothing can be found, so there the file ends in an error.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator

from spanmask.corpus.compressed import ByteStream
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.streams import open_stream
from spanmask.errors import CorpusError

_WHITE = re.compile(r"[ \t\r\n]*")
#: Numbers are looked over, not computed.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
_PIECE_BYTES = 1 << 20
#: A fault so near the end of what was read may be its end.
_NEAR = 16


def elements(file: InputFile, limit: int) -> Iterator[bytes]:
    """Yield the elements of an array as lines, without their newlines.

    Raises
    ------
    CorpusError
        What was read so far is no array of JSON, or an element has more bytes than twice a limit.
    """
    with open_stream(file) as stream:
        text, number = _Text(file, stream), 0
        mark = text.mark("[")
        if mark == "" and text.is_over:
            return
        if mark != "[":
            raise text.fault("no array of JSON: it begins otherwise than with [", 0)
        while text.mark("]") != "]":
            yield text.element(number, limit)
            number += 1
            if text.mark(",") != "," and text.following != "]":
                raise text.fault("neither , nor ] behind it", number - 1)
        if text.following:
            raise text.fault("more follows behind the array", number)


class _Text:
    """What was read of a file, and how far it is used."""

    def __init__(self, file: InputFile, stream: ByteStream) -> None:
        self._file, self._stream = file, stream
        # What is not UTF-8 stays what it is, and its element is told as that.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._at = "", 0
        self.is_over = False
        while not self._text and not self.is_over:
            self._read()
        self._text = self._text.removeprefix("\ufeff")

    def _read(self) -> None:
        """Read about as much again as is held, so that long elements are looked over a few times only."""
        data = self._stream.read(max(_PIECE_BYTES, len(self._text) - self._at))
        self.is_over = not data
        self._text = self._text[self._at :] + self._decoder.decode(data, self.is_over)
        self._at = 0

    @property
    def following(self) -> str:
        """The next character that is not white, or the empty text at the end."""
        while True:
            found = _WHITE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or self.is_over:
                return self._text[self._at : self._at + 1]
            self._read()

    def mark(self, wanted: str) -> str:
        """Return the next character that is not white, gone past where it is the one wanted."""
        found = self.following
        self._at += found == wanted
        return found

    def element(self, number: int, limit: int) -> bytes:
        """Return the next element, gone past."""
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _NEAR
                if self.is_over or not is_cut:
                    raise self.fault(error.msg, number) from None
            except RecursionError as error:
                raise self.fault(str(error), number) from None
            else:
                # A number that ends where what was read ends may go on.
                if end < len(self._text) or self.is_over:
                    break
            if len(self._text) - self._at > 2 * limit:
                raise self.fault(
                    f"it has more than {limit:,} bytes; raise --max-document-bytes where that is right", number
                )
            self._read()
        element, self._at = self._text[self._at : end], end
        return element.replace("\n", " ").encode("utf-8", "surrogateescape")

    def fault(self, what: str, number: int) -> CorpusError:
        return CorpusError(
            f"{what}; expected an array of objects, and behind this nothing can be read: correct the file, or make JSON lines of it",
            path=self._file.path,
            row=number,
        )
