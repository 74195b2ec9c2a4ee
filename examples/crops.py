"""What FaceCropper does, on 24 drawn scenes: the scene with the faces found, and the crop.

    pip install 'skage[faces]'
    python examples/crops.py --output crops.png

Frames are green around the face that is taken and grey around others; a crop without
a frame in its scene is the whole picture, since no face was found.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image, ImageDraw

from skage import FaceCropper
from skage.datasets import make_faces

SIDE, GAP, COLUMNS = 160, 6, 4


def framed(scene: np.ndarray, faces) -> Image.Image:
    """The scene with the boxes found, each turned as its face is."""
    image = Image.fromarray(scene)
    pen = ImageDraw.Draw(image)
    for i, ((x, y, w, h), angle) in enumerate(zip(faces.boxes, faces.angles, strict=True)):
        turn = np.exp(1j * np.radians(angle))
        middle = x + w / 2 + 1j * (y + h / 2)
        corners = [middle + turn * (u * w + 1j * v * h) / 2 for u, v in _CORNERS]
        points = [(corner.real, corner.imag) for corner in corners]
        pen.line([*points, points[0]], fill="lime" if i == 0 else "grey", width=3)
    return image


_CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="crops.png")
    parser.add_argument("--detector", choices=["haar", "yunet"], default="haar")
    parser.add_argument("--model-file", help="of yunet; downloaded if not given")
    options = parser.parse_args()

    scenes = make_faces(24, 2 * SIDE, random_state=1, scenes=True).data
    cropper = FaceCropper(
        options.detector, angles=range(-30, 31, 10), size=SIDE, model_file=options.model_file
    )
    found, crops = cropper.detect(scenes), cropper.transform(scenes)
    n_rows = len(scenes) // COLUMNS
    width, height = 2 * SIDE + 3 * GAP, SIDE + 2 * GAP
    sheet = Image.new("RGB", (COLUMNS * width, n_rows * height), "white")
    for i, (scene, faces, crop) in enumerate(zip(scenes, found, crops, strict=True)):
        x, y = i % COLUMNS * width + GAP, i // COLUMNS * height + GAP
        sheet.paste(framed(scene, faces).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, y))
        sheet.paste(crop.image(), (x + SIDE, y))
    sheet.save(options.output)
    n_found = sum(len(faces.boxes) > 0 for faces in found)
    print(f"{options.detector}: a face in {n_found} of {len(scenes)} scenes. {options.output}")


if __name__ == "__main__":
    main()
