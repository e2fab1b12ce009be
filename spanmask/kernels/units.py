"""Text around white space, for tokenizers that see it: units to look up, documents and tokens without the white space around them."""

from __future__ import annotations

from spanmask.kernels._jit import Bytes, Flags, Ints, inlined, kernel
from spanmask.kernels.text import white_width, white_width_before


@inlined
def _is_mark(byte: int) -> bool:
    return 0x21 <= byte <= 0x2F or 0x3A <= byte <= 0x40 or 0x5B <= byte <= 0x60 or 0x7B <= byte <= 0x7E


@inlined
def _is_letter_or_digit(byte: int) -> bool:
    return 0x30 <= byte <= 0x39 or 0x41 <= byte <= 0x5A or 0x61 <= byte <= 0x7A


@kernel
def cut_units(text: Bytes, offsets: Ints, at_marks: bool, starts: Ints) -> int:
    """Cut documents before each space that follows a character other than white space.

    Parameters
    ----------
    text
        (C,) valid UTF-8.
    offsets
        (D + 1,) where documents start.
    at_marks
        Whether to cut before each ASCII punctuation mark that follows an ASCII letter or digit, too.
    starts
        Output, (as many as there are,): where units start, ascending; a unit goes to the next one's start, the last to the end.
        Where it is empty, units are only counted.

    Returns
    -------
    int
        Units found.
    """
    count = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        for at in range(start, end):
            byte = text[at]
            # Only before a space that follows text: a unit then begins with all the white space before its word, as these tokenizers take
            # it, and units joined again give the text.
            if (
                at == start
                or (byte == 0x20 and white_width_before(text[start:end], at - start) == 0)
                or (at_marks and _is_mark(byte) and _is_letter_or_digit(text[at - 1]))
            ):
                if len(starts) > 0:
                    starts[count] = at
                count += 1
    return count


@inlined
def _end_without_white(text: Bytes, start: int, end: int) -> int:
    while end > start:
        width = white_width_before(text[start:end], end - start)
        if width == 0:
            break
        end -= width
    return end


@kernel
def trim_documents(text: Bytes, offsets: Ints, ends: Ints) -> None:
    """Find where documents end without the white space behind them. ends: output, (D,); an all-white document ends where it starts."""
    for document in range(len(offsets) - 1):
        ends[document] = _end_without_white(text, offsets[document], offsets[document + 1])


@kernel
def trim_tokens(text: Bytes, spots: Ints, white: Flags) -> None:
    """Take white space off both ends of what tokens stand for, those of white space only apart.

    Parameters
    ----------
    text
        (C,) valid UTF-8.
    spots
        In place, (T, 2): the bytes [start, end) of each token.
    white
        Output, (T,): whether a token is white space only.
    """
    for i in range(len(spots)):
        start, end = spots[i, 0], spots[i, 1]
        while start < end:
            width = white_width(text[:end], start)
            if width == 0:
                break
            start += width
        white[i] = start == end
        if not white[i]:
            spots[i, 0], spots[i, 1] = start, _end_without_white(text, start, end)


@kernel
def number_words(text: Bytes, starts: Ints, numbers: Ints) -> None:
    """Find the words that white space sets apart; white space belongs to the word behind it.

    Parameters
    ----------
    text
        (C,) valid UTF-8.
    starts
        (T,) where tokens start, white space before them left out, ascending.
    numbers
        Output, (T,): the number of each token's word.
    """
    at, count, white = 0, 0, True
    for i in range(len(starts)):
        # Kept: text[:at] holds `count` words, and `white` says whether it ends with white space. Starts ascend, so one walk serves all.
        while at < len(text) and at <= starts[i]:
            width = white_width(text, at)
            count += white and width == 0
            white = width > 0
            at += max(width, 1)
        # White space belongs to the word behind it, which the walk has not counted yet.
        on_white = starts[i] < len(text) and white_width(text, starts[i]) > 0
        numbers[i] = count + on_white
