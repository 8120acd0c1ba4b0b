# SPDX-License-Identifier: Apache-2.0
"""With Pillow: opens a picture, segments it, draws the outline and the parts' boxes, saves.

    python pillow_outline.py examples/data/polyp-compact.safetensors picture.jpg outlined.png

Not a medical device.
"""

import argparse

from PIL import Image, ImageDraw

import m2snet


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws what a model finds into a picture. Not a medical device.")
    parser.add_argument("model", help=".safetensors or .pth")
    parser.add_argument("picture")
    parser.add_argument("output")
    arguments = parser.parse_args()

    model = m2snet.Model.load(arguments.model)
    with Image.open(arguments.picture) as opened:
        picture = opened.convert("RGB")
    result = model.predict(picture, fill_holes=True)

    canvas = ImageDraw.Draw(picture)
    for part in result.components:
        canvas.line([*map(tuple, part.contour.tolist()), tuple(part.contour[0].tolist())], fill=(0, 255, 0), width=2)
        canvas.rectangle([part.x, part.y, part.x + part.width - 1, part.y + part.height - 1], outline=(255, 255, 0))
        canvas.text((part.x + 4, part.y + 4), f"{part.mean_probability:.2f}", fill=(255, 255, 0))
    picture.save(arguments.output)
    print(result)
    print("saved", arguments.output)


if __name__ == "__main__":
    main()
