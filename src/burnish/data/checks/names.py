"""Names of persons in text, as presidio-analyzer and a spaCy model of the user's see them (burnish[presidio]).

Nothing is downloaded here: Presidio by itself would fetch a model that is missing.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

from burnish.data.checks.spans import Span
from burnish.errors import ConfigError

MODEL = "en_core_web_lg"  # Presidio's own choice for English
_LEAST = 0.5  # Presidio's score

FindNames = Callable[[str], list[Span]]


def name_finder(model: str = MODEL) -> FindNames:
    """A function that finds names of persons in a text. model: an installed package or a folder, of spaCy.

    Raises ConfigError when presidio-analyzer or the model is not there.
    """
    try:
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider
    except ImportError:
        fix = 'pip install "burnish[presidio]", or leave names out (check.names: false)'
        raise ConfigError(
            "finding names of persons needs the package presidio-analyzer", where="check.names", fix=fix
        ) from None
    language = _language(model)
    settings = {"nlp_engine_name": "spacy", "models": [{"lang_code": language, "model_name": model}]}
    engine = NlpEngineProvider(nlp_configuration=settings).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=[language])

    def find(text: str) -> list[Span]:
        if not text.strip():
            return []
        found = analyzer.analyze(text=text, language=language, entities=["PERSON"], score_threshold=_LEAST)
        spans: list[Span] = []
        for one in sorted(found, key=lambda result: (result.start, -result.end)):
            if not spans or one.start >= spans[-1].end:
                spans.append(Span(one.start, one.end, "NAME"))
        return spans

    return find


def _language(model: str) -> str:
    """The language of a spaCy model: a folder's is in its meta.json, a package's begins its name."""
    if Path(model).is_dir():
        try:
            return str(json.loads((Path(model) / "meta.json").read_bytes())["lang"])
        except (OSError, ValueError, KeyError):
            fix = "name a folder that spaCy saved (nlp.to_disk), or an installed package"
            raise ConfigError(
                "the folder holds no spaCy model", got=model, where="check.names_model", fix=fix
            ) from None
    if not model.isidentifier() or importlib.util.find_spec(model) is None:
        fix = f"python -m spacy download {MODEL}, or name one that is installed, or its folder"
        raise ConfigError("there is no such spaCy model", got=model, where="check.names_model", fix=fix)
    return model.partition("_")[0]
