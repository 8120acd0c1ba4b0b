# SPDX-License-Identifier: Apache-2.0
# %% [markdown]
# # A first look at m2snet
# Segments the five demo pictures, scores them against an expert's masks, and looks at what comes out. Cells begin with
# `# %%`: run them in an editor or notebook that knows them, or the whole file with Python. NumPy is all that is needed.
# Not a medical device.

# %%
import pathlib
import sys

import numpy as np

import m2snet

data = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "examples/data")
pictures = sorted((data / "demo-polyps" / "images").iterdir())
masks = sorted((data / "demo-polyps" / "masks").iterdir())

# %% [markdown]
# ## A model
# What it is, and what it runs on.

# %%
model = m2snet.Model.load(data / "polyp-compact.safetensors")
print(model)
print(model.context)
print(f"{model.info.parameters:,} parameters, {model.info.multiply_adds / 1e9:.2f} G multiply-adds a picture")

# %% [markdown]
# ## A picture
# Results have the picture's own size. `found` says whether there is anything at all.

# %%
result = model.predict(pictures[0])
print(result)
print("mask", result.mask.shape, result.mask.dtype, "probability", result.probability.dtype)
for part in result.components:
    print(f"{part.area_px} px at {part.x}, {part.y}, {part.width} x {part.height}, {len(part.contour)} outline points")

# %% [markdown]
# ## Arrays in, arrays out
# An array is used where it lies, views included, and results are views of the library's memory: nothing is copied.

# %%
picture = m2snet.read_image(pictures[0])
upside_down = model.predict(picture[::-1])
print("the polyp upside down:", f"presence {upside_down.presence:.3f} instead of {result.presence:.3f}")

# %% [markdown]
# ## Uncertainty for free
# The mean of the probabilities over the four flips, a common trick, in three lines of NumPy.

# %%
flips = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
views = [picture[::y, ::x] for y, x in flips]
mean = np.mean([p[::y, ::x] for p, (y, x) in zip(model.predict_proba(views), flips)], axis=0)
print(f"largest change of a probability by flipping: {np.abs(mean - result.probability).max():.3f}")

# %% [markdown]
# ## Scores
# Every metric of the paper under the name of docs/metrics.md, for one pair and for a set.

# %%
scores = m2snet.metrics(mean, masks[0])
print(f"mDice {scores.dice_mean:.4f}  Sm {scores.sm:.4f}  HD95 {scores.surface['1.0,1.0'].hd95:.1f} px")

study = m2snet.evaluate(model.predict(pictures), masks, names=[path.stem for path in pictures])
for name, image in study.images:
    print(f"{name:32} Dice {image.dice:.4f}  MAE {image.mae:.4f}")
print(f"{'mean':32} Dice {study.dataset.dice:.4f}  MAE {study.dataset.mae:.4f}")

# %% [markdown]
# ## The threshold
# Dice at each of 256 thresholds, over the set.

# %%
curve = study.curve("dice")
best = int(curve.argmax())
print(f"best threshold {best / 255:.2f}: Dice {curve[best]:.4f}")

# %% [markdown]
# ## The network alone
# Normalised pixels to logits, in either layout: for experiments of your own.

# %%
config = model.config
size = (model.info.input_height, model.info.input_width)
small = m2snet.resize_image(picture, *size)
x = ((small / 255 - config["mean"]) / config["std"]).astype(np.float32)
logits = model.run(x)
print("logits", logits.shape, f"from {logits.min():.1f} to {logits.max():.1f}")
