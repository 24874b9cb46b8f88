"""What a run trained as a folder for others: plain weights with the adapter in them, or the adapter.

Merged weights are written only when they answer as the trained model does: held-out prompts are replayed, since
models that are good in training and garbage after a merge are among the commonest complaints of the field
(LLaMA-Factory #5232, #10596; unsloth #976, #2142).
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from burnish.errors import ModelError, RunError
from burnish.models.adapters import (
    WEIGHTS_FILE,
    AdapterInfo,
    load_adapter,
    load_tuned,
    read_info,
    write_adapter,
    write_info,
)
from burnish.models.chat import Chat
from burnish.models.corrected import START_FILE, for_full_weights
from burnish.models.generate import Engine, Request
from burnish.models.load import Loaded, load_model
from burnish.models.merge import UNMERGEABLE, merge_adapter, rounded_at_random
from burnish.progress import Progress, Silent
from burnish.records import Message
from burnish.runs import MANIFEST, commit_folder, verify_folder

# How much less likely, in nats, another greedy token may be under the trained model for rounding to explain it:
# numbers, stored or computed with, are rounded to 24, 11 and 8 significant bits. Chosen, not measured.
TOLERANCE = {torch.float32: 0.01, torch.float16: 0.1, torch.bfloat16: 0.5}
ANSWER_TOKENS = 64
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Replay(NamedTuple):
    """What the replay of held-out prompts found.

    prompts: how many; same: of these, answered with the same tokens; widest_gap: of the others, the largest
    difference in log-probability, in nats, between the two tokens at the first place where the answers part, under
    the trained model; tolerance: how large it may be.
    """

    prompts: int
    same: int
    widest_gap: float
    tolerance: float


def export_merged(
    adapter: Path,
    out: Path,
    prompts: Sequence[Sequence[Message]],
    *,
    base_dir: Path | None = None,
    progress: Progress | None = None,
) -> Replay:
    """Write plain weights, in the base's own number format, with tokenizer, template and generation settings.

    adapter: the folder that a run trained. out: a folder that is not there yet; it appears whole or not at all.
    prompts: held-out conversations for the replay, answered greedily before and after.
    Raises ModelError when the method cannot be merged, when the merged weights are not finite, or when an answer
    differs by more than rounding explains; RunError when out is taken or the adapter is damaged.
    """
    progress = progress or Silent()
    info = _checked(adapter, out)
    if info.method in UNMERGEABLE:
        raise ModelError(
            f"{info.method} cannot be merged into weights: {UNMERGEABLE[info.method]}",
            got=info.method,
            where=str(adapter),
            fix="export the adapter instead: --adapter",
        )
    trained = load_tuned(adapter, base_dir=base_dir, progress=progress)
    answers, computed = _answers(trained, info, prompts), trained.dtype
    if info.quantisation:
        progress.notice("the 4-bit weights are dequantised: the merged model is as large as the base in full")
    with _beside(out) as folder:
        _write_whole(trained, adapter, info, folder, base_dir, progress)
        del trained
        replayed = _answers(load_tuned(folder, progress=progress), info, prompts)
        differing = [i for i in range(len(prompts)) if answers[i] != replayed[i]]
        tolerance = max(TOLERANCE[_stored_dtype(folder)], TOLERANCE[computed])
        widest = 0.0
        if differing:
            trained = load_tuned(adapter, base_dir=base_dir, progress=progress)
            widest = _compare(trained, info, prompts, answers, replayed, differing, tolerance)
        commit_folder(folder, out)
    return Replay(len(prompts), len(prompts) - len(differing), widest, tolerance)


def export_adapter(
    adapter: Path, out: Path, *, for_full: bool = False, progress: Progress | None = None
) -> AdapterInfo:
    """Copy the trained folder as it is, whole or not at all. Raises RunError.

    for_full: of a qlora adapter, make it one for the base in full: without the correction of the 4-bit weights that
    it began with, which takes twice the rank. Others are for that base anyway.
    """
    info = _checked(adapter, out)
    with _beside(out) as folder:
        for path in adapter.iterdir():
            if path.name != MANIFEST:
                shutil.copyfile(path, folder / path.name)
        if for_full and info.quantisation and not info.whole:
            info = info._replace(quantisation=None)
            _make_for_full(folder, info)
        elif info.quantisation and progress is not None:
            progress.notice(
                f"the adapter was trained on a base in {info.quantisation} (4 bits, double quantisation) and is for "
                "that base; for the base in full: --for-full-base"
            )
        commit_folder(folder, out)
    return info


def _make_for_full(folder: Path, info: AdapterInfo) -> None:
    """Change a copied qlora adapter into one for the base in full."""
    from safetensors.torch import load_file, save_file

    write_info(folder, info)
    start = folder / START_FILE
    if not start.exists():
        return  # it began with B = 0
    weights, settings = folder / WEIGHTS_FILE, folder / "adapter_config.json"
    save_file(for_full_weights(load_file(weights), load_file(start)), weights, metadata={"format": "pt"})
    start.unlink()
    config = json.loads(settings.read_text(encoding="utf-8"))
    # The scale stays: alpha / r, or alpha / √r.
    config["lora_alpha"] *= math.sqrt(2) if config["use_rslora"] else 2
    config["r"] *= 2
    settings.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _checked(adapter: Path, out: Path) -> AdapterInfo:
    info = read_info(adapter)
    damaged = verify_folder(adapter)
    if damaged:
        fix = "restore the run's folder, or train again"
        raise RunError(f"the trained folder is damaged ({', '.join(damaged)})", where=str(adapter), fix=fix)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError("there is something already", where=str(out), fix="name a folder that is not there yet")
    return info


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A temporary folder on the disk of `out`, gone afterwards unless it was committed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_whole(
    trained: Loaded, adapter: Path, info: AdapterInfo, folder: Path, base_dir: Path | None, progress: Progress
) -> None:
    """The merged model in `folder`. The trained model is used up."""
    if info.whole:
        model, dtypes = trained.model, _stored_dtypes(adapter)
    else:
        dtypes = _stored_dtypes(Path(trained.model.get_base_model().config._name_or_path))
        if info.quantisation is None and trained.dtype != torch.float32:  # the sum is rounded once, at the end
            base = load_model(info.base_model, dtype="float32", base_dir=base_dir, progress=progress)
            trained = load_adapter(base, adapter)
        model = merge_adapter(trained.model)
    common = _commonest(dtypes)
    merged = not info.whole and info.quantisation is None  # 4-bit weights lie on no format's numbers
    for place, (name, parameter) in enumerate(model.named_parameters()):
        dtype = dtypes.get(name, common)
        if merged and parameter.dtype == torch.float32 and dtype in (torch.bfloat16, torch.float16):
            parameter.data = rounded_at_random(parameter.data, dtype, seed=place)
        parameter.data = parameter.data.to(dtype)
        if not torch.isfinite(parameter).all():
            raise ModelError(
                "a merged weight is not finite", got=name, where=str(adapter), fix="train at a lower rate"
            )
    trained.tokenizer.chat_template = info.chat_template
    write_adapter(model, trained.tokenizer, folder, info._replace(merged=not info.whole or info.merged))


def _stored_dtypes(folder: Path) -> dict[str, torch.dtype]:
    """The number format of every weight in a model's files, where it is one of DTYPES."""
    from safetensors import safe_open

    found: dict[str, torch.dtype] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (no mapping)
        found |= {name: DTYPES[kind] for name, kind in names.items() if kind in DTYPES}
    return found


def _commonest(dtypes: dict[str, torch.dtype]) -> torch.dtype:
    kinds = list(dtypes.values())
    return max(set(kinds), key=kinds.count) if kinds else torch.float32


def _stored_dtype(folder: Path) -> torch.dtype:
    return _commonest(_stored_dtypes(folder))


def _chat(loaded: Loaded, info: AdapterInfo) -> Chat:
    eos = loaded.model.generation_config.eos_token_id
    ids = [] if eos is None else [int(token) for token in (eos if isinstance(eos, list) else [eos])]
    return Chat(loaded.tokenizer, ids, info.chat_template)


def _answers(loaded: Loaded, info: AdapterInfo, prompts: Sequence[Sequence[Message]]) -> list[tuple[int, ...]]:
    """Greedy answers without a constraint, in tokens."""
    chat = _chat(loaded, info)
    requests = [Request(tuple(chat.prompt(messages)), ANSWER_TOKENS) for messages in prompts]
    return [completion.tokens for completion in Engine(loaded, chat).generate(requests)]


def _compare(
    trained: Loaded,
    info: AdapterInfo,
    prompts: Sequence[Sequence[Message]],
    answers: Sequence[tuple[int, ...]],
    replayed: Sequence[tuple[int, ...]],
    differing: Sequence[int],
    tolerance: float,
) -> float:
    """The widest gap among the differing answers. Raises ModelError naming the prompt where it is too wide."""
    chat = _chat(trained, info)
    widest = 0.0
    for i in differing:
        gap = _gap(trained, chat, chat.prompt(prompts[i]), answers[i], replayed[i])
        widest = max(widest, gap)
        if gap > tolerance:
            raise ModelError(
                "the merged model answers a held-out prompt otherwise than the trained one, so nothing is written: "
                f"its token is {gap:.3g} nats less likely, and rounding explains {tolerance:g}",
                got=f"{_short(chat, replayed[i])} instead of {_short(chat, answers[i])}",
                where=f"prompt {prompts[i][-1].content[-200:]!r}",
                fix="serve the adapter on its base instead (--adapter), and please report the model's name",
            )
    return widest


def _short(chat: Chat, tokens: Sequence[int]) -> str:
    text = chat.decode(tokens)
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


@torch.inference_mode()
def _gap(
    trained: Loaded, chat: Chat, prompt: Sequence[int], answer: tuple[int, ...], other: tuple[int, ...]
) -> float:
    """How much less likely the other answer's token is than the trained model's own, where they first differ."""
    left, right = (*answer, chat.end_of_turn), (*other, chat.end_of_turn)
    same = next((i for i, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), None)
    if same is None:
        return 0.0
    tokens = torch.tensor([[*prompt, *answer[:same]]], device=trained.device)
    scores: Tensor = trained.model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[0, -1].float()
    # Either may be any of the tokens that end a turn.
    return float(_best(scores, left[same], chat) - _best(scores, right[same], chat))


def _best(scores: Tensor, token: int, chat: Chat) -> Tensor:
    return scores[list(chat.stop_ids)].max() if token in chat.stop_ids else scores[token]
