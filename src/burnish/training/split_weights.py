"""Weights in bfloat16 or float16, trained as float32 ones: the bits that rounding takes off are kept beside them.

A weight of 8 or 11 significant bits does not move by less than a 512th or 4,096th of itself, and most updates are
smaller (Zamirai et al. 2020). Here the optimizer works on float32: the upper part of a weight is the model's own,
rounded to nearest, the rest lies in the optimizer's state in 16 bits (Split-SGD-BF16, Kalamkar et al. 2020). Moments
are in float32, too. That takes two bytes a weight where a float32 copy takes four, and loses nothing; of float16's
weights below 8e-6, which it tells apart by 6e-8, a part of what is below that.

What the model computes with would still stand still at first: a base stored in bfloat16 lies in the middle between
two roundings, so that no weight changes before it has moved by half a step, as with any float32 copy. So the lower
bits begin at random, as a dither (Gray and Stockham 1993): the model is the same, but a weight that moves by a tenth
of a step changes with a probability of a tenth, and on average the weights are where they should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from burnish.models.device import LOST_BITS, seeded
from burnish.training.optimizers import parameters_of

LOWER = "lower_bits"  # in the optimizer's state of a parameter: int16, of its shape
PART = 2**24  # weights that are in float32 at once, or one parameter's


def is_split(parameter: Tensor) -> bool:
    """Whether a trained parameter has its lower bits in the optimizer."""
    return parameter.dtype in LOST_BITS


def add_up_in_float32(parameters: Sequence[Tensor], passes: int) -> None:
    """Have the gradients of the next step in float32 where more than one are added up; call it before there are any.

    A single one stays in bfloat16: it is not rounded again. float16 has no room for what is left of a scaled one
    when it is divided by its scale.
    """
    for parameter in parameters:
        if is_split(parameter):
            wide = passes > 1 or parameter.dtype == torch.float16
            parameter.grad_dtype = torch.float32 if wide else parameter.dtype


@torch.no_grad()
def take_step(optimizer: torch.optim.Optimizer) -> None:
    """A step of an optimizer whose updates are element by element; those in 16 bits as described above."""
    parameters = parameters_of(optimizer)
    gradients = {place: p.grad for place, p in enumerate(parameters) if is_split(p) and p.grad is not None}
    if not gradients:
        optimizer.step()
        return
    split = {place: parameters[place] for place in gradients}
    for parameter in split.values():
        parameter.grad = None
    if any(parameter.grad is not None for parameter in parameters):
        optimizer.step()
    for parameter in parameters:  # an optimizer passes over those without a gradient
        parameter.grad = None
    for places in _parts(split):
        _step_in_float32(optimizer, {place: split[place] for place in places}, gradients)


def _step_in_float32(
    optimizer: torch.optim.Optimizer, parameters: dict[int, Tensor], gradients: dict[int, Tensor]
) -> None:
    """The parameters become float32 for as long as the optimizer sees them. They have no gradients afterwards."""
    held = {place: (p.data, _lower(optimizer, place, p)) for place, p in parameters.items()}
    for place, parameter in parameters.items():
        parameter.data = joined(*held[place])
        parameter.grad_dtype = torch.float32
        parameter.grad = gradients.pop(place).float()
    optimizer.step()
    for place, parameter in parameters.items():
        upper, lower = held[place]
        parameter.grad = None
        split_into(parameter.data, upper, lower)
        parameter.data = upper
        parameter.grad_dtype = upper.dtype
        optimizer.state[parameter][LOWER] = lower  # not before: optimizers begin where a state is empty


def joined(upper: Tensor, lower: Tensor) -> Tensor:
    """The float32 numbers of an upper part in 16 bits and the rest in int16."""
    numbers = upper.float()
    numbers.view(torch.int32).add_(lower)  # as integers: so many float32 numbers further on
    return numbers


def split_into(numbers: Tensor, upper: Tensor, lower: Tensor) -> None:
    """`joined` undone, into tensors that are there. numbers in float32 are overwritten."""
    bits = numbers.view(torch.int32)
    if upper.dtype == torch.bfloat16:
        lower.copy_(bits)  # the lower 16 bits, with a sign
        bits.add_(2**15).bitwise_right_shift_(16)
        upper.view(torch.int16).copy_(bits)
        return
    upper.copy_(numbers)
    lower.copy_(bits.sub_(upper.float().view(torch.int32)).clamp_(-(2**15), 2**15 - 1))


def widen(parameters: Sequence[Tensor]) -> torch.dtype | None:
    """Put both parts into each parameter in 16 bits, which becomes one in float32; the format that they had.

    None when there were none. For weights that are cut over processes: what they compute with is rounded from float32
    as it is gathered.
    """
    split = {place: parameter for place, parameter in enumerate(parameters) if is_split(parameter)}
    formats = [parameter.dtype for parameter in split.values()]
    for place, parameter in split.items():
        parameter.data = joined(parameter.data, _dither(place, parameter))
    return formats[0] if formats else None


def moved_below(optimizer: torch.optim.Optimizer, parameter: Tensor) -> bool:
    """Whether the lower bits of a split parameter are not those that it began with."""
    if not is_split(parameter):
        return False
    places = (place for place, one in enumerate(parameters_of(optimizer)) if one is parameter)
    place = next(places, None)
    if place is None or LOWER not in optimizer.state[parameter]:
        return False
    return not torch.equal(optimizer.state[parameter][LOWER], _dither(place, parameter))


def _lower(optimizer: torch.optim.Optimizer, place: int, parameter: Tensor) -> Tensor:
    """The lower bits of a parameter as they are now."""
    state = optimizer.state.get(parameter, {})
    found: Tensor | None = state.get(LOWER)
    return _dither(place, parameter) if found is None else found


def _dither(place: int, parameter: Tensor) -> Tensor:
    """Lower bits at random, int16 of the parameter's shape: the same in every process, others for every place."""
    draw = seeded(parameter.device, place)
    most = 2 ** (LOST_BITS[parameter.dtype] - 1)  # half of what the format tells apart
    lower = torch.empty_like(parameter, dtype=torch.int16).random_(-most, most, generator=draw)
    return lower.masked_fill_(parameter == 0, 0)  # there is nothing below 0: another sign is another upper bit


def _parts(parameters: dict[int, Tensor]) -> Iterator[list[int]]:
    """Places of the parameters that are in float32 together."""
    some: list[int] = []
    for place, parameter in parameters.items():
        if some and sum(parameters[one].numel() for one in some) + parameter.numel() > PART:
            yield some
            some = []
        some.append(place)
    if some:
        yield some
