"""Fine-tune a model without the lifecycle around it: Burnish's own pieces, one after the other.

    python examples/minimal.py              about a minute on two cores
    python examples/minimal.py --steps 3

The model learns a house style for dates, 09.III.2024, that its instruction does not describe.
What `burnish run` adds: checks of the data, a sealed test, baselines, checkpoints, and a verdict.
"""

import argparse
import random
from calendar import month_name

import torch

import burnish
from burnish.tasks.generation import Generation

parser = argparse.ArgumentParser(description="Fine-tune the starter model on dates.")
parser.add_argument("--steps", type=int, default=30, help="optimizer steps (default: 30)")
steps = parser.parse_args().steps

# The data: a text, and the answer that is right.
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
FORMS = ("{name} {day}, {year}", "{day} {name} {year}", "the {day}. of {name} {year}", "{day}/{month}/{year}")
rng = random.Random(7)


def example(number: int) -> burnish.Example:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1990, 2029)
    text = rng.choice(FORMS).format(day=day, month=month, name=month_name[month], year=year)
    right = f"{day:02}.{ROMAN[month - 1]}.{year}"
    return burnish.Example(str(number), (burnish.Message("user", text),), right, burnish.Source("made up", number))


train = [example(number) for number in range(1, 401)]
test = [example(number) for number in range(401, 413)]
task = Generation("dates", "Write the date in our house style.", pattern=None, metrics=())

# A base model with its chat template; the examples as tokens with a loss mask.
base = burnish.load_model("smollm2-135m-instruct")
chat = burnish.Chat(base.tokenizer)
rows = burnish.encode(train, task, chat, full=False, max_length=256).rows


def answers(loaded: burnish.Loaded) -> list[str]:
    prompts = [chat.prompt(task.messages(row, full=False)) for row in test]
    requests = [burnish.Request(tuple(prompt), max_new_tokens=16) for prompt in prompts]
    return [completion.text.strip() for completion in burnish.Engine(loaded, chat).generate(requests)]


before = answers(base)

# LoRA on every linear layer, and a training loop.
model = burnish.attach_adapter(base.model, r=16, alpha=32, dropout=0.0, target_modules="all-linear", seed=7)
model.train()
token_losses = burnish.TokenLosses(model)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
for step in range(1, steps + 1):
    batch = burnish.collate(rng.sample(rows, 8), how=token_losses.how, device=base.device)
    loss = burnish.sft_loss(token_losses(batch), batch.weights_N, normaliser=float(batch.weights_N.sum()))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step == 1 or step % 5 == 0 or step == steps:
        print(f"step {step:3}  loss {loss.item():.3f}", flush=True)

# The same questions again.
after = answers(base._replace(model=model))
for row, old, new in zip(test, before, after, strict=True):
    mark = "right" if new == row.target else "wrong"
    print(f"{row.messages[0].content:28} {old!r:40.40} -> {new:14} {mark}")
right = [sum(answer == row.target for answer, row in zip(found, test, strict=True)) for found in (before, after)]
print(f"right before: {right[0]} of {len(test)}, after: {right[1]} of {len(test)}")
