"""What is wrong with hosted models and with the names of baselines."""

from __future__ import annotations

import re
from typing import get_args
from urllib.parse import urlsplit

from burnish.config.base import Report
from burnish.config.hosted import HostedConfig
from burnish.config.settings import BaselineName, TaskConfig
from burnish.config.words import nearest
from burnish.config.yaml_tree import Key

SYSTEMS: tuple[str, ...] = (*get_args(BaselineName), "tuned")


def check_hosted(config: TaskConfig, report: Report) -> None:
    """Report names that collide or mean nothing, addresses that are none, and what private inputs forbid."""
    names = [one.name for one in config.hosted]
    for index, one in enumerate(config.hosted):
        key: Key = ("hosted", index)
        if one.name in SYSTEMS:
            what = "this is the name of a system of Burnish's own"
            report((*key, "name"), what, one.name, "give the hosted model another name")
        elif one.name in names[:index]:
            report((*key, "name"), "the name appears twice", one.name, "give each hosted model its own name")
        _check_address(one, key, report)
        if config.context.private and not one.own_machine:
            what = "inputs may not leave the own machines (context.private), and this model is hosted elsewhere"
            fix = "delete it, or set own_machine: true where the endpoint is yours"
            report((*key, "base_url"), what, one.base_url, fix)
    for index, name in enumerate(config.baselines):
        if name in names and config.kind == "preference":
            what = "hosted models are not for kind preference: a pair of answers is compared by likelihood"
            report(("baselines", index), what, name, "delete it")
        elif name not in names and name not in get_args(BaselineName):
            known = [*get_args(BaselineName), *names]
            near = nearest(name, known)
            fix = f"did you mean {near}?" if near else "or describe it under hosted: {name, model, base_url}"
            report(("baselines", index), f"must be one of {', '.join(known)}", name, fix)


def _check_address(one: HostedConfig, key: Key, report: Report) -> None:
    try:
        parts = urlsplit(one.base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good, parts = False, urlsplit("")
    fix = "write it like https://api.openai.com/v1"
    if not good:
        report((*key, "base_url"), "is no address of an API", one.base_url, fix)
    elif parts.username or parts.password or parts.query:
        # Not shown: it may hold a key.
        what = "an address with a user, a password or a query in it would be kept in the run folder"
        report((*key, "base_url"), what, None, f"{fix}; the key goes into the environment variable of api_key_env")
    elif one.base_url.rstrip("/").endswith("/chat/completions"):
        report((*key, "base_url"), "ends in /chat/completions, which is added", one.base_url, fix)
    if one.api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", one.api_key_env):
        # Not shown: it may be the key itself.
        what = "is no name of an environment variable; a key does not belong into a task file"
        report((*key, "api_key_env"), what, None, "put the key into a variable and name it: OPENAI_API_KEY")
