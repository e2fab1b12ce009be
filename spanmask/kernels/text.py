"""Scan raw bytes for lines and documents, and count code points.

UTF-8 bytes flow in, byte positions and counts flow out. Bytes need not be valid: nothing is read out of bounds.
Lines end in a newline (0x0A) only. A line is blank when it holds white space only (Unicode White_Space).
"""

from __future__ import annotations

from spanmask.kernels._jit import Bytes, Flags, Ints, inlined, kernel, signed

#: Bytes looked at together for a newline.
_STRIDE = 256


#: What `line_before` answers.
FILLED, BLANK, UNDECIDED = 0, 1, 2


@inlined
def _wide_white(first: int, second: int, third: int) -> bool:
    """Tell whether three bytes are white space: U+1680, U+2000 to 200A, 2028, 2029, 202F, 205F or 3000."""
    if first == 0xE1:
        return second == 0x9A and third == 0x80
    if first == 0xE3:
        return second == 0x80 and third == 0x80
    if first != 0xE2:
        return False
    if second == 0x81:
        return third == 0x9F
    return second == 0x80 and (0x80 <= third <= 0x8A or third in (0xA8, 0xA9, 0xAF))


@kernel
def white_width(data: Bytes, at: int) -> int:
    """Return the bytes (1 to 3) of the white space character that starts at a position, or 0."""
    first = data[at]
    if first == 0x20 or 0x09 <= first <= 0x0D:
        return 1
    # Bytes below are ASCII, the rest of a character, or never valid. White space of two bytes begins with C2 alone.
    if first < 0xC2:
        return 0
    if first == 0xC2:
        return 2 if at + 1 < len(data) and data[at + 1] in (0x85, 0xA0) else 0
    return 3 if at + 2 < len(data) and _wide_white(first, data[at + 1], data[at + 2]) else 0


@kernel
def white_width_before(data: Bytes, end: int) -> int:
    """Return the bytes (1 to 3) of the white space character that ends before a position above 0, or 0."""
    last = data[end - 1]
    if last == 0x20 or 0x09 <= last <= 0x0D:
        return 1
    if end >= 2 and data[end - 2] == 0xC2:
        return 2 if last in (0x85, 0xA0) else 0
    return 3 if end >= 3 and _wide_white(data[end - 3], data[end - 2], last) else 0


@inlined
def _has_newline(data: Bytes) -> bool:
    found = False
    for k in range(_STRIDE):  # No early end: this way it is compiled to a few wide comparisons.
        found |= data[k] == 0x0A
    return found


@inlined
def _line_end(data: Bytes, at: int) -> int:
    """Return the position of the first newline at or after a position, or the length."""
    while at + _STRIDE <= len(data) and not _has_newline(data[at : at + _STRIDE]):
        at += _STRIDE
    while at < len(data) and data[at] != 0x0A:
        at += 1
    return at


@inlined
def _first_filled(data: Bytes, at: int) -> int:
    """Return the position of the first byte of a line that is not white space, or of the line's end."""
    while at < len(data) and data[at] != 0x0A:
        width = white_width(data, at)
        if width == 0:
            return at
        at += width
    return at


@kernel
def count_newlines(data: Bytes) -> int:
    """Return how many newlines there are in (C,) bytes."""
    count = 0
    for byte in data:
        count += byte == 0x0A
    return count


@kernel
def find_documents(data: Bytes, sentences: bool, previous_blank: bool, starts: Ints) -> tuple[int, bool]:
    """Find where documents start in whole lines.

    Parameters
    ----------
    data
        (C,) bytes that begin at the start of a line.
    sentences
        True: a document starts at a filled line after a blank one. False: every filled line is a document.
    previous_blank
        Whether the line before `data` is blank; true at the start of a file.
    starts
        Output, (at least lines,): position of each document's first byte, ascending.

    Returns
    -------
    tuple of int and bool
        Documents found, and whether the last line is blank.
    """
    count = 0
    line = 0
    while line < len(data):
        filled = _first_filled(data, line)
        end = _line_end(data, filled)
        blank = filled == end
        if not blank and (previous_blank or not sentences):
            starts[count] = line
            count += 1
        previous_blank = blank
        line = end + 1
    return count, previous_blank


@inlined
def _ends_blank_line(data: Bytes, end: int) -> bool:
    """Tell whether the line that ends before a position holds white space only. data: begins at the start of a line."""
    while end > 0 and data[end - 1] != 0x0A:
        width = white_width_before(data, end)
        if width == 0:
            return False
        end -= width
    return True


@kernel
def last_line_is_blank(data: Bytes, previous_blank: bool) -> bool:
    """Tell whether the last of whole lines is blank; of no lines, whether the one before is."""
    if len(data) == 0:
        return previous_blank
    return _ends_blank_line(data, len(data) - 1 if data[-1] == 0x0A else len(data))


@kernel
def first_document(data: Bytes, at: int, sentences: bool, previous_blank: bool) -> int:
    """Return where the first document that starts at or after a position does, or the length; else as `find_documents`.

    Only lines from there on are read, and the one before.
    """
    # From `at` − 1, so that a line that begins exactly at `at` is found through the newline before it.
    line = 0 if at == 0 else min(_line_end(data, at - 1) + 1, len(data))
    blank = previous_blank if line == 0 else _ends_blank_line(data, line - 1)
    while line < len(data):
        filled = _first_filled(data, line)
        end = _line_end(data, filled)
        if filled < end and (blank or not sentences):
            return line
        blank = filled == end
        line = end + 1
    return len(data)


@kernel
def find_lines(data: Bytes, starts: Ints, ends: Ints, braced: Flags) -> int:
    """Find the filled lines, and which of them look like one JSON object.

    Parameters
    ----------
    data
        (C,) bytes that begin at the start of a line.
    starts, ends
        Outputs, (at least lines,): each filled line is ``data[start:end]``, without its newline.
    braced
        Output, (at least lines,): the line begins with "{" and ends with "}", JSON white space aside.

    Returns
    -------
    int
        Filled lines found.
    """
    count = 0
    line = 0
    while line < len(data):
        filled = _first_filled(data, line)
        end = _line_end(data, filled)
        if filled < end:
            starts[count] = line
            ends[count] = end
            braced[count] = _is_braced(data, line, end)
            count += 1
        line = end + 1
    return count


@inlined
def _is_braced(data: Bytes, start: int, end: int) -> bool:
    while start < end and data[start] in (0x20, 0x09, 0x0D):
        start += 1
    while start < end and data[end - 1] in (0x20, 0x09, 0x0D):
        end -= 1
    return bool(start < end and data[start] == 0x7B and data[end - 1] == 0x7D)


@kernel
def _is_rest(data: Bytes, end: int) -> bool:
    """Tell whether the one or two bytes before a position may be the rest of a character cut off in front."""
    return bool(data[0] & 0xC0 == 0x80 and data[end - 1] & 0xC0 == 0x80)


@kernel
def line_before(data: Bytes) -> int:
    """Tell whether the line that ends with the last of (C,) bytes is blank.

    Returns
    -------
    int
        `FILLED`; `BLANK`: a newline precedes white space only; `UNDECIDED`: the line goes on before the first byte.
        Bytes that may be the rest of a white space character cut off in front are undecided too.
    """
    end = len(data)
    while end > 0 and data[end - 1] != 0x0A:
        # From the end backwards: nearly every line shows within a few bytes that it is not blank.
        width = white_width_before(data, end)
        if width == 0:
            return UNDECIDED if end < 3 and _is_rest(data, end) else FILLED
        end -= width
    return UNDECIDED if end == 0 else BLANK


@kernel
def count_code_points(text: Bytes, offsets: Ints, counts: Ints) -> None:
    """Count the Unicode code points of each document.

    Parameters
    ----------
    text
        (C,) valid UTF-8.
    offsets
        (D + 1,) byte offsets of documents.
    counts
        Output, (D,): code points.
    """
    for document in range(len(counts)):
        count = 0
        for at in range(offsets[document], offsets[document + 1]):
            count += text[at] & 0xC0 != 0x80
        counts[document] = count


@inlined
def read_code_point(text: Bytes, at: int) -> tuple[int, int]:
    """Return the code point (above 127) at a position of valid UTF-8, and its bytes."""
    first = signed(text[at])
    second = signed(text[at + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = signed(text[at + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | signed(text[at + 3]) & 0x3F, 4


@inlined
def write_code_point(code: int, out: Bytes, n: int) -> int:
    """Write a code point in UTF-8; return the position after it."""
    if code < 0x80:
        out[n] = code
        return n + 1
    if code < 0x800:
        out[n], out[n + 1] = 0xC0 | code >> 6, 0x80 | code & 0x3F
        return n + 2
    if code < 0x10000:
        out[n], out[n + 1], out[n + 2] = 0xE0 | code >> 12, 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
        return n + 3
    out[n], out[n + 1] = 0xF0 | code >> 18, 0x80 | code >> 12 & 0x3F
    out[n + 2], out[n + 3] = 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
    return n + 4
