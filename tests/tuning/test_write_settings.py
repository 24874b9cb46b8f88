"""The settings found, written into a task file: comments stay, nothing else changes, nothing is overwritten."""

from __future__ import annotations

import pytest
import yaml

from burnish.config import load_task
from burnish.errors import ConfigError
from burnish.tuning.write import with_settings, write_task_file, yaml_lines

HEAD = "name: t\nkind: generation\ninstruction: say it  # learning_rate: 7\ndata: rows.jsonl\n"
FOUND = {"learning_rate": 0.00123, "lora_r": 8, "lora_alpha": 16.0, "lr_scheduler": "linear"}

FILES = {
    "block": HEAD + "# how\ntraining:   # below\n  # rates\n  learning_rate: 1.0e-3   # small models want more\n"
    "  lora_r: 16\nseed: 3\n",
    "indented by four": HEAD + "training:\n    lora_r: 16\n    batch_size: 4\n",
    "braces": HEAD + "training: {learning_rate: 1e-3, lora_r: 16, batch_size: 4}  # one line\nseed: 3\n",
    "empty braces": HEAD + "training: {}\n",
    "none": HEAD + "seed: 3\n\n",
    "other names": HEAD + "lr: 1e-3 # TRL's\nlora_rank: 4\nnum_train_epochs: 2\n",
    "other names inside": HEAD + "training:\n  lr: 1e-3\n  num_train_epochs: 2\n",
    "quoted": HEAD + 'training:\n  "learning_rate": 1e-3\n  lr_scheduler: "cosine"\n',
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_comments_stay_and_only_the_settings_change(tmp_path, name):
    (tmp_path / "rows.jsonl").touch()
    file = tmp_path / "burnish.yaml"
    file.write_text(FILES[name], encoding="utf-8")
    loaded = load_task(file)
    target = tmp_path / "tuned.yaml"
    write_task_file(loaded, FOUND, target)
    after = load_task(target).config
    assert after == loaded.config.model_copy(update={"training": loaded.config.training.model_copy(update=FOUND)})
    text = target.read_text(encoding="utf-8")
    for line in FILES[name].splitlines():
        comment = line.partition("#")[2]
        assert not comment or comment in text
    assert file.read_text(encoding="utf-8") == FILES[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["burnish.yaml", "rows.jsonl", "tuned.yaml"]


def test_nothing_is_overwritten_unless_asked(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    file = tmp_path / "burnish.yaml"
    file.write_text(FILES["block"], encoding="utf-8")
    loaded = load_task(file)
    with pytest.raises(ConfigError, match="exists already"):
        write_task_file(loaded, FOUND, file)
    write_task_file(loaded, FOUND, file, overwrite=True)
    assert load_task(file).config.training.lora_r == 8
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(ConfigError, match="must stand beside it"):
        write_task_file(loaded, FOUND, tmp_path / "elsewhere" / "a.yaml")


def test_what_cannot_be_edited_is_said_with_the_lines_to_paste(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    file = tmp_path / "burnish.yaml"
    file.write_text(HEAD + "training:\n  learning_rate:\n    1e-3\n")
    with pytest.raises(ConfigError, match="line by line") as caught:
        write_task_file(load_task(file), FOUND, tmp_path / "other.yaml")
    assert "learning_rate: 0.00123" in caught.value.fix
    assert not (tmp_path / "other.yaml").exists()


def test_lines_to_paste_are_yaml():
    values = FOUND | {"lora_rank_stabilised": True, "num_epochs": 3.0, "weight_decay": 1e-5}
    assert yaml.safe_load(yaml_lines(values))["training"]["lora_r"] == 8
    assert yaml.safe_load(yaml_lines(values))["training"]["weight_decay"] == 1e-5
    assert "lora_rank_stabilised: true" in yaml_lines(values)
    assert with_settings(HEAD, "f", values).count("training:") == 1
