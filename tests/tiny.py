"""A tiny random model and tokenizer for tests of what does not depend on what a model knows."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from burnish.models.attention import choose_attention
from burnish.models.chat import Chat
from burnish.models.load import Loaded, load_model

TEMPLATE = (
    "{% for message in messages %}{{ '<s>' + message['role'] + '\n' + message['content'] + '</s>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)


def tiny_tokenizer() -> Any:
    """Byte-level, so that every text can be written; 300 entries."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(["the cat sat on the mat and the dog ran to the user assistant system"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def tiny_config(**changes: Any) -> LlamaConfig:
    values: dict[str, Any] = {
        "vocab_size": 304,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(**values | changes)


def tiny_model(
    config: Any = None, attention: str = "burnish", seed: int = 0, dtype: torch.dtype = torch.float32
) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config or tiny_config()), dtype=dtype)
    if attention == "burnish":
        choose_attention(model, "cpu")
    else:
        model.set_attn_implementation(attention)
    model.requires_grad_(False)
    return model.eval()


def tiny_loaded(**options: Any) -> tuple[Loaded, Chat]:
    """A loaded tiny model with its chat template."""
    tokenizer = tiny_tokenizer()
    model = tiny_model(**options)
    return Loaded(model, tokenizer, "tiny", "0" * 64, "cpu", model.dtype), Chat(tokenizer)


def tiny_for(method: str, **options: Any) -> tuple[Loaded, Chat]:
    """A loaded tiny model in the form that the method trains on."""
    if method != "qlora":
        return tiny_loaded(**options)
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_model(str(save_tiny(Path(folder))), dtype="float32", quantise="nf4")
    return loaded, Chat(loaded.tokenizer)


def save_tiny(folder: Path, config: Any = None) -> Path:
    """A tiny model on disk, as a user's own folder."""
    tiny_model(config, attention="eager").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
