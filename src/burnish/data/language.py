"""In which language a text probably is: by its script, and in Latin letters by frequent small words.

Good enough to split a test into slices or to see the odd answer, and no more: texts of a few words, code, names and
mixed texts are left unnamed, most languages without a list here too, and close relatives (Danish and Norwegian) are
taken for one another.
"""

from __future__ import annotations

import re
from collections import Counter

# Words that are frequent in one of these languages; several may share one, which then speaks for neither.
_WORDS = {
    "English": (
        "the and of to is in that it was for with you this are have not my what how can be on at from "
        "were your has which they do i if will when where we"
    ),
    "German": (
        "der die das und ist nicht ich ein eine mit zu auf für wie kann mein von den dem sich auch bei "
        "wird einen sie wir des sind werden"
    ),
    "French": (
        "le les des et est une que je pas pour dans sur avec mon vous ce qui comment ma au du cette sont "
        "nous être aux par plus"
    ),
    "Spanish": (
        "el los las y es una que no por con mi para cómo del puedo se está qué lo su más como al tengo "
        "pero son muy tiene"
    ),
    "Italian": (
        "il lo gli e è una che non per con mio di del della come sono posso ho mia alla questo anche nel più ha si le"
    ),
    "Portuguese": (
        "o os as e é uma que não por com meu para do da como posso em minha são mais ao está no na um dos "
        "das você seu foi mas"
    ),
    "Dutch": (
        "de het een en is niet ik van mijn voor met op dat hoe kan zijn er te naar worden ook aan bij je "
        "wij deze wordt"
    ),
    "Swedish": ("och är det en att jag inte på min för som med hur kan av till har mitt ett vad om den från"),
    "Danish": ("og er det en at jeg ikke på min for som med hvordan kan af til har mit et hvad om den fra"),
    "Polish": ("i jest nie na to się w z do jak mój że czy moje mogę od dla po ale co za przez są tym który być"),
    "Turkish": ("ve bir bu için ne nasıl ile çok mi benim değil da de var ama daha gibi kadar olarak sonra"),
}
_SCRIPTS = (
    ("Japanese", re.compile("[\u3040-\u30ff]")),  # kana; without them, Han letters are taken for Chinese
    ("Korean", re.compile("[\uac00-\ud7af\u1100-\u11ff]")),
    ("Chinese", re.compile("[\u4e00-\u9fff]")),
    ("Cyrillic script", re.compile("[\u0400-\u04ff]")),
    ("Greek", re.compile("[\u0370-\u03ff]")),
    ("Arabic script", re.compile("[\u0600-\u06ff]")),
    ("Hebrew", re.compile("[\u0590-\u05ff]")),
    ("Indic scripts", re.compile("[\u0900-\u0dff]")),
    ("Thai", re.compile("[\u0e00-\u0e7f]")),
)
_OF: dict[str, list[str]] = {}  # word -> the languages that have it
for _name, _words in _WORDS.items():
    for _word in _words.split():
        _OF.setdefault(_word, []).append(_name)
_WORD = re.compile(r"[^\W\d_]+")
_LOOKED_AT = 1000  # characters
_FEWEST = 3  # different known words, or letters of a script, that name a language
_AHEAD = 2  # times as many as the next language has


def guess_language(text: str) -> str | None:
    """The language, or the script where it is shared by several; None when that cannot be told."""
    text = text[:_LOOKED_AT]
    if not text.isascii():
        letters = sum(map(str.isalpha, text))
        for name, pattern in _SCRIPTS:
            found = len(pattern.findall(text))
            if found >= _FEWEST and found >= (0.1 if name == "Japanese" else 0.5) * letters:
                return name
    known = Counter(name for word in _OF.keys() & set(_WORD.findall(text.lower())) for name in _OF[word])
    (name, most), (_, second) = [*known.most_common(2), ("", 0), ("", 0)][:2]
    return name if most >= _FEWEST and most >= _AHEAD * second else None
