"""Personal data in text: e-mail addresses, phone and card numbers, IBAN, US social security numbers, IP addresses.

Numbers with a checksum are checked by it: cards by Luhn's formula (ISO/IEC 7812-1) and the digits that issuers use,
IBAN by ISO 13616's length of the country and remainder 97 (ISO 7064). Names and addresses are not looked for.
"""

from __future__ import annotations

import ipaddress
import re

from burnish.data.checks.spans import Pattern, Span, find_spans, has_any

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24,
    "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip

_DIGITS = re.compile(r"\d(?:[ .()/-]{0,2}\d){6}")  # seven digits that may belong together
_IBAN_START = re.compile(r"[A-Za-z]{2}\d{2}[ ]?[A-Za-z0-9]{4}")
_NOT_DIGIT = re.compile(r"\D")


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(text: str) -> bool:
    """Whether the digits can be a payment card's: an issuer's first digits, its length, Luhn's check digit."""
    digits = _NOT_DIGIT.sub("", text)
    if len(set(digits)) < 2 or not luhn(digits):
        return False
    lengths = {"3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "6": (16, 17, 18, 19), "2": (16,)}.get(digits[0], ())
    return len(digits) in lengths and (digits[0] != "2" or 2221 <= int(digits[:4]) <= 2720)


def is_iban(text: str) -> bool:
    """Whether a text is an IBAN of a country that has them, with the right check digits (ISO 13616)."""
    compact = text.replace(" ", "").upper()
    if len(compact) != IBAN_LENGTHS.get(compact[:2]):
        return False
    return int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 == 1


def _is_phone(text: str) -> bool:
    digits = _NOT_DIGIT.sub("", text)
    return 7 <= len(digits) <= 15 and len(set(digits)) > 2


def _is_ip(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 4 and max(address.packed) < 10:  # a section's or a version's number
        return False
    return not address.is_loopback and not address.is_unspecified and text != "255.255.255.255"


def _has_digits(text: str) -> bool:
    return _DIGITS.search(text) is not None


_LONE = r"(?<![\w.+/=-])"  # not in the middle of a word, a number, a path
_END = r"(?![\w/=]|[.-]\w)"

EMAIL = Pattern(
    "EMAIL",
    re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}\b"),
    has_any("@"),
)
CARD = Pattern("CARD", re.compile(_LONE + r"\d(?:[ -]?\d){12,18}" + _END), _has_digits, is_card)
IBAN = Pattern(
    "IBAN",
    re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])"),
    lambda text: _has_digits(text) and _IBAN_START.search(text) is not None,
    is_iban,
)
SSN = Pattern("SSN", re.compile(_LONE + r"(?!000|666|9)\d{3}([ -])(?!00)\d{2}\1(?!0000)\d{4}" + _END), _has_digits)
PHONE = Pattern(
    "PHONE",
    re.compile(
        r"(?<![\w.+/=-])(?:"
        r"\+\d{1,3}[ .()/-]{0,3}\d(?:[ .()/-]{0,2}\d){5,12}"  # +44 20 7946 0958
        r"|(?<!\d )(?:"
        r"(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?: ?(?:x|ext\.?) ?\d{1,5})?"  # (212) 555-0123
        r"|0\d{1,4}[ /-]\d{3,4}[ -]?\d{3,5}"  # 020 7946 0958, 030/1234567
        r"|0\d{1,2}(?: \d{2}){4}"  # 01 23 45 67 89
        r")(?! \d))" + _END
    ),
    _has_digits,
    _is_phone,
)
SAID_PHONE = Pattern(
    "PHONE",
    re.compile(
        r"(?i)\b(?:tel|telephone|phone|mobile|cell|whatsapp|fax|call me(?: at| on)?)(?: number)?(?: is)?[.:]{0,2} ?"
        r"(\+?\d[\d .()/-]{5,16}\d)" + _END
    ),
    _has_digits,
    _is_phone,
    1,
)
IP = Pattern(
    "IP",
    re.compile(
        r"(?<![\w.:])(?<!ersion )(?<!ection )(?<!hapter )"
        r"(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:]|\.\d)"
    ),
    lambda text: text.count(".") > 2 or text.count(":") > 1,
    _is_ip,
)

PERSONAL = (EMAIL, IBAN, CARD, SSN, PHONE, SAID_PHONE, IP)


def find_personal(text: str) -> list[Span]:
    """The personal data in a text."""
    return find_spans(text, PERSONAL)
