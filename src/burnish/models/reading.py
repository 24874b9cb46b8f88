"""Around transformers' loaders: errors that name the model, and no output of their own."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

from burnish.errors import ModelError, first_line

# What transformers says is missing when it has to convert a tokenizer, and what to install for it.
TOKENIZER_PACKAGES = {"tiktoken": "sentencepiece tiktoken", "mistral-common": "mistral-common"}


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn a loader's failure into an error that names the model."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = first_line(error) or type(error).__name__
        if "backend tokenizer" in reason:
            raise ModelError(
                "the model has no tokenizer",
                got=name,
                where="model",
                fix="put its tokenizer.json and tokenizer_config.json beside the weights (tokenizer.save_pretrained)",
            ) from error
        packages = next((packages for word, packages in TOKENIZER_PACKAGES.items() if word in reason.lower()), None)
        if packages is not None:
            raise ModelError(
                "the model comes without a tokenizer.json",
                got=name,
                where="model",
                fix=f"put one beside the weights, or, to have its tokenizer converted: pip install {packages}",
            ) from error
        raise ModelError(
            f"the model cannot be read: {reason}",
            got=name,
            where="model",
            fix="give a causal language model saved as safetensors or GGUF, whose files are complete",
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars, log lines or warnings of the loaders; Burnish reports by itself."""
    from transformers.utils import logging as transformers_logging

    levels = {name: logging.getLogger(name).level for name in ("transformers", "accelerate", "peft")}
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        # The GGUF reader draws its own bar on stderr whatever it is told.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
