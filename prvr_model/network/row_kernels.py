"""Compiled loops of `row_steps`: each passes over its rows once.

A loop that is fast has its numbers in one type throughout: whole numbers make float64 of float32.
A loop that adds up stores into no array, or uses one alone: how others lie in memory decides
whether a loop runs in vectors, and so the order of its sums and their last bits.

Dropout keeps no mask: whether an element is kept is a hash of its place and of two drawn numbers,
computed again for the gradient. What products take and give comes in float32, float64 or bfloat16
(as 16-bit numbers here); sums, softmax and norms are taken in float32, or in float64 throughout.
Compiled once per machine and kept in numba's cache, which looks at the file of a loop alone: what
loops are made of stands in this one.
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


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
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


def _put(rows: Rows, row: int, column: int, value: Any) -> None:
    """Store a number in the rows' type; bfloat16 rounds to the nearest, ties to even."""
    rows[row, column] = value


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
def _(rows: Any, row: Any, column: Any, value: Any) -> Any:
    if rows.dtype != types.uint16:
        return _put

    def put_rounded(rows: Any, row: Any, column: Any, value: Any) -> None:
        bits = _as_bits(value)
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        rows[row, column] = np.uint16((bits + half) >> np.uint32(16))

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


@compiled
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


@compiled
def _places(columns: int) -> Rows:
    """Numbers of columns, as the hashes of dropout take them."""
    return np.arange(columns).astype(np.uint32)


@njit(inline="always")
def _kept(start: Any, place: Any, draw: Any, scale: Any) -> Any:
    """The scale where dropout keeps the element at a place of the row that starts there, else 0."""
    first, second, last, drops = draw
    if not drops:
        return scale
    mixed = np.uint32(np.uint32(start + place) ^ first)
    mixed = np.uint32(np.uint32(mixed ^ np.uint32(mixed >> np.uint32(16))) * _FACTOR)
    mixed = np.uint32(np.uint32(mixed ^ np.uint32(mixed >> np.uint32(15))) + second)
    mixed = np.uint32(mixed * _OTHER_FACTOR)
    mixed = np.uint32(mixed ^ np.uint32(mixed >> np.uint32(15)))
    return scale if mixed <= last else scale - scale


@compiled
def _sum(values: Rows) -> Any:
    """Sum of some numbers."""
    total = values.dtype.type(0)
    for place in range(values.shape[0]):
        total += values[place]
    return total


@compiled
def _deviations(values: Rows, epsilon: Any) -> Any:
    """Subtract the mean, in place; the inverse of the deviation."""
    number = values.dtype.type
    mean = _sum(values) / number(values.shape[0])
    total = number(0)
    for column in range(values.shape[0]):
        values[column] -= mean
        total += values[column] * values[column]
    return number(1) / np.sqrt(total / number(values.shape[0]) + epsilon)


@compiled
def _normalise_backward(
    values: Rows, normals: Rows, inverse: Any, weight: Rows, by_weight: Rows, by_bias: Rows
) -> None:
    """Turn the gradient by a norm's output into that by its input; add those by its layer."""
    columns = values.shape[0]
    for column in range(columns):
        by_weight[column] += values[column] * normals[column]
        by_bias[column] += values[column]
    number = values.dtype.type
    for column in range(columns):
        values[column] *= weight[column]
    product = number(0)
    for column in range(columns):
        product += values[column] * normals[column]
    mean, product = _sum(values) / number(columns), product / number(columns)
    for column in range(columns):
        values[column] = (values[column] - mean - normals[column] * product) * inverse


# Kernels take arrays, what dropout draws, sums over rows that they add to, and the range of rows
# that they work on.


@compiled
def attend(
    scores: Rows,
    dropped: Rows,
    factors: Rows,
    biases: Rows,
    length: int,
    before: int,
    draw: Any,
    part: Any,
) -> None:
    """Softmax of scores times factor plus bias, in place, and what dropout keeps of it."""
    columns = scores.shape[1]
    values = np.empty(columns, factors.dtype)
    number = values.dtype.type
    places = _places(columns)
    for row in range(*part):
        place = before + row
        start = np.uint32(place * columns)
        own, sequence = place % factors.shape[0], (place // length) % biases.shape[0]
        for column in range(columns):
            score = _wide(scores[row, column]) * factors[own, column]
            values[column] = score + biases[sequence, column]
        largest = _largest(values)
        total = number(0)
        for column in range(columns):
            values[column] = _exp(values[column] - largest)
            total += values[column]
        share = number(1) / total
        if draw[3]:
            for column in range(columns):
                value = values[column] * share
                _put(scores, row, column, value)
                _put(dropped, row, column, value * _kept(start, places[column], draw, number(1)))
        else:
            for column in range(columns):
                _put(scores, row, column, values[column] * share)


@compiled
def attend_backward(
    by_weights: Rows,
    weights: Rows,
    dropped: Rows,
    factors: Rows,
    before: int,
    draw: Any,
    part: Any,
) -> None:
    """Gradient by the scores, in place, and what dropout kept of the weights."""
    columns = weights.shape[1]
    values = np.empty(columns, factors.dtype)
    number = values.dtype.type
    places = _places(columns)
    for row in range(*part):
        place = before + row
        start = np.uint32(place * columns)
        own = place % factors.shape[0]
        if draw[3]:
            for column in range(columns):
                kept = _kept(start, places[column], draw, number(1))
                values[column] = _wide(by_weights[row, column]) * kept
                _put(dropped, row, column, _wide(weights[row, column]) * kept)
        else:
            for column in range(columns):
                values[column] = _wide(by_weights[row, column])
        total = number(0)
        for column in range(columns):
            total += values[column] * _wide(weights[row, column])
        for column in range(columns):
            value = _wide(weights[row, column]) * (values[column] - total) * factors[own, column]
            _put(by_weights, row, column, value)


@compiled
def add_norm(
    rows: Rows,
    added: Rows,
    scale: Any,
    layer: Any,
    normals: Rows,
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
    places = _places(columns)
    for row in range(*part):
        start = np.uint32(row * columns)
        for head in range(heads):
            for place in range(width):
                column = head * width + place
                kept = _kept(start, places[column], draw, scale)
                values[column] = _wide(added[head, row, place]) * kept + rows[row, column]
        inverse[row] = own = _deviations(values, epsilon)
        for column in range(columns):
            value = values[column] * own
            _put(normals, row, column, value)
            output[row, column] = value * weight[column] + bias[column]
        if rounded.shape[0]:
            for column in range(columns):
                _put(rounded, row, column, output[row, column])


@compiled
def add_norm_backward(
    by_output: Rows,
    more: Rows,
    normals: Rows,
    inverse: Rows,
    layer: Any,
    scale: Any,
    by_rows: Rows,
    adds: bool,
    by_added: Rows,
    draw: Any,
    sums: Rows,
    part: Any,
) -> None:
    """Gradients by rows and others."""
    weight, _, _ = layer
    columns = normals.shape[1]
    by_weight, by_bias, by_bias_of_added = sums[0], sums[1], sums[2]
    heads, width = by_added.shape[0], by_added.shape[2]
    values = np.empty(columns, by_rows.dtype)
    places = _places(columns)
    normal = np.empty(columns, by_rows.dtype)
    for row in range(*part):
        start = np.uint32(row * columns)
        for column in range(columns):
            values[column] = by_output[row, column]
            normal[column] = _wide(normals[row, column])
        if more.shape[0]:
            for column in range(columns):
                values[column] += _wide(more[row, column])
        _normalise_backward(values, normal, inverse[row], weight, by_weight, by_bias)
        if adds:
            for column in range(columns):
                by_rows[row, column] += values[column]
        else:
            for column in range(columns):
                by_rows[row, column] = values[column]
        for column in range(columns):
            values[column] *= _kept(start, places[column], draw, scale)
            by_bias_of_added[column] += values[column]
        for head in range(heads):
            of_head, left = by_added[head], head * width
            for place in range(width):
                _put(of_head, row, place, values[left + place])


@compiled
def relu_backward(by_hidden: Rows, hidden: Rows, sums: Rows, part: Any) -> None:
    """Gradient through a ReLU, in place."""
    by_bias = sums[0]
    number = by_bias.dtype.type
    for row in range(*part):
        for column in range(hidden.shape[1]):
            found = _wide(by_hidden[row, column])
            found = found if _wide(hidden[row, column]) > 0 else found * number(0)
            _put(by_hidden, row, column, found)
            by_bias[column] += found


@compiled
def join_heads(rows: Rows, heads: Rows, sums: Rows, part: Any) -> None:
    """Rows of all heads side by side, and their sum."""
    width, total = heads.shape[2], sums[0]
    for row in range(*part):
        for head in range(heads.shape[0]):
            start = head * width
            for place in range(width):
                rows[row, start + place] = heads[head, row, place]
                total[start + place] += _wide(heads[head, row, place])


@compiled
def norm_drop(
    features: Rows, layer: Any, scale: Any, output: Rows, mask: Rows, draw: Any, part: Any
) -> None:
    """Norm, then dropout; its mask too, if there is room for it."""
    weight, bias, epsilon = layer
    columns = features.shape[1]
    values = np.empty(columns, features.dtype)
    places = _places(columns)
    for row in range(*part):
        start = np.uint32(row * columns)
        for column in range(columns):
            values[column] = features[row, column]
        own = _deviations(values, epsilon)
        for column in range(columns):
            kept = _kept(start, places[column], draw, scale)
            value = values[column] * own * weight[column] + bias[column]
            _put(output, row, column, value * kept)
            if mask.shape[0]:
                _put(mask, row, column, kept)


@compiled
def place_norm(
    projected: Rows,
    positions: Rows,
    length: int,
    layer: Any,
    scale: Any,
    normals: Rows,
    inverse: Rows,
    output: Rows,
    draw: Any,
    part: Any,
) -> None:
    """Norm of ReLU plus position, then dropout."""
    weight, bias, epsilon = layer
    columns = projected.shape[1]
    values = np.empty(columns, output.dtype)
    number = values.dtype.type
    places = _places(columns)
    for row in range(*part):
        start = np.uint32(row * columns)
        place = row % length
        for column in range(columns):
            value = _wide(projected[row, column])
            values[column] = (value if value > 0 else value * number(0)) + positions[place, column]
        inverse[row] = own = _deviations(values, epsilon)
        for column in range(columns):
            value = values[column] * own
            _put(normals, row, column, value)
            kept = _kept(start, places[column], draw, scale)
            output[row, column] = (value * weight[column] + bias[column]) * kept


@compiled
def place_norm_backward(
    by_output: Rows,
    projected: Rows,
    normals: Rows,
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
    number = values.dtype.type
    places = _places(columns)
    normal = np.empty(columns, by_output.dtype)
    for row in range(*part):
        start = np.uint32(row * columns)
        place = row % length
        for column in range(columns):
            kept = _kept(start, places[column], draw, scale)
            values[column] = by_output[row, column] * kept
            normal[column] = _wide(normals[row, column])
        _normalise_backward(values, normal, inverse[row], weight, by_weight, by_bias)
        for column in range(columns):
            value = values[column]
            by_positions[place, column] += value
            value = value if _wide(projected[row, column]) > 0 else value * number(0)
            _put(by_projected, row, column, value)
            by_layer_bias[column] += value
