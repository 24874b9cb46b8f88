"""Secrets in text: keys and tokens by the forms their issuers publish, private keys, passwords that are given."""

from __future__ import annotations

import re

from burnish.data.checks.spans import Pattern, Span, find_spans, has_any

# Forms that issuers document; each begins with something that ordinary text does not hold.
_TOKENS = (
    r"(?:AKIA|ASIA)[A-Z0-9]{16}",  # AWS access key id
    r"gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{22,255}",
    r"glpat-[A-Za-z0-9_-]{20,}",
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}",  # Slack
    r"AIza[A-Za-z0-9_-]{35}",  # Google
    r"ya29\.[A-Za-z0-9_-]{20,}",
    r"sk-(?:ant-|proj-|svcacct-|or-)?[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic, OpenRouter
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
    r"hf_[A-Za-z0-9]{30,}",
    r"npm_[A-Za-z0-9]{30,}",
    r"pypi-[A-Za-z0-9_-]{50,}",
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"SK[0-9a-f]{32}",  # Twilio
    r"dop_v1_[a-f0-9]{64}",
    r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",  # JSON Web Token
    r"\d{8,10}:AA[A-Za-z0-9_-]{33}",  # Telegram
    r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}",
)
_HAS_LEAD = has_any(
    "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "AIza", "ya29.", "sk-",
    "_live_", "_test_", "hf_", "npm_", "pypi-", "SG.", "SK", "dop_v1_", "shpat_", "shpca_", "shppa_", "shpss_", "eyJ",
    ":AA", "hooks.slack",
)  # fmt: skip
_IS_GIVEN = has_any("pass", "pwd", "secret", "token", "key", "bearer", fold=True)
_HAS_ADDRESS = has_any("://")


def _is_dense(text: str) -> bool:
    """Letters and digits mixed, as generated keys are and words are not."""
    return any(sign.isdigit() for sign in text) and sum(sign.isalpha() for sign in text) > 2


def _is_password(text: str) -> bool:
    return len(set(text)) > 3 and any(not sign.isalpha() for sign in text) and any(sign.isalpha() for sign in text)


KNOWN = (
    Pattern(
        "PRIVATE KEY",
        re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z ]+-----|\Z)"),
        has_any("PRIVATE KEY"),
    ),
    Pattern(
        "SECRET",
        re.compile(r"(?<![A-Za-z0-9_])(?:" + "|".join(_TOKENS) + r")(?![A-Za-z0-9])"),
        _HAS_LEAD,
    ),
)
GIVEN = (
    Pattern(
        "SECRET",
        re.compile(r"[a-z][a-z0-9+]{2,20}://[^\s:@/]{1,80}:([^\s@/]{3,80})@[\w.-]+"),  # the password in an address
        _HAS_ADDRESS,
        group=1,
    ),
    Pattern(
        "SECRET",
        re.compile(
            r"(?i)\b(?:api|access|secret|auth|private|client|account)[ _-]?(?:key|token|secret)(?:[ _-]?id)?['\"]?"
            r"(?:\s*[:=]\s*|\s+is\s+)['\"]?([A-Za-z0-9_+/.=-]{16,200})"
        ),
        _IS_GIVEN,
        _is_dense,
        1,
    ),
    Pattern(
        "SECRET",
        re.compile(r"(?i)\b(?:token|secret|bearer)['\"]?(?:\s*[:=]\s*|\s+)['\"]?([A-Za-z0-9_+/.=-]{20,400})"),
        _IS_GIVEN,
        _is_dense,
        1,
    ),
    Pattern(
        "SECRET",
        re.compile(r"(?i)\b(?:password|passwd|passphrase|pwd)['\"]?(?:\s*[:=]\s*|\s+is\s+)['\"]?([^\s'\",;]{6,80})"),
        _IS_GIVEN,
        _is_password,
        1,
    ),
)
SECRETS = KNOWN + GIVEN


def find_secrets(text: str) -> list[Span]:
    """Keys, tokens, private keys and given passwords in a text."""
    return find_spans(text, SECRETS)
