"""Which model to try: candidates ranked by fit, from records. Nothing is loaded or looked up here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could be tuned. parameters: their number. languages: names of those it was trained on, empty when
    not known. licence: SPDX name, None when not known. memory: bytes that its training takes (burnish estimate),
    None when not known. bits_per_character: of the user's own text, None when not measured: per token is not
    comparable, since every model cuts text differently (Gao et al. 2020, The Pile, section 3.1). context: tokens."""

    name: str
    parameters: int
    languages: tuple[str, ...] = ()
    licence: str | None = None
    memory: int | None = None
    bits_per_character: float | None = None
    context: int | None = None


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model has to fit. language: its name; licences: those allowed, empty for any; memory: bytes there are;
    context: tokens of the longest example."""

    language: str | None = None
    licences: tuple[str, ...] = ()
    memory: int | None = None
    context: int | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate's place. fits: nothing rules it out. against: what rules it out or speaks against it; remarks: what
    is not known of it or speaks for it, one sentence each."""

    candidate: Candidate
    fits: bool
    against: tuple[str, ...]
    remarks: tuple[str, ...]


LEVEL = 0.02  # bits per character that count as equal: the smaller model is then taken


def rank(candidates: Iterable[Candidate], needs: Needs) -> tuple[Ranked, ...]:
    """Those that fit first; among them by bits per character of the user's own text (the domain), in steps of
    LEVEL, then the smaller one, then by name. Models whose text fit was not measured come after those measured,
    the larger ones first, since a larger model of the same kind fits text better (Kaplan et al. 2020, equation 1.1).
    """
    judged = [_judge(candidate, needs) for candidate in candidates]
    return tuple(sorted(judged, key=_order))


def _order(ranked: Ranked) -> tuple[bool, bool, float, int, str]:
    one = ranked.candidate
    bits = one.bits_per_character
    if bits is None:
        return not ranked.fits, True, 0.0, -one.parameters, one.name
    return not ranked.fits, False, round(bits / LEVEL), one.parameters, one.name


def _judge(one: Candidate, needs: Needs) -> Ranked:
    against: list[str] = []
    remarks: list[str] = []
    if needs.language is not None:
        if not one.languages:
            remarks.append("which languages it was trained on is not known")
        elif needs.language.lower() not in _lower(one.languages):
            against.append(f"was not trained on {needs.language}")
    if needs.licences:
        if one.licence is None:
            against.append("its licence is not known")
        elif one.licence.lower() not in _lower(needs.licences):
            against.append(f"its licence is {one.licence}")
    if needs.memory is not None:
        if one.memory is None:
            remarks.append("the memory of its training is not known: `burnish estimate` tells")
        elif one.memory > needs.memory:
            against.append(f"its training takes {_gib(one.memory)} of the {_gib(needs.memory)} there are")
    if needs.context is not None and one.context is not None and one.context < needs.context:
        against.append(
            f"its context of {one.context:,} tokens is shorter than the longest example ({needs.context:,})"
        )
    if one.bits_per_character is None:
        remarks.append("how well it predicts your own text was not measured")
    else:
        remarks.append(f"{one.bits_per_character:.3f} bits a character on your own text")
    return Ranked(one, not against, tuple(against), tuple(remarks))


def _lower(words: Sequence[str]) -> set[str]:
    return {word.lower() for word in words}


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GB"
