"""A recipe of ContextAnyone that trains in seconds."""

from pathlib import Path

RECIPE = """
seed = 3
[cast]
base = "BASE"
image_tokens = true
reconstruction = 0.2
likeness = 2.5
steps = 2
[transformer]
patch_size = [2, 2, 2]
num_attention_heads = 2
attention_head_dim = 12
ffn_dim = 32
num_layers = 2
freq_dim = 16
rope_max_seq_len = 64
gap = 4
[corpus]
images = 6
clips = 3
pictures = 2
captions = 2
[[stage]]
name = "tower"
kind = "tower"
steps = 2
batch = 4
log_every = 1
save_every = 1
[[stage]]
name = "stills"
kind = "cast"
frames = 2
steps = 4
batch = 3
dropout = 0.5
learning_rate = 1e-3
log_every = 1
save_every = 2
ema = 0.5
train = ["^transformer", "to_tokens"]
[[stage]]
name = "clips"
kind = "cast"
frames = 4
steps = 3
batch = 2
learning_rate = 1e-3
precision = "bf16"
log_every = 1
save_every = 2
sample_every = 3
dropout = 0.0
recompute = true
"""


def recipe_of(folder: Path, base: Path, **changes: str) -> Path:
    """The recipe in a file, with another base and other words."""
    text = RECIPE.replace("BASE", str(base))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "tiny-cast.toml"
    path.write_text(text)
    return path
