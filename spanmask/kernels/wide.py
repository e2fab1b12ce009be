"""Wide loads and stores, and prefetching, which array indexing cannot express: the only code here that goes around numba's arrays.

None of them checks bounds; each says what its caller guarantees. Every one has a twin on plain arrays, in which a read or write out of
bounds is an IndexError under ``NUMBA_BOUNDSCHECK=1``. The twins are taken instead where ``SPANMASK_PLAIN_LOADS`` is set, where numba checks
bounds, and where kernels are interpreted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from spanmask.kernels._jit import Bytes, Flags, inlined, signed

#: Bytes of a wide load.
WIDTH = 32
#: Bytes that are classified at once.
BLOCK = 64
#: Numbers of a wide store.
LANES = 8
#: Whether the twins on plain arrays are taken.
PLAIN = bool(os.environ.get("SPANMASK_PLAIN_LOADS") or numba.config.BOUNDSCHECK or numba.config.DISABLE_JIT)

_Words = npt.NDArray[np.uint64]
#: 32 bytes as four little-endian words.
Key = tuple[np.uint64, np.uint64, np.uint64, np.uint64]
_KEY = types.UniTuple(types.uint64, 4)
#: Which of 64 bytes are ASCII letters and digits, which are other characters that are seen, and which are none of these, nor white.
Classes = tuple[np.uint64, np.uint64, np.uint64]
_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_LANES = ir.VectorType(_I8, WIDTH)
#: A bit each byte, the first one lowest; never the highest bit of all.
_Masks = tuple[int, int, int, int, int, int, int, int]


@inlined
def _plain_classes(data: Bytes, at: int, odd: int) -> Classes:
    words, alone, others = np.uint64(0), np.uint64(0), np.uint64(0)
    for i in range(BLOCK):
        byte, bit = signed(data[at + i]), np.uint64(1) << np.uint64(i)
        if 0x30 <= byte <= 0x39 or 0x61 <= byte | 0x20 <= 0x7A:
            words |= bit
        elif 0x21 <= byte <= 0x7E:
            alone |= bit
        elif byte not in (0x09, 0x0A, 0x0D, 0x20):
            others |= bit
        if byte == odd:
            others |= bit
    return words, alone, others


@inlined
def _plain_trailing_zeros(bits: np.uint64) -> int:
    count = 0
    while count < BLOCK and (bits >> np.uint64(count)) & np.uint64(1) == np.uint64(0):
        count += 1
    return count


@inlined
def _plain_leading_zeros(bits: np.uint64) -> int:
    count = 0
    while count < BLOCK and (bits >> np.uint64(BLOCK - 1 - count)) & np.uint64(1) == np.uint64(0):
        count += 1
    return count


@inlined
def _plain_letter_length(data: Bytes, at: int, fold: int) -> int:
    length = WIDTH
    for i in range(WIDTH):
        if not 0x61 <= signed(data[at + i]) | fold <= 0x7A and length == WIDTH:
            length = i
    return length


@inlined
def _plain_length_within(data: Bytes, at: int, first: int, last: int) -> int:
    length = WIDTH
    for i in range(WIDTH):
        if not first <= signed(data[at + i]) <= last and length == WIDTH:
            length = i
    return length


@inlined
def _plain_unbroken_length(data: Bytes, at: int) -> int:
    length = WIDTH
    for i in range(WIDTH):
        byte = signed(data[at + i])
        breaks = byte <= 0x20 or byte == 0xC2 or 0xE1 <= byte <= 0xE3
        if breaks and length == WIDTH:
            length = i
    return length


@inlined
def _plain_byte_masks(data: Bytes, at: int) -> _Masks:
    letters = small = digits = spaces = tabs = newlines = apostrophes = wide = 0
    for i in range(BLOCK - 1):
        byte = signed(data[at + i])
        letters |= (0x61 <= byte | 0x20 <= 0x7A) << i
        small |= (0x61 <= byte <= 0x7A) << i
        digits |= (0x30 <= byte <= 0x39) << i
        spaces |= (byte == 0x20) << i
        tabs |= (byte in (0x09, 0x0B, 0x0C)) << i
        newlines |= (byte in (0x0A, 0x0D)) << i
        apostrophes |= (byte == 0x27) << i
        wide |= (byte >= 0x80) << i
    return letters, small, digits, spaces, tabs, newlines, apostrophes, wide


@inlined
def _plain_eight(data: Bytes, at: int, length: int, fold: int) -> np.uint64:
    value = np.uint64(0)
    for i in range(8):
        byte = np.uint64(data[at + i]) | np.uint64(fold)
        if i < length:
            value |= byte << np.uint64(8 * i)
    return value


@inlined
def _plain_load_key(data: Bytes, at: int, length: int, fold: int) -> Key:
    return (
        _plain_eight(data, at, length, fold),
        _plain_eight(data, at + 8, length - 8, fold),
        _plain_eight(data, at + 16, length - 16, fold),
        _plain_eight(data, at + 24, length - 24, fold),
    )


@inlined
def _plain_holds_key(lines: _Words, at: int, key: Key) -> bool:
    differs = (lines[at] ^ key[0]) | (lines[at + 1] ^ key[1])
    return bool((differs | (lines[at + 2] ^ key[2]) | (lines[at + 3] ^ key[3])) == np.uint64(0))


@inlined
def _plain_copy_ids(lines: _Words, base: int, ids: npt.NDArray[Any], position: int) -> None:
    width = 8 // ids.itemsize
    bits = 8 * ids.itemsize
    low = np.uint64((1 << bits) - 1)
    for i in range(4 * width):
        ids[position + i] = (lines[base + 4 + i // width] >> np.uint64(i % width * bits)) & low


@inlined
def _plain_start_word(flags: Flags, position: int) -> None:
    for i in range(16):
        flags[position + i] = i == 0


@inlined
def _plain_put_series(target: npt.NDArray[Any], at: int, first: int, step: int) -> None:
    for i in range(LANES):
        target[at + i] = first + step * i


@inlined
def _plain_put_ids(ids: npt.NDArray[Any], at: int, target: npt.NDArray[Any], place: int) -> None:
    for i in range(LANES):
        target[place + i] = ids[at + i]


@inlined
def _plain_prefetch(units: npt.NDArray[Any], at: int) -> None:
    pass


_intrinsic = cast(Callable[..., Any], intrinsic)


def _address(context: Any, builder: Any, kind: Any, value: Any, index: Any, lanes: Any) -> Any:
    """Return a pointer to lanes at an index of a contiguous array."""
    array = context.make_array(kind)(context, builder, value)
    return builder.bitcast(builder.gep(array.data, [index]), lanes.as_pointer())


def _splat(builder: Any, value: Any, lanes: Any = _LANES) -> Any:
    nothing = ir.Constant(lanes, ir.Undefined)
    vector = builder.insert_element(nothing, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(vector, nothing, ir.Constant(ir.VectorType(_I32, lanes.count), [0] * lanes.count))


def _constant(value: int, lanes: Any = _LANES) -> Any:
    return ir.Constant(lanes, [value] * lanes.count)


def _between(builder: Any, lanes: Any, first: int, last: int) -> Any:
    """Return which bytes lie in [first, last]."""
    return builder.icmp_unsigned(
        "<", builder.sub(lanes, _constant(first, lanes.type)), _constant(last + 1 - first, lanes.type)
    )


def _load(context: Any, builder: Any, kind: Any, value: Any, index: Any) -> Any:
    load = builder.load(_address(context, builder, kind, value, index, _LANES))
    load.align = 1
    return load


def _leading(builder: Any, lanes: Any) -> Any:
    """Return how many lanes are true before the first that is not."""
    others = builder.not_(builder.bitcast(lanes, _I32))
    return builder.zext(builder.cttz(others, ir.Constant(ir.IntType(1), 0)), _I64)


@_intrinsic
def _wide_classes(typing_context: Any, data: Any, at: Any, odd: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, index, other = arguments
        kind = ir.VectorType(_I8, BLOCK)
        lanes = builder.load(_address(context, builder, signature.args[0], value, index, kind), align=1)
        folded = builder.or_(lanes, _constant(0x20, kind))
        word = builder.or_(_between(builder, folded, 0x61, 0x7A), _between(builder, lanes, 0x30, 0x39))
        seen = _between(builder, lanes, 0x21, 0x7E)
        white = builder.or_(_between(builder, lanes, 0x09, 0x0A), _between(builder, lanes, 0x0D, 0x0D))
        white = builder.or_(white, _between(builder, lanes, 0x20, 0x20))
        named = builder.icmp_unsigned("==", lanes, _splat(builder, builder.trunc(other, _I8), kind))
        others = builder.or_(builder.not_(builder.or_(seen, white)), named)
        parts = [word, builder.and_(seen, builder.not_(word)), others]
        return context.make_tuple(builder, signature.return_type, [builder.bitcast(part, _I64) for part in parts])

    return types.UniTuple(types.uint64, 3)(data, types.int64, types.int64), generate


def _zeros(name: str) -> Any:
    @_intrinsic
    def count(typing_context: Any, bits: Any) -> Any:  # noqa: ARG001
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
            return getattr(builder, name)(arguments[0], ir.Constant(ir.IntType(1), 0))

        return types.int64(types.uint64), generate

    return count


_wide_trailing_zeros, _wide_leading_zeros = _zeros("cttz"), _zeros("ctlz")


@_intrinsic
def _wide_letter_length(typing_context: Any, data: Any, at: Any, fold: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, index, bits = arguments
        lanes = _load(context, builder, signature.args[0], value, index)
        folded = builder.or_(lanes, _splat(builder, builder.trunc(bits, _I8)))
        return _leading(builder, _between(builder, folded, 0x61, 0x7A))

    return types.int64(data, types.int64, types.int64), generate


@_intrinsic
def _wide_length_within(typing_context: Any, data: Any, at: Any, first: Any, last: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, index, *ends = arguments
        lanes = _load(context, builder, signature.args[0], value, index)
        low, high = (_splat(builder, builder.trunc(end, _I8)) for end in ends)
        inside = builder.and_(builder.icmp_unsigned(">=", lanes, low), builder.icmp_unsigned("<=", lanes, high))
        return _leading(builder, inside)

    return types.int64(data, types.int64, types.int64, types.int64), generate


@_intrinsic
def _wide_unbroken_length(typing_context: Any, data: Any, at: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = _load(context, builder, signature.args[0], *arguments)
        low = builder.icmp_unsigned("<=", lanes, _constant(0x20))
        two = builder.icmp_unsigned("==", lanes, _constant(0xC2))
        three = builder.icmp_unsigned("<", builder.sub(lanes, _constant(0xE1)), _constant(3))
        breaks = builder.bitcast(builder.or_(low, builder.or_(two, three)), _I32)
        return builder.zext(builder.cttz(breaks, ir.Constant(ir.IntType(1), 0)), _I64)

    return types.int64(data, types.int64), generate


@_intrinsic
def _wide_byte_masks(typing_context: Any, data: Any, at: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, index = arguments
        kind = ir.VectorType(_I8, BLOCK)
        lanes = builder.load(_address(context, builder, signature.args[0], value, index, kind), align=1)
        folded = builder.or_(lanes, _constant(0x20, kind))
        newlines = builder.or_(_between(builder, lanes, 0x0A, 0x0A), _between(builder, lanes, 0x0D, 0x0D))
        flags = [
            _between(builder, folded, 0x61, 0x7A),
            _between(builder, lanes, 0x61, 0x7A),
            _between(builder, lanes, 0x30, 0x39),
            _between(builder, lanes, 0x20, 0x20),
            builder.and_(_between(builder, lanes, 0x09, 0x0D), builder.not_(newlines)),
            newlines,
            _between(builder, lanes, 0x27, 0x27),
            _between(builder, lanes, 0x80, 0xFF),
        ]
        low = ir.Constant(_I64, (1 << (BLOCK - 1)) - 1)
        masks = [builder.and_(builder.bitcast(flag, _I64), low) for flag in flags]
        return context.make_tuple(builder, signature.return_type, masks)

    return types.UniTuple(types.int64, 8)(data, types.int64), generate


@_intrinsic
def _wide_load_key(typing_context: Any, data: Any, at: Any, length: Any, fold: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, index, size, bits = arguments
        lanes = _load(context, builder, signature.args[0], value, index)
        folded = builder.or_(lanes, _splat(builder, builder.trunc(bits, _I8)))
        places = ir.Constant(_LANES, list(range(WIDTH)))
        inside = builder.icmp_unsigned("<", places, _splat(builder, builder.trunc(size, _I8)))
        words = builder.bitcast(builder.select(inside, folded, _constant(0)), ir.VectorType(_I64, 4))
        parts = [builder.extract_element(words, ir.Constant(_I32, i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, parts)

    return _KEY(data, types.int64, types.int64, types.int64), generate


@_intrinsic
def _wide_holds_key(typing_context: Any, lines: Any, at: Any, key: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, index, words = arguments
        kind = ir.VectorType(_I64, 4)
        wanted = ir.Constant(kind, ir.Undefined)
        for i in range(4):
            wanted = builder.insert_element(wanted, builder.extract_value(words, i), ir.Constant(_I32, i))
        found = builder.load(_address(context, builder, signature.args[0], value, index, kind), align=8)
        differs = builder.bitcast(builder.xor(found, wanted), ir.IntType(256))
        return builder.icmp_unsigned("==", differs, ir.Constant(ir.IntType(256), 0))

    return types.boolean(lines, types.int64, key), generate


@_intrinsic
def _wide_copy_ids(typing_context: Any, lines: Any, base: Any, ids: Any, position: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, first, target, index = arguments
        row = builder.add(first, ir.Constant(_I64, 4))
        lanes = _load(context, builder, signature.args[0], source, row)
        builder.store(lanes, _address(context, builder, signature.args[2], target, index, _LANES), align=1)
        return context.get_dummy_value()

    return types.void(lines, types.int64, ids, types.int64), generate


@_intrinsic
def _wide_start_word(typing_context: Any, flags: Any, position: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(_I8, 16)
        target, index = arguments
        address = _address(context, builder, signature.args[0], target, index, lanes)
        builder.store(ir.Constant(lanes, [1] + [0] * 15), address, align=1)
        return context.get_dummy_value()

    return types.void(flags, types.int64), generate


def _vector(kind: Any) -> Any:
    return ir.VectorType(ir.IntType(kind.dtype.bitwidth), LANES)


@_intrinsic
def _wide_put_series(typing_context: Any, target: Any, at: Any, first: Any, step: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = _vector(signature.args[0])
        value, index, *numbers = arguments
        begin, by = (_splat(builder, builder.trunc(number, lanes.element), lanes) for number in numbers)
        series = builder.add(begin, builder.mul(by, ir.Constant(lanes, list(range(LANES)))))
        builder.store(series, _address(context, builder, signature.args[0], value, index, lanes), align=1)
        return context.get_dummy_value()

    return types.void(target, types.int64, types.int64, types.int64), generate


@_intrinsic
def _wide_put_ids(typing_context: Any, ids: Any, at: Any, target: Any, place: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, first, value, index = arguments
        narrow, lanes = _vector(signature.args[0]), _vector(signature.args[2])
        found = builder.load(_address(context, builder, signature.args[0], source, first, narrow), align=1)
        widened = found if narrow == lanes else builder.zext(found, lanes)
        builder.store(widened, _address(context, builder, signature.args[2], value, index, lanes), align=1)
        return context.get_dummy_value()

    return types.void(ids, types.int64, target, types.int64), generate


@_intrinsic
def _wide_prefetch(typing_context: Any, units: Any, at: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], arguments[0], arguments[1], _I8)
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [_I8.as_pointer()], kind)
        # To be read, into every level of the cache, as data.
        builder.call(function, [address, *(ir.Constant(_I32, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(units, types.int64), generate


#: ``classes(data, at, odd)``: the `Classes` of the 64 bytes from ``at``; a byte ``odd`` is none of those known, whatever else it is.
#: The caller guarantees ``at + 64 <= len(data)``.
classes = _plain_classes if PLAIN else _wide_classes

#: ``trailing_zeros(bits)``, ``leading_zeros(bits)``: how many of the lowest, or highest, of 64 bits are zero.
trailing_zeros = _plain_trailing_zeros if PLAIN else _wide_trailing_zeros
leading_zeros = _plain_leading_zeros if PLAIN else _wide_leading_zeros

#: ``letter_length(data, at, fold)``: how many of the 32 bytes from ``at``, each OR ``fold``, are ASCII's small letters before another one
#: comes. The caller guarantees ``at + 32 <= len(data)``.
letter_length = _plain_letter_length if PLAIN else _wide_letter_length

#: ``length_within(data, at, first, last)``: how many of the 32 bytes from ``at`` lie in [first, last] before another one comes.
#: The caller guarantees ``at + 32 <= len(data)``.
length_within = _plain_length_within if PLAIN else _wide_length_within

#: ``unbroken_length(data, at)``: how many of the 32 bytes from ``at`` come before one that may begin white space or ▁: one up to 0x20, C2,
#: or E1 to E3. The caller guarantees ``at + 32 <= len(data)``.
unbroken_length = _plain_unbroken_length if PLAIN else _wide_unbroken_length

#: ``byte_masks(data, at)``: which of the 63 bytes from ``at`` on (bit 0 is the first) are ASCII's letters, small letters, digits, spaces,
#: other white space but newlines, newlines (LF and CR), apostrophes, and which are above ASCII. The caller guarantees
#: ``at + 64 <= len(data)``.
byte_masks = _plain_byte_masks if PLAIN else _wide_byte_masks

#: ``load_key(data, at, length, fold)``: the ``length`` (0 to 32) bytes from ``at``, each OR ``fold``, and zeros up to 32.
#: The caller guarantees ``at + 32 <= len(data)``.
load_key = _plain_load_key if PLAIN else _wide_load_key

#: ``holds_key(lines, at, key)``: whether the 32 bytes from ``lines[at]`` on are a key's. The caller guarantees ``at + 4 <= len(lines)``.
holds_key = _plain_holds_key if PLAIN else _wide_holds_key

#: ``copy_ids(lines, base, ids, position)``: copy the 32 bytes at ``lines[base + 4]`` to ``ids[position]`` and on (16 uint16 or 8 uint32).
#: The caller guarantees ``base + 8 <= len(lines)``, and room for 32 bytes in ``ids`` from ``position``.
copy_ids = _plain_copy_ids if PLAIN else _wide_copy_ids

#: ``start_word(flags, position)``: true at ``position``, false at the 15 after it. The caller guarantees ``position + 16 <= len(flags)``.
start_word = _plain_start_word if PLAIN else _wide_start_word

#: ``put_series(target, at, first, step)``: write ``first``, ``first + step``, … to the 8 places from ``at`` on.
#: The caller guarantees ``at + 8 <= len(target)``.
put_series = _plain_put_series if PLAIN else _wide_put_series

#: ``put_ids(ids, at, target, place)``: write the 8 unsigned ids from ``ids[at]`` on to ``target[place]`` and on, whose numbers are as wide
#: or wider. The caller guarantees ``at + 8 <= len(ids)`` and ``place + 8 <= len(target)``.
put_ids = _plain_put_ids if PLAIN else _wide_put_ids

#: ``prefetch(units, at)``: have the cache line at ``units[at]`` read from memory, and go on meanwhile. It never fails, whatever ``at`` is.
prefetch = _plain_prefetch if PLAIN else _wide_prefetch
