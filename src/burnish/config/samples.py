"""Sample data of `burnish init`: real enough to learn from, made from sentences and lists by a fixed rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from burnish.records import Kind

_ROWS = 240


@dataclass(frozen=True, slots=True)
class Sample:
    """rows: lines of the data file. schema: JSON Schema of the targets (extraction)."""

    rows: list[dict[str, Any]]
    schema: dict[str, Any] | None = None


def _mixed(*lists: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """`_ROWS` combinations of the lists' items, the same every time."""
    combinations = list(product(*lists))
    return iter(Random(7).sample(combinations, min(_ROWS, len(combinations))))


_MESSAGES: dict[str, tuple[str, ...]] = {
    "billing": (
        "I was charged twice this month",
        "the invoice shows the wrong amount",
        "my card was declined but the money is gone",
        "I need a copy of the March invoice with our tax number",
        "why did the price go up without notice",
        "please move our plan to yearly payment",
        "the discount code was not taken off the total",
        "I still see a fee for a plan I cancelled",
    ),
    "delivery": (
        "my parcel has not moved for five days",
        "the courier left the box at the wrong house",
        "can you ship to the office instead of my home",
        "tracking says delivered and nothing is here",
        "when will the second half of the order arrive",
        "I will be away on Friday, please deliver later",
        "the package arrived open and wet",
        "do you ship to the Channel Islands",
    ),
    "returns": (
        "the jacket is too small and I want to send it back",
        "how do I get a label to return the headphones",
        "I sent the shoes back and have no refund yet",
        "can I swap the blue lamp for the green one",
        "the blender stopped working after two days, take it back",
        "is the return free when the item is faulty",
        "I threw the box away, can I still return the kettle",
        "you sent the wrong size, I would like to exchange it",
    ),
    "account": (
        "I cannot sign in since the last update",
        "please change the e-mail address of my profile",
        "the reset link for my password has expired",
        "how do I delete my account and my data",
        "somebody else has logged in to my profile",
        "I do not get the code for the two-step login",
        "can I add a second user to our login",
        "my profile shows another person's name",
    ),
}
_GREETINGS = ("", "Hello, ", "Hi there, ", "Good morning, ")
_ENDINGS = ("", ". Thanks", ". Please help", ", and this is urgent", ". Any news?")


def _classification() -> Sample:
    pairs = [(label, text) for label, texts in _MESSAGES.items() for text in texts]
    rows = []
    for greeting, (label, text), ending in _mixed(_GREETINGS, pairs, _ENDINGS):
        message = f"{greeting}{text}{ending}"
        rows.append({"text": message[0].upper() + message[1:], "label": label})
    return Sample(rows)


_ITEMS = ("nitrile gloves", "copy paper", "green tea", "AA batteries", "face masks", "ink cartridges", "bin liners",
          "coffee beans", "light bulbs", "hand soap")  # fmt: skip
_UNITS = ("boxes", "packs", "cartons")
_CITIES = ("Leeds", "Cork", "Bristol", "Dundee", "Cardiff", "Norwich")
_MONTHS = ("January", "March", "May", "July", "September", "November")
_ORDERS = (
    "{quantity} {unit} of {item} to {city} by {day} {month}",
    "please send {city} {quantity} {unit} of {item}, needed on {day} {month}",
    "{city} is out of {item}: {quantity} {unit} before {day} {month}",
    "need {item} ({quantity} {unit}) in {city}, {month} {day} at the latest",
)
_ORDER_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "item": {"type": "string", "description": "what is ordered"},
        "quantity": {"type": "integer", "minimum": 1},
        "unit": {"type": "string", "enum": list(_UNITS)},
        "city": {"type": "string"},
        "due": {"type": "string", "description": "day and month, such as 4 May"},
    },
    "required": ["item", "quantity", "unit", "city", "due"],
    "additionalProperties": False,
}


def _extraction() -> Sample:
    rows = []
    for form, quantity, unit, item, city, day, month in _mixed(
        _ORDERS, (2, 3, 5, 12, 20, 48), _UNITS, _ITEMS, _CITIES, (2, 9, 14, 21, 28), _MONTHS
    ):
        text = form.format(quantity=quantity, unit=unit, item=item, city=city, day=day, month=month)
        target = {"item": item, "quantity": quantity, "unit": unit, "city": city, "due": f"{day} {month}"}
        rows.append({"text": text, "target": target})
    return Sample(rows, _ORDER_SCHEMA)


_EVENTS = (("mtg", "meeting"), ("demo", "demonstration"), ("trng", "training"), ("1:1", "one-to-one"),
           ("retro", "retrospective"), ("intvw", "interview"))  # fmt: skip
_DAYS = (("mon", "Monday"), ("tue", "Tuesday"), ("wed", "Wednesday"), ("thu", "Thursday"), ("fri", "Friday"))
_TIMES = (("9", "9 am"), ("10.30", "10.30 am"), ("14", "2 pm"), ("15.30", "3.30 pm"), ("17", "5 pm"))
_ROOMS = (("rm A", "in room A"), ("rm B", "in room B"), ("online", "online"), ("cafe", "in the café"))
_NOTES = (
    ("{event} now {day} {time} {room}", "The {event} will now take place on {day} at {time} {room}."),
    ("{event} moved -> {day} {time} {room}", "The {event} has been moved to {day} at {time} {room}."),
    ("pls come {event} {day} {time} {room}", "Please join the {event} on {day} at {time} {room}."),
)


def _generation() -> Sample:
    rows = []
    for (note, sentence), event, day, time, room in _mixed(_NOTES, _EVENTS, _DAYS, _TIMES, _ROOMS):
        words = [{"event": event[i], "day": day[i], "time": time[i], "room": room[i]} for i in (0, 1)]
        rows.append({"prompt": note.format(**words[0]), "completion": sentence.format(**words[1])})
    return Sample(rows)


def _tool(name: str, description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_PLACES = ("kitchen", "bedroom", "office", "hall", "bathroom")
_PLACE = {"type": "string", "enum": list(_PLACES)}
_TOOLS = [
    _tool("set_light", "Set the brightness of a room's light.", room=_PLACE, percent={"type": "integer"}),
    _tool("set_heating", "Set the temperature of a room.", room=_PLACE, celsius={"type": "integer"}),
    _tool("play_music", "Play music in a room.", room=_PLACE, genre={"type": "string"}),
]
_Call = tuple[str, dict[str, Any]]


def _light(room: str, value: int) -> list[tuple[str, _Call]]:
    call = ("set_light", {"room": room, "percent": value * 10})
    texts = (f"dim the {room} light to {value * 10} percent", f"{room} light at {value * 10}%")
    return [(text, call) for text in texts]


def _heat(room: str, value: int) -> list[tuple[str, _Call]]:
    call = ("set_heating", {"room": room, "celsius": value + 15})
    texts = (f"make the {room} {value + 15} degrees", f"heat the {room} to {value + 15}")
    return [(text, call) for text in texts]


def _music(room: str, value: int) -> list[tuple[str, _Call]]:
    genre = ("jazz", "folk", "piano", "soul", "blues", "techno")[value - 3]
    call = ("play_music", {"room": room, "genre": genre})
    return [(text, call) for text in (f"play some {genre} in the {room}", f"{genre} music in the {room}, please")]


def _tool_calling() -> Sample:
    single = [
        request
        for room, value, make in product(_PLACES, range(3, 9), (_light, _heat, _music))
        for request in make(room, value)
    ]
    random = Random(7)
    requests = [[request] for request in random.sample(single, 160)]
    while len(requests) < _ROWS:
        pair = random.sample(single, 2)
        if pair[0][1][0] != pair[1][1][0] and pair not in requests:
            requests.append(pair)
    random.shuffle(requests)
    return Sample([_conversation(request) for request in requests])


def _conversation(request: list[tuple[str, _Call]]) -> dict[str, Any]:
    """One request as a row in OpenAI's format."""
    text = " and ".join(part.removesuffix(", please") for part, _ in request)
    calls = [
        {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for index, (_, (name, arguments)) in enumerate(request)
    ]
    answer = {"role": "assistant", "content": None, "tool_calls": calls}
    return {"messages": [{"role": "user", "content": text[0].upper() + text[1:]}, answer], "tools": _TOOLS}


_STEPS = {
    "billing": "I have asked our billing team to look at the amount, and you will hear from them within two days.",
    "delivery": "I am asking the courier where it is and will write to you with the answer before tomorrow noon.",
    "returns": "I have put a return label into your account; once we have it back, the money follows in five days.",
    "account": "Please open Settings, then Security, and choose Reset: a new code is on its way to your e-mail.",
}
_OPENINGS = ("I am sorry about that. ", "Thank you for telling us. ", "", "")
_CLOSINGS = (
    "",
    "",
    " Write to me by name if anything is unclear.",
    " I will look into it again myself on Monday, and you can write to me by name until then.",
)
# As often longer as shorter than the helpful answers, so that length gives nothing away.
_UNHELPFUL = (
    "No idea.",
    "Please do not write about this again. You are not the only customer we have.",
    "Everything that can be said about this is in the terms on our website. Read them before you write.",
    "Please read the terms on our website before you write: they say everything that can be said about this, and "
    "most customers find their answer there without us.",
    "You should have looked at this before you placed the order. Nothing can be done about it now, and I do not see "
    "what you expect of us after all this time.",
    "We get many messages of this kind every day and cannot answer all of them, so please be patient, look for the "
    "answer yourself, and do not write again before two weeks have passed.",
    "This is not how our service works, and it says so in many places. I could explain it to you, but others have "
    "waited longer, and most of them have real problems. Perhaps somebody else will find the time one day.",
)


def _preference() -> Sample:
    pairs = [(label, text) for label, texts in _MESSAGES.items() for text in texts]
    random = Random(11)
    rows = []
    for greeting, (label, text), ending in _mixed(_GREETINGS, pairs, _ENDINGS):
        prompt = f"{greeting}{text}{ending}"
        chosen = f"{random.choice(_OPENINGS)}{_STEPS[label]}{random.choice(_CLOSINGS)}"
        rows.append(
            {"prompt": prompt[0].upper() + prompt[1:], "chosen": chosen, "rejected": random.choice(_UNHELPFUL)}
        )
    return Sample(rows)


SAMPLES: dict[Kind, Callable[[], Sample]] = {
    "classification": _classification,
    "extraction": _extraction,
    "generation": _generation,
    "tool_calling": _tool_calling,
    "preference": _preference,
}
