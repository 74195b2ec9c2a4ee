"""Drawn faces that age: data that needs no download and shows no real person."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from sklearn.utils import Bunch, check_random_state

_OVERSAMPLING = 3
_MIN_CANVAS = 192  # pixels; thinner lines than this allows would vanish

Colour = tuple[int, int, int]


def make_faces(n_samples=200, image_size=64, random_state=None, *, return_X_y=False):
    """Draw faces whose proportions, hair, wrinkles and skin follow an age.

    Skin tone, face shape, hair colour and cut belong to the person, who is
    drawn twice; pose, expression, glasses, background and light change with
    each picture.

    Parameters
    ----------
    n_samples : int, default=200
        Number of pictures.

    image_size : int, default=64
        Side in pixels, at least 16.

    random_state : int, RandomState instance or None, default=None
        An int draws the same faces each time.

    return_X_y : bool, default=False
        Return (data, target) rather than a Bunch.

    Returns
    -------
    faces : Bunch
        data : ndarray of shape (n_samples, image_size, image_size, 3), uint8
        target : ndarray of shape (n_samples,), float64
            Ages in whole years from 0 to 90.
        groups : ndarray of shape (n_samples,), int
            The person; one person's pictures belong on one side of a split.
        DESCR : str

    Examples
    --------
    >>> from skage.datasets import make_faces
    >>> faces = make_faces(4, image_size=32, random_state=0)
    >>> faces.data.shape, faces.target
    ((4, 32, 32, 3), array([85., 70.,  9., 36.]))
    """
    if n_samples < 1 or image_size < 16:
        raise ValueError(
            f"n_samples={n_samples} must be at least 1 and image_size={image_size} at least 16."
        )
    rng = check_random_state(random_state)
    data = np.empty((n_samples, image_size, image_size, 3), dtype=np.uint8)
    target = np.empty(n_samples)
    groups = np.arange(n_samples) // 2
    person = None
    for i in range(n_samples):
        if person is None or i % 2 == 0:
            person = _Person.draw(rng)
        target[i] = rng.randint(0, 91)
        data[i] = np.asarray(_draw(person, target[i], image_size, rng))
    if return_X_y:
        return data, target
    return Bunch(data=data, target=target, groups=groups, DESCR=make_faces.__doc__)


@dataclass
class _Person:
    """What stays with a person through life."""

    skin: Colour
    hair: Colour
    width: float  # of the face, 1 on average
    long_hair: bool
    goes_bald: bool
    eyes: Colour

    @classmethod
    def draw(cls, rng: np.random.RandomState) -> _Person:
        tone = rng.uniform()
        skin = _mix((255, 222, 196), (92, 58, 40), tone)
        hair = _hsv(
            rng.uniform(0.04, 0.12), rng.uniform(0.4, 0.75), rng.uniform(0.1, 0.75 - tone / 2)
        )
        long_hair = rng.uniform() < 0.5
        return cls(
            skin=_jitter(skin, 8, rng),
            hair=hair,
            width=rng.uniform(0.92, 1.08),
            long_hair=long_hair,
            goes_bald=not long_hair and rng.uniform() < 0.5,
            eyes=_hsv(rng.uniform(0.05, 0.6), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6)),
        )


def _draw(person: _Person, age: float, size: int, rng: np.random.RandomState) -> Image.Image:
    side = max(_MIN_CANVAS, _OVERSAMPLING * size)
    grown = 1 - math.exp(-age / 9)  # 0 at birth, nearly 1 from 25 on
    old = float(np.clip((age - 30) / 55, 0, 1))

    backdrop = _hsv(rng.uniform(), rng.uniform(0.1, 0.5), rng.uniform(0.45, 0.95))
    image = Image.new("RGB", (side, side), backdrop)
    pen = ImageDraw.Draw(image)
    yaw = rng.uniform(-0.06, 0.06)  # the features' shift as the head turns

    def box(x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
        """A box in pixels around a centre; the face lies within -1..1."""
        scale = side * 0.36
        cx, cy = side / 2, side * 0.53
        return (
            cx + (x - rx) * scale, cy + (y - ry) * scale, cx + (x + rx) * scale, cy + (y + ry) * scale,
        )  # fmt: skip

    def line(points: list[tuple[float, float]], colour: Colour, width: float) -> None:
        pixels = [box(x, y, 0, 0)[:2] for x, y in points]
        pen.line(pixels, fill=colour, width=max(1, round(width * side)), joint="curve")

    skin = _mix(person.skin, _mix(person.skin, (190, 170, 150), 0.5), old)
    shade = _mix(skin, (60, 25, 20), 0.35)
    hair = _mix(person.hair, (225, 225, 228), float(np.clip((age - 38) / 30, 0, 1)) * 0.95)
    wide = (0.86 - 0.12 * grown) * person.width
    tall = 0.82 + 0.20 * grown
    hair_grown = float(np.clip(age / 3, 0.15, 1))

    # Behind the face: neck, shoulders, long hair.
    if person.long_hair and age > 2:
        pen.ellipse(box(0, 0.12, wide * 1.22, tall * (0.95 + 0.25 * grown)), fill=hair)
    shirt = _hsv(rng.uniform(), rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.8))
    pen.ellipse(box(0, 1.75, 0.75 + 0.45 * grown, 0.75), fill=shirt)
    pen.rectangle(box(0, 0.95, 0.22 + 0.1 * grown, 0.3), fill=shade)

    crown = -0.10 - 0.9 * (tall - 0.82)  # how far the top of the head rises
    hairline = 0.30 * hair_grown * (1 - (0.9 if person.goes_bald else 0.25) * old)
    for sign in (-1, 1):
        pen.ellipse(box(sign * wide * 0.99, 0.12, 0.13, 0.2), fill=shade)
    if not (person.goes_bald and old > 0.8):
        thick = 0.03 + 0.10 * hair_grown * (1 - 0.5 * old)
        pen.ellipse(box(0, crown * 0.3 - thick, wide * (1 + thick * 0.8), tall), fill=hair)
    pen.ellipse(box(0, 0, wide, tall), fill=skin)
    jowl = wide * (0.78 - 0.14 * grown + 0.12 * old)
    pen.ellipse(box(0, 0.38, jowl, tall - 0.36), fill=skin)
    if hairline > 0.04:
        arc = np.radians(np.linspace(-90 - 25 - 65 * hairline, -90 + 25 + 65 * hairline, 24))
        pen.polygon(
            [
                box(1.03 * wide * x, 1.03 * tall * y, 0, 0)[:2]
                for x, y in zip(np.cos(arc), np.sin(arc), strict=True)
            ],
            fill=hair,
        )

    eye_y = 0.18 - 0.24 * grown  # a child's face sits low on the head
    eye_r = 0.185 - 0.065 * grown
    nose_y = eye_y + 0.22 + 0.18 * grown
    mouth_y = nose_y + 0.16 + 0.10 * grown
    smile = rng.uniform(-0.02, 0.09)
    wrinkle = _mix(skin, shade, 0.25 + 0.75 * old)

    for sign in (-1, 1):
        x = sign * (0.34 + 0.02 * grown) * person.width + yaw
        pen.ellipse(box(x, eye_y, eye_r, eye_r * (0.85 - 0.35 * old)), fill=(250, 248, 244))
        pen.ellipse(
            box(x + yaw / 2, eye_y, eye_r * 0.55, eye_r * (0.62 - 0.15 * old)), fill=person.eyes
        )
        pen.ellipse(box(x + yaw / 2, eye_y, eye_r * 0.25, eye_r * 0.28), fill=(15, 12, 12))
        brow = eye_y - eye_r - 0.05 - 0.02 * grown + 0.05 * old
        line(
            [(x - 0.15, brow + 0.03), (x, brow), (x + 0.15, brow + 0.03)],
            hair,
            0.008 + 0.012 * grown,
        )
        if age > 32:  # crow's feet and bags
            for k in range(1 + round(3 * old)):
                start = x + sign * (eye_r + 0.03)
                drop = (k - 1) * 0.05
                line(
                    [(start, eye_y + drop * 0.5), (start + sign * 0.11, eye_y + drop * 1.6)],
                    wrinkle,
                    0.005,
                )
            pen.arc(box(x, eye_y + 0.05, eye_r * 1.1, eye_r * (0.8 + 0.5 * old)), 30, 150,
                    fill=wrinkle, width=max(1, side // 110))  # fmt: skip
        if age > 28:  # from the nose to the corners of the mouth
            start, end = (
                (sign * 0.13 + yaw, nose_y),
                (sign * (0.24 + 0.06 * old) + yaw, mouth_y + 0.1 * old),
            )
            line(
                [start, ((start[0] + end[0]) / 2 + sign * 0.03, (start[1] + end[1]) / 2), end],
                wrinkle,
                0.004 + 0.006 * old,
            )
    if age > 35:  # the forehead's furrows
        for k in range(round(4 * old)):
            y = eye_y - 0.32 - 0.085 * k
            line([(-0.3 + yaw, y + 0.02), (yaw, y - 0.015), (0.3 + yaw, y + 0.02)], wrinkle, 0.005)

    nose_w = 0.07 + 0.05 * grown + 0.03 * old
    line([(yaw, eye_y + 0.06), (yaw * 1.6 + 0.03, nose_y - 0.03)], _mix(skin, shade, 0.5), 0.006)
    pen.arc(
        box(yaw * 1.6, nose_y - 0.03, nose_w, 0.06), 10, 170, fill=shade, width=max(2, side // 90)
    )
    lips = _mix(skin, (178, 52, 60), 0.65 - 0.35 * old)
    mouth_w = 0.15 + 0.12 * grown
    line(
        [(-mouth_w + yaw, mouth_y), (yaw, mouth_y + smile), (mouth_w + yaw, mouth_y)],
        lips, 0.026 - 0.012 * old,
    )  # fmt: skip
    for _ in range(rng.poisson(9 * old)):  # age spots
        x, y, r = rng.uniform(-0.55, 0.55), rng.uniform(-0.7, 0.7), rng.uniform(0.012, 0.03)
        pen.ellipse(box(x, y, r, r), fill=_mix(skin, shade, 0.45))
    if rng.uniform() < 0.1 + 0.35 * old:  # glasses
        for sign in (-1, 1):
            pen.ellipse(
                box(sign * 0.36 + yaw, eye_y, 0.24, 0.2), outline=(40, 40, 45), width=side // 70
            )
        line([(-0.12 + yaw, eye_y), (0.12 + yaw, eye_y)], (40, 40, 45), 0.012)
    return _photograph(image, size, backdrop, rng)


def _photograph(
    image: Image.Image, size: int, backdrop: Colour, rng: np.random.RandomState
) -> Image.Image:
    """Tilt, shift, scale, light and blur, as a camera would see the drawing."""
    side = image.width
    angle, zoom = math.radians(rng.uniform(-12, 12)), rng.uniform(0.92, 1.12)
    dx, dy = rng.uniform(-0.04, 0.04, 2) * side
    cos, sin, half = math.cos(angle) / zoom, math.sin(angle) / zoom, side / 2
    matrix = (
        cos, sin, half - cos * (half + dx) - sin * (half + dy),
        -sin, cos, half + sin * (half + dx) - cos * (half + dy),
    )  # fmt: skip
    image = image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=backdrop
    )
    image = image.resize((size, size), Image.Resampling.LANCZOS)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.004) * size))
    direction = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    light = rng.uniform(0.78, 1.12) * (
        1 + rng.uniform(0, 0.22) * (x * math.cos(direction) + y * math.sin(direction))
    )
    tint = rng.uniform(0.94, 1.06, 3)
    pixels = np.asarray(image) * light[:, :, None] * tint + rng.normal(0, 2, (size, size, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    r, g, blue = (round(u + (v - u) * share) for u, v in zip(a, b, strict=True))
    return r, g, blue


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = (round(255 * c) for c in colorsys.hsv_to_rgb(hue, saturation, value))
    return r, g, b


def _jitter(colour: Colour, spread: float, rng: np.random.RandomState) -> Colour:
    r, g, b = (int(c) for c in np.clip(np.array(colour) + rng.normal(0, spread, 3), 0, 255))
    return r, g, b
