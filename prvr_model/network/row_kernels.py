"""Compiled loops of `row_steps`: each passes over its rows once.

Dropout keeps no mask: whether an element is kept is a hash of its place and of two drawn numbers,
computed again for the gradient. What products take and give comes in float32, float64 or bfloat16
(as 16-bit numbers here); sums, softmax and norms are taken in float32, or in float64 throughout.
Compiled once per machine and kept in numba's cache.
"""
# ruff: noqa: ANN401  (numba knows the types of arguments, Python does not)

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

# Sums may be taken in any order; values that are not finite stay so.
_COMPILED: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp", "afn"},
}
# Of an integer hash whose bits each depend on all bits of the place.
_FACTOR, _OTHER_FACTOR = np.uint32(0x21F0AAAD), np.uint32(0xD35A2D97)
Rows: TypeAlias = np.ndarray[Any, Any]


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled at its first call, and kept on disk if some folder can be written."""
    try:
        kept: Callable[..., Any] = njit(cache=True, **_COMPILED)(function)
    except RuntimeError:
        kept = njit(**_COMPILED)(function)
    return kept


@intrinsic
def _as_float(_: Any, bits: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def _as_bits(_: Any, value: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


# Functions of numbers, in the form that suits most types; the types that need another get it below.


def _wide(value: Any) -> Any:
    """A number of a product as one that is calculated with."""
    return value


def _put(row: Any, place: int, value: Any) -> None:
    """Store a number in the row's type; bfloat16 rounds to the nearest, ties to even."""
    row[place] = value


def _largest(values: Rows) -> Any:
    """Largest of some numbers."""
    return values.max()


def _exp(value: Any) -> Any:
    """Exponential of a number that is not positive."""
    return np.exp(value)


@overload(_wide, strict=False)
def _(value: Any) -> Any:
    if value != types.uint16:
        return _wide

    def widened(value: Any) -> Any:
        return _as_float(np.uint32(value) << np.uint32(16))

    return widened


@overload(_put, strict=False)
def _(row: Any, place: Any, value: Any) -> Any:
    if row.dtype != types.uint16:
        return _put

    def put_rounded(row: Any, place: Any, value: Any) -> None:
        bits = _as_bits(value)
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        row[place] = np.uint16((bits + half) >> np.uint32(16))

    return put_rounded


@overload(_largest, strict=False)
def _(values: Any) -> Any:
    if values.dtype != types.float32:
        return _largest

    def largest(values: Any) -> Any:
        """By their bits: whole numbers in the same order, whose maximum a compiler makes fast."""
        found = np.int32(-0x7FFFFFFF)
        for place in range(values.shape[0]):
            found = np.int32(max(found, _ordered(np.int32(_as_bits(values[place])))))
        return _as_float(np.uint32(_ordered(found)))

    return largest


@_compiled
def _ordered(bits: Any) -> Any:
    """A float's bits as a whole number in the order of floats; its own inverse."""
    return np.int32(bits ^ np.int32(np.int32(bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@overload(_exp, strict=False)
def _(value: Any) -> Any:
    if value != types.float32:
        return _exp

    def exp(value: Any) -> Any:
        """2^n e^r with |r| <= ln(2) / 2; the polynomial's error is 2e-7 of the value."""
        # What is not a number is not below, and stays.
        least = np.float32(-87.0)
        turns = (least if value < least else value) * np.float32(1.4426950408889634)
        whole = np.floor(turns + np.float32(0.5))
        rest = (turns - whole) * np.float32(0.6931471805599453)
        power = np.float32(1 / 720) * rest + np.float32(1 / 120)
        power = power * rest + np.float32(1 / 24)
        power = power * rest + np.float32(1 / 6)
        power = power * rest + np.float32(0.5)
        power = (power * rest + np.float32(1)) * rest + np.float32(1)
        scale = np.uint32(np.int32(whole) + np.int32(127)) << np.uint32(23)
        return power * _as_float(np.uint32(scale))

    return exp


@_compiled
def _draw_row(mask: Rows, row: int, draw: Any) -> None:
    """Ones where dropout keeps an element of a row, else zeros; nothing is done if all are kept."""
    first, second, last, drops = draw
    if not drops:
        return
    place = np.uint32(row * mask.shape[0])
    for column in range(mask.shape[0]):
        mixed = np.uint32(np.uint32(place + np.uint32(column)) ^ first)
        mixed = np.uint32(np.uint32(mixed ^ np.uint32(mixed >> np.uint32(16))) * _FACTOR)
        mixed = np.uint32(np.uint32(mixed ^ np.uint32(mixed >> np.uint32(15))) + second)
        mixed = np.uint32(mixed * _OTHER_FACTOR)
        mixed = np.uint32(mixed ^ np.uint32(mixed >> np.uint32(15)))
        mask[column] = np.float32(mixed <= last)


@_compiled
def _normalise(values: Rows, epsilon: Any) -> Any:
    """Give numbers a mean of 0 and a deviation of 1, in place; the inverse of what it was."""
    total = values[0] * 0
    for column in range(values.shape[0]):
        total += values[column]
    mean = total / values.shape[0]
    total = total * 0
    for column in range(values.shape[0]):
        values[column] -= mean
        total += values[column] * values[column]
    inverse = 1 / np.sqrt(total / values.shape[0] + epsilon)
    for column in range(values.shape[0]):
        values[column] *= inverse
    return inverse


@_compiled
def _normalise_backward(
    values: Rows, normals: Rows, inverse: Any, weight: Rows, by_weight: Rows, by_bias: Rows
) -> None:
    """Turn the gradient by a norm's output into that by its input; add those by its layer."""
    columns = values.shape[0]
    for column in range(columns):
        by_weight[column] += values[column] * normals[column]
        by_bias[column] += values[column]
    total, product = values[0] * 0, values[0] * 0
    for column in range(columns):
        values[column] *= weight[column]
        total += values[column]
        product += values[column] * normals[column]
    total, product = total / columns, product / columns
    for column in range(columns):
        values[column] = (values[column] - total - normals[column] * product) * inverse


# Kernels take arrays, what dropout draws, sums over rows that they add to, and the range of rows
# that they work on.


@_compiled
def attend(
    scores: Rows,
    dropped: Rows,
    factors: Rows,
    biases: Rows,
    length: int,
    before: int,
    draw: Any,
    rows: Any,
) -> None:
    """Softmax of scores times factor plus bias, in place, and what dropout keeps of it."""
    columns = scores.shape[1]
    values = np.empty(columns, factors.dtype)
    mask = np.ones(columns, factors.dtype)
    for row in range(*rows):
        score, other = scores[row], dropped[row]
        factor = factors[(before + row) % factors.shape[0]]
        bias = biases[((before + row) // length) % biases.shape[0]]
        for column in range(columns):
            values[column] = _wide(score[column]) * factor[column] + bias[column]
        largest = _largest(values)
        total = values[0] * 0
        for column in range(columns):
            values[column] = _exp(values[column] - largest)
            total += values[column]
        share = 1 / total
        for column in range(columns):
            values[column] *= share
            _put(score, column, values[column])
        if draw[3]:
            _draw_row(mask, before + row, draw)
            for column in range(columns):
                _put(other, column, values[column] * mask[column])


@_compiled
def attend_backward(
    by_weights: Rows,
    weights: Rows,
    dropped: Rows,
    factors: Rows,
    before: int,
    draw: Any,
    rows: Any,
) -> None:
    """Gradient by the scores, in place, and what dropout kept of the weights."""
    columns = weights.shape[1]
    values = np.empty(columns, factors.dtype)
    mask = np.ones(columns, factors.dtype)
    for row in range(*rows):
        gradient, weight, other = by_weights[row], weights[row], dropped[row]
        factor = factors[(before + row) % factors.shape[0]]
        for column in range(columns):
            values[column] = _wide(gradient[column])
        if draw[3]:
            _draw_row(mask, before + row, draw)
            for column in range(columns):
                values[column] *= mask[column]
                _put(other, column, _wide(weight[column]) * mask[column])
        total = values[0] * 0
        for column in range(columns):
            total += values[column] * _wide(weight[column])
        for column in range(columns):
            value = _wide(weight[column]) * (values[column] - total) * factor[column]
            _put(gradient, column, value)


@_compiled
def add_norm(
    rows: Rows,
    added: Rows,
    scale: Any,
    layer: Any,
    kept: Rows,
    inverse: Rows,
    output: Rows,
    rounded: Rows,
    draw: Any,
    part: Any,
) -> None:
    """Norm of rows plus what dropout keeps of others."""
    weight, bias, epsilon = layer
    heads, width = added.shape[0], added.shape[2]
    columns = heads * width
    values = np.empty(columns, rows.dtype)
    mask = np.ones(columns, rows.dtype)
    for row in range(*part):
        own, normal, out = rows[row], kept[row], output[row]
        for head in range(heads):
            other, start = added[head, row], head * width
            for column in range(width):
                values[start + column] = _wide(other[column]) * scale
        _draw_row(mask, row, draw)
        for column in range(columns):
            values[column] = values[column] * mask[column] + own[column]
        inverse[row] = _normalise(values, epsilon)
        for column in range(columns):
            _put(normal, column, values[column])
            out[column] = values[column] * weight[column] + bias[column]
        if rounded.shape[0]:
            for column in range(columns):
                _put(rounded[row], column, out[column])


@_compiled
def add_norm_backward(
    by_output: Rows,
    more: Rows,
    kept: Rows,
    inverse: Rows,
    layer: Any,
    scale: Any,
    by_rows: Rows,
    adds: bool,
    by_added: Rows,
    output: Rows,
    draw: Any,
    sums: Rows,
    part: Any,
) -> None:
    """Gradients by rows and others; the output again, if there is room for it."""
    weight, bias, _ = layer
    columns = kept.shape[1]
    by_weight, by_bias, by_bias_of_added = sums[0], sums[1], sums[2]
    heads, width = by_added.shape[0], by_added.shape[2]
    values = np.empty(columns, by_rows.dtype)
    normals = np.empty(columns, by_rows.dtype)
    mask = np.ones(columns, by_rows.dtype)
    for row in range(*part):
        gradient, normal, found = by_output[row], kept[row], by_rows[row]
        for column in range(columns):
            values[column] = gradient[column]
            normals[column] = _wide(normal[column])
        if more.shape[0]:
            for column in range(columns):
                values[column] += _wide(more[row, column])
        if output.shape[0]:
            for column in range(columns):
                _put(output[row], column, normals[column] * weight[column] + bias[column])
        _normalise_backward(values, normals, inverse[row], weight, by_weight, by_bias)
        if adds:
            for column in range(columns):
                found[column] += values[column]
        else:
            for column in range(columns):
                found[column] = values[column]
        _draw_row(mask, row, draw)
        for column in range(columns):
            values[column] *= scale * mask[column]
            by_bias_of_added[column] += values[column]
        for head in range(heads):
            other, start = by_added[head, row], head * width
            for column in range(width):
                _put(other, column, values[start + column])


@_compiled
def relu_backward(by_hidden: Rows, hidden: Rows, sums: Rows, part: Any) -> None:
    """Gradient through a ReLU, in place."""
    by_bias = sums[0]
    for row in range(*part):
        gradient, value = by_hidden[row], hidden[row]
        for column in range(gradient.shape[0]):
            found = _wide(gradient[column])
            found = found if _wide(value[column]) > 0 else found * 0
            _put(gradient, column, found)
            by_bias[column] += found


@_compiled
def sum_rows(values: Rows, sums: Rows, part: Any) -> None:
    """Sum over rows."""
    total = sums[0]
    for row in range(*part):
        value = values[row]
        for column in range(value.shape[0]):
            total[column] += _wide(value[column])


@_compiled
def norm_drop(
    features: Rows, layer: Any, scale: Any, output: Rows, mask: Rows, draw: Any, part: Any
) -> None:
    """Norm, then dropout; its mask too, if there is room for it."""
    weight, bias, epsilon = layer
    columns = features.shape[1]
    values = np.empty(columns, features.dtype)
    kept = np.ones(columns, features.dtype)
    for row in range(*part):
        own, out = features[row], output[row]
        for column in range(columns):
            values[column] = own[column]
        _normalise(values, epsilon)
        _draw_row(kept, row, draw)
        for column in range(columns):
            value = (values[column] * weight[column] + bias[column]) * scale
            _put(out, column, value * kept[column])
        if mask.shape[0]:
            for column in range(columns):
                _put(mask[row], column, scale * kept[column])


@_compiled
def place_norm(
    projected: Rows,
    positions: Rows,
    length: int,
    layer: Any,
    scale: Any,
    kept: Rows,
    inverse: Rows,
    output: Rows,
    draw: Any,
    part: Any,
) -> None:
    """Norm of ReLU plus position, then dropout."""
    weight, bias, epsilon = layer
    columns = projected.shape[1]
    values = np.empty(columns, output.dtype)
    mask = np.ones(columns, output.dtype)
    for row in range(*part):
        own, normal, out = projected[row], kept[row], output[row]
        position = positions[row % length]
        for column in range(columns):
            value = _wide(own[column])
            values[column] = (value if value > 0 else value * 0) + position[column]
        inverse[row] = _normalise(values, epsilon)
        _draw_row(mask, row, draw)
        for column in range(columns):
            _put(normal, column, values[column])
        for column in range(columns):
            out[column] = (values[column] * weight[column] + bias[column]) * scale * mask[column]


@_compiled
def place_norm_backward(
    by_output: Rows,
    projected: Rows,
    kept: Rows,
    inverse: Rows,
    length: int,
    layer: Any,
    scale: Any,
    by_projected: Rows,
    draw: Any,
    sums: Rows,
    part: Any,
) -> None:
    """Gradients of `place_norm`; that by positions comes last among the sums."""
    weight, _, _ = layer
    columns = projected.shape[1]
    by_weight, by_bias, by_layer_bias, by_positions = sums[0], sums[1], sums[2], sums[3:]
    values = np.empty(columns, by_output.dtype)
    normals = np.empty(columns, by_output.dtype)
    mask = np.ones(columns, by_output.dtype)
    for row in range(*part):
        gradient, own, found = by_output[row], projected[row], by_projected[row]
        normal, by_position = kept[row], by_positions[row % length]
        _draw_row(mask, row, draw)
        for column in range(columns):
            values[column] = gradient[column] * scale * mask[column]
            normals[column] = _wide(normal[column])
        _normalise_backward(values, normals, inverse[row], weight, by_weight, by_bias)
        for column in range(columns):
            value = values[column]
            by_position[column] += value
            value = value if _wide(own[column]) > 0 else value * 0
            _put(found, column, value)
            by_layer_bias[column] += value
