"""Which language a text is in, as far as its letters and a few common words tell: enough to see the odd one."""

from __future__ import annotations

import re

_SCRIPTS = (
    ("Cyrillic", re.compile("[\u0400-\u04ff]")),
    ("Greek", re.compile("[\u0370-\u03ff]")),
    ("Arabic", re.compile("[\u0600-\u06ff]")),
    ("Hebrew", re.compile("[\u0590-\u05ff]")),
    ("Devanagari", re.compile("[\u0900-\u097f]")),
    ("Thai", re.compile("[\u0e00-\u0e7f]")),
    ("Korean", re.compile("[\uac00-\ud7af\u1100-\u11ff]")),
    ("Japanese", re.compile("[\u3040-\u30ff]")),
    ("Chinese", re.compile("[\u4e00-\u9fff]")),
)
# Common words that the other languages here do not have; accents are kept.
_COMMON = {
    "English": "the and is are was were of to with for this that you your have has what which how not be it they",
    "German": "der die das und ist nicht ein eine einen ich sie wir mit von auf für dem den des wie wird sind werden",
    "French": "le les des est une dans pour que qui avec vous nous je sur pas sont être cette ce aux du et par plus",
    "Spanish": "el los las es una por que con para del no se como más está su al lo pero son muy tiene y mi",
    "Italian": "il gli che di non è una per con sono della del nel questo come alla più anche ha si lo le",
    "Portuguese": "os as é um uma não com para por que em do da dos das como mais são você seu ao foi mas",
    "Dutch": "het een en van niet dat op zijn voor met aan er ik je wij deze wordt naar ook hoe worden bij",
    "Polish": "nie się jest na że do to jak czy dla od przez są tym który co po za ale być",
    "Swedish": "och att det som en är på inte för med av till den har jag kan om ett hur vad",
}
_WORDS: dict[str, list[str]] = {}
for _name, _words in _COMMON.items():
    for _word in _words.split():
        _WORDS.setdefault(_word, []).append(_name)
_LOOK = 400  # characters
_LEAST = 4  # different common words that a language needs


def language(text: str) -> str | None:
    """The language of a text by its letters or its common words; None where they do not tell."""
    text = text[:_LOOK]
    if not text.isascii():
        letters = sum(map(str.isalpha, text))
        for name, letter in _SCRIPTS:
            count = len(letter.findall(text))
            if 2 * count > letters >= 4 or (name == "Japanese" and count >= 4):  # most of its letters are Chinese
                return name
    counts: dict[str, int] = {}
    for word in _WORDS.keys() & text.lower().split():
        for name in _WORDS[word]:
            counts[name] = counts.get(name, 0) + 1
    if not counts:
        return None
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    second = ordered[1][1] if len(ordered) > 1 else 0
    return ordered[0][0] if ordered[0][1] >= _LEAST and ordered[0][1] >= 2 * second else None
