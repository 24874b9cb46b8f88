"""Tokenizers that cut texts as their models were trained with.

transformers rebuilds a tokenizer from its vocabulary and the class that a folder names, and some classes put their
own way of cutting in the place of the one in tokenizer.json (GPT2Tokenizer, LlamaTokenizer: transformers #45812,
#45920, #48206). From a GGUF file it rebuilds what it knows by name. A model that reads other tokens than it was
trained with answers worse, and nothing says why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from burnish.models.reading import quiet_transformers, reading
from burnish.progress import Progress

# Where ways of cutting part: numbers, white space, contractions, other scripts, symbols that count as numbers.
SAMPLES = (
    "In 2023, order 650841823 cost 12.50 €; 3 ½ months ² ① later",
    "hello  world, don't we'LL y'all\n\n\tdef f(x):\n        return {'a': [1,2]}\r\n",
    " leading and trailing ",
    "日本語 café 🙂 Việt русский العربية हिन्दी",
)
# Names in GGUF files (tokenizer.ggml.pre) of tokenizers that keep a piece whole where it is a token, merges or not;
# that cut numbers into digits; and that put punctuation apart and cut numbers by three digits.
WHOLE_PIECES = frozenset({"llama-bpe", "llama3", "llama-v3", "tekken", "pixtral"})
SINGLE_DIGITS = frozenset(
    {"smollm", "starcoder", "refact", "command-r", "codeshell", "deepseek-llm", "deepseek-coder"}
)
FALCON = "falcon"


def read_tokenizer(name: str, folder: Path, progress: Progress) -> Any:
    """The tokenizer in the folder of a model, as its tokenizer.json says; a notice where its class says otherwise.

    Raises ModelError, naming the model, when it cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    with quiet_transformers(), reading(name):
        # Llama 3's settings ask for spaces to be dropped when decoding, which transformers ignores with a warning.
        options = {"trust_remote_code": False, "clean_up_tokenization_spaces": False}
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        if type(tokenizer) is PreTrainedTokenizerFast or _cuts_as_written(tokenizer, folder / "tokenizer.json"):
            return tokenizer
        as_written = PreTrainedTokenizerFast.from_pretrained(folder, **options)
    progress.notice(
        f"texts are cut into tokens as {name}'s tokenizer.json says; transformers' {type(tokenizer).__name__} would "
        "cut some otherwise"
    )
    return as_written


def tokenizer_of_gguf(file: Path) -> Any:
    """The tokenizer of a GGUF file, cutting texts as the one that the file was made from. Errors as above."""
    from transformers import AutoTokenizer

    with quiet_transformers(), reading(str(file)):
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    pre = _name_of_cuts(file)
    if pre in WHOLE_PIECES:
        tokenizer.backend_tokenizer.model.ignore_merges = True
    cuts = _cuts(pre)
    if cuts is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = cuts
    return tokenizer


def _cuts_as_written(tokenizer: Any, file: Path) -> bool:
    """Whether a tokenizer makes of texts what the file says, there and back."""
    from tokenizers import Tokenizer

    if not file.exists():
        return True
    written = Tokenizer.from_file(str(file))
    written.no_truncation()
    written.no_padding()
    return all(_reads_alike(tokenizer, written, sample) for sample in SAMPLES)


def _reads_alike(tokenizer: Any, written: Any, text: str) -> bool:
    tokens = written.encode(text, add_special_tokens=False).ids
    same_text = tokenizer.decode(tokens, skip_special_tokens=True) == written.decode(tokens)
    return bool(same_text and tokenizer.encode(text, add_special_tokens=False) == tokens)


def _name_of_cuts(file: Path) -> str:
    from gguf import GGUFReader

    field = GGUFReader(file).fields.get("tokenizer.ggml.pre")
    return "" if field is None else str(field.contents())


def _cuts(pre: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre in SINGLE_DIGITS:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    if pre == FALCON:
        numbers = [pre_tokenizers.Digits(), pre_tokenizers.Split(Regex("[0-9]{3}"), behavior="isolated")]
        return pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), words, *numbers])
    return None
