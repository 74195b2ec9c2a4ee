"""Drawn faces that age: data without a download, showing no real people."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from sklearn.utils import Bunch, check_random_state

_OVERSAMPLING = 3
_MIN_CANVAS = 192  # pixels; thinner lines than this allows would vanish

Colour = tuple[int, int, int]


def make_faces(
    n_samples: int = 200,
    image_size: int = 64,
    random_state: Any = None,
    *,
    scenes: bool = False,
    return_X_y: bool = False,
) -> Any:
    """Draw faces whose proportions, hair, wrinkles and skin depend on age.

    Skin tone, face shape, hair colour and haircut belong to the person, who is drawn
    twice; pose, expression, glasses, background and light differ between pictures.

    Parameters
    ----------
    n_samples : int, default=200
        Number of pictures.

    image_size : int, default=64
        Side in pixels, at least 16.

    random_state : int, RandomState instance or None, default=None
        An int draws the same faces each time.

    scenes : bool, default=False
        Whether to draw uncropped scenes: one to three faces of different sizes, rotated
        by up to 30 degrees, in front of clutter.

    return_X_y : bool, default=False
        Whether to return (data, target) rather than a Bunch.

    Returns
    -------
    faces : Bunch
        data : ndarray of shape (n_samples, image_size, image_size, 3), uint8
        target : ndarray of shape (n_samples,), float64
            Ages in whole years from 0 to 90; in a scene, the age of the largest face.
        groups : ndarray of shape (n_samples,), int
            The person. Keep all pictures of a person on one side of a split.
        faces : list of Bunch, with `scenes` only
            The faces of each scene, the largest first: boxes (n_faces, 4), the left,
            top, width and height in pixels of the face once it is rotated upright
            about its centre; angles (n_faces,), the degrees by which to rotate the
            scene counter-clockwise so that the face is upright; ages (n_faces,).
        DESCR : str

    Examples
    --------
    >>> from skage.datasets import make_faces
    >>> faces = make_faces(4, image_size=32, random_state=0)
    >>> faces.data.shape, faces.target
    ((4, 32, 32, 3), array([ 9., 81., 86., 29.]))
    """
    if n_samples < 1 or image_size < 16:
        raise ValueError(
            f"n_samples={n_samples} must be at least 1, and image_size={image_size} at least 16."
        )
    rng = check_random_state(random_state)
    data = np.empty((n_samples, image_size, image_size, 3), dtype=np.uint8)
    target = np.empty(n_samples)
    groups = np.arange(n_samples) // 2
    drawn: dict[str, list[Bunch]] = {"faces": []} if scenes else {}
    person = None
    for i in range(n_samples):
        if person is None or i % 2 == 0:
            person = _Person.draw(rng)
        target[i] = rng.randint(0, 91)
        if scenes:
            data[i], faces = _scene(person, target[i], image_size, rng)
            drawn["faces"].append(faces)
            continue
        side = max(_MIN_CANVAS, _OVERSAMPLING * image_size)
        portrait = _Portrait(person, target[i], side, rng)
        data[i] = _photograph(portrait.draw(), image_size, portrait.backdrop, rng)
    if return_X_y:
        return data, target
    return Bunch(data=data, target=target, groups=groups, **drawn, DESCR=make_faces.__doc__)


@dataclass
class _Person:
    """The features of a person that do not change with age."""

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


class _Portrait:
    """A drawing of a person at an age; the face spans -1..1 around its centre."""

    def __init__(self, person: _Person, age: float, side: int, rng: np.random.RandomState):
        self.person, self.age, self.side, self.rng = person, age, side, rng
        self.grown = grown = 1 - math.exp(-age / 9)  # 0 at birth, nearly 1 from 25 on
        self.old = old = float(np.clip((age - 30) / 55, 0, 1))
        self.yaw = rng.uniform(-0.06, 0.06)  # the features' shift as the head turns
        self.skin = _mix(person.skin, _mix(person.skin, (190, 170, 150), 0.5), old)
        self.shade = _mix(self.skin, (60, 25, 20), 0.35)
        self.wrinkle = _mix(self.skin, self.shade, 0.25 + 0.75 * old)
        grey = 0.95 * float(np.clip((age - 38) / 30, 0, 1))
        self.hair = _mix(person.hair, (225, 225, 228), grey)
        self.wide = (0.86 - 0.12 * grown) * person.width
        self.tall = 0.82 + 0.20 * grown
        self.eye_y = 0.18 - 0.24 * grown  # a child's face sits low on the head
        self.eye_r = 0.185 - 0.065 * grown
        self.nose_y = self.eye_y + 0.22 + 0.18 * grown
        self.mouth_y = self.nose_y + 0.16 + 0.10 * grown
        self.backdrop = _hsv(rng.uniform(), rng.uniform(0.1, 0.5), rng.uniform(0.45, 0.95))
        self.image = Image.new("RGBA", (side, side))
        self.pen = ImageDraw.Draw(self.image)

    def draw(self) -> Image.Image:
        self._body()
        self._head()
        for sign in (-1, 1):
            self._eye(sign)
            if self.age > 28:
                self._cheek_fold(sign)
        self._nose_and_mouth()
        self._forehead()
        for _ in range(self.rng.poisson(9 * self.old)):
            self._age_spot()
        if self.rng.uniform() < 0.1 + 0.35 * self.old:
            self._glasses()
        return self.image

    def box_in(self, left: float, top: float, angle: float) -> tuple[float, ...]:
        """Return left, top, width and height of the face in an image into which the drawing
        is pasted at (left, top), rotated clockwise about its centre."""
        x, y = (position - self.side / 2 for position in self._at(0, 0))
        sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        x, y = left + self.side / 2 + x * cos - y * sin, top + self.side / 2 + x * sin + y * cos
        width, height = (2 * r * 0.36 * self.side for r in (self.wide, self.tall))
        return x - width / 2, y - height / 2, width, height

    def _at(self, x: float, y: float) -> tuple[float, float]:
        scale = 0.36 * self.side
        return self.side / 2 + x * scale, 0.53 * self.side + y * scale

    def _box(self, x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
        return (*self._at(x - rx, y - ry), *self._at(x + rx, y + ry))

    def _ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        self.pen.ellipse(self._box(x, y, rx, ry), fill=colour)

    def _line(self, points: list[tuple[float, float]], colour: Colour, width: float) -> None:
        pixels = [self._at(x, y) for x, y in points]
        self.pen.line(pixels, colour, max(1, round(width * self.side)), joint="curve")

    def _body(self) -> None:
        if self.person.long_hair and self.age > 2:
            length = self.tall * (0.95 + 0.25 * self.grown)
            self._ellipse(0, 0.12, 1.22 * self.wide, length, self.hair)
        rng = self.rng
        shirt = _hsv(rng.uniform(), rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.8))
        self._ellipse(0, 1.75, 0.75 + 0.45 * self.grown, 0.75, shirt)
        neck = self._box(0, 0.95, 0.22 + 0.1 * self.grown, 0.3)
        self.pen.rectangle(neck, fill=self.shade)

    def _head(self) -> None:
        wide, tall, old = self.wide, self.tall, self.old
        hair_grown = float(np.clip(self.age / 3, 0.15, 1))
        for sign in (-1, 1):
            self._ellipse(sign * 0.99 * wide, 0.12, 0.13, 0.2, self.shade)
        if not (self.person.goes_bald and old > 0.8):
            thick = 0.03 + 0.10 * hair_grown * (1 - 0.5 * old)
            lift = 0.03 + 0.27 * (tall - 0.82)
            self._ellipse(0, -lift - thick, wide * (1 + 0.8 * thick), tall, self.hair)
        self._ellipse(0, 0, wide, tall, self.skin)
        jowl = wide * (0.78 - 0.14 * self.grown + 0.12 * old)
        self._ellipse(0, 0.38, jowl, tall - 0.36, self.skin)
        hairline = 0.30 * hair_grown * (1 - (0.9 if self.person.goes_bald else 0.25) * old)
        if hairline > 0.04:
            half = math.radians(25 + 65 * hairline)
            arc = np.linspace(-half, half, 24)
            top = [self._at(1.03 * wide * math.sin(a), -1.03 * tall * math.cos(a)) for a in arc]
            self.pen.polygon(top, fill=self.hair)

    def _eye(self, sign: int) -> None:
        x = sign * (0.34 + 0.02 * self.grown) * self.person.width + self.yaw
        y, r, old = self.eye_y, self.eye_r, self.old
        self._ellipse(x, y, r, r * (0.85 - 0.35 * old), (250, 248, 244))
        gaze = x + self.yaw / 2
        self._ellipse(gaze, y, 0.55 * r, r * (0.62 - 0.15 * old), self.person.eyes)
        self._ellipse(gaze, y, 0.25 * r, 0.28 * r, (15, 12, 12))
        brow = y - r - 0.05 - 0.02 * self.grown + 0.05 * old
        ends = [(x - 0.15, brow + 0.03), (x, brow), (x + 0.15, brow + 0.03)]
        self._line(ends, self.hair, 0.008 + 0.012 * self.grown)
        if self.age > 32:  # crow's feet, and the bag below the eye
            corner = x + sign * (r + 0.03)
            for drop in 0.05 * np.arange(-1, round(3 * old)):
                ray = [(corner, y + 0.5 * drop), (corner + sign * 0.11, y + 1.6 * drop)]
                self._line(ray, self.wrinkle, 0.005)
            bag = self._box(x, y + 0.05, 1.1 * r, r * (0.8 + 0.5 * old))
            self.pen.arc(bag, 30, 150, fill=self.wrinkle, width=max(1, self.side // 110))

    def _cheek_fold(self, sign: int) -> None:
        x1, y1 = sign * 0.13 + self.yaw, self.nose_y
        x2, y2 = sign * (0.24 + 0.06 * self.old) + self.yaw, self.mouth_y + 0.1 * self.old
        middle = ((x1 + x2) / 2 + sign * 0.03, (y1 + y2) / 2)
        self._line([(x1, y1), middle, (x2, y2)], self.wrinkle, 0.004 + 0.006 * self.old)

    def _nose_and_mouth(self) -> None:
        yaw, old = self.yaw, self.old
        bridge = [(yaw, self.eye_y + 0.06), (1.6 * yaw + 0.03, self.nose_y - 0.03)]
        self._line(bridge, _mix(self.skin, self.shade, 0.5), 0.006)
        tip = self._box(1.6 * yaw, self.nose_y - 0.03, 0.07 + 0.05 * self.grown + 0.03 * old, 0.06)
        self.pen.arc(tip, 10, 170, fill=self.shade, width=max(2, self.side // 90))
        half, smile = 0.15 + 0.12 * self.grown, self.rng.uniform(-0.02, 0.09)
        y = self.mouth_y
        lips = _mix(self.skin, (178, 52, 60), 0.65 - 0.35 * old)
        mouth = [(yaw - half, y), (yaw, y + smile), (yaw + half, y)]
        self._line(mouth, lips, 0.026 - 0.012 * old)

    def _forehead(self) -> None:
        for k in range(round(4 * self.old)):
            y = self.eye_y - 0.32 - 0.085 * k
            furrow = [(self.yaw - 0.3, y + 0.02), (self.yaw, y - 0.015), (self.yaw + 0.3, y + 0.02)]
            self._line(furrow, self.wrinkle, 0.005)

    def _age_spot(self) -> None:
        x, y, r = (self.rng.uniform(*ends) for ends in ((-0.55, 0.55), (-0.7, 0.7), (0.012, 0.03)))
        self._ellipse(x, y, r, r, _mix(self.skin, self.shade, 0.45))

    def _glasses(self) -> None:
        frame = (40, 40, 45)
        for sign in (-1, 1):
            lens = self._box(sign * 0.36 + self.yaw, self.eye_y, 0.24, 0.2)
            self.pen.ellipse(lens, outline=frame, width=self.side // 70)
        bridge = [(self.yaw - 0.12, self.eye_y), (self.yaw + 0.12, self.eye_y)]
        self._line(bridge, frame, 0.012)


def _photograph(
    drawing: Image.Image, size: int, backdrop: Colour, rng: np.random.RandomState
) -> np.ndarray:
    """Tilt, shift, scale, light and blur a drawing, as a camera would."""
    image = Image.new("RGB", drawing.size, backdrop)
    image.paste(drawing, mask=drawing)
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
    return _develop(image.resize((size, size), Image.Resampling.LANCZOS), rng)


def _develop(image: Image.Image, rng: np.random.RandomState) -> np.ndarray:
    """Add blur, light from one side, a tint and noise."""
    size = image.width
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.004) * size))
    direction = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    light = rng.uniform(0.78, 1.12) * (
        1 + rng.uniform(0, 0.22) * (x * math.cos(direction) + y * math.sin(direction))
    )
    tint = rng.uniform(0.94, 1.06, 3)
    pixels = np.asarray(image) * light[:, :, None] * tint + rng.normal(0, 2, (size, size, 1))
    return pixels.clip(0, 255).astype(np.uint8)


def _scene(
    person: _Person, age: float, size: int, rng: np.random.RandomState
) -> tuple[np.ndarray, Bunch]:
    """Draw a scene with the person, and possibly smaller faces of others."""
    side = 2 * size
    image = Image.new("RGB", (side, side), _hsv(rng.uniform(), 0.3, rng.uniform(0.4, 0.9)))
    _clutter(ImageDraw.Draw(image), side, rng)
    free = np.ones((side, side), dtype=bool)
    found = []
    width = rng.uniform(0.35, 0.6) * side  # of the portrait; the face fills about 0.7 of it
    for _ in range(rng.randint(1, 4)):
        angle = rng.uniform(-30, 30)
        portrait = _Portrait(person, age, int(width), rng)
        drawing = portrait.draw().rotate(-angle, Image.Resampling.BICUBIC)
        corners = rng.randint(0, side - drawing.width + 1, (20, 2))
        for x, y in corners:
            place = np.s_[y : y + drawing.height, x : x + drawing.width]
            if free[place].all():
                free[place] = False
                image.paste(drawing, (int(x), int(y)), drawing)
                found.append((*portrait.box_in(x, y, angle), angle, age))
                break
        person, age, width = _Person.draw(rng), rng.randint(0, 91), width * rng.uniform(0.5, 0.8)
    image = image.resize((size, size), Image.Resampling.LANCZOS)
    faces = np.array(found)
    return _develop(image, rng), Bunch(
        boxes=faces[:, :4] * size / side, angles=faces[:, 4], ages=faces[:, 5]
    )


def _clutter(pen: ImageDraw.ImageDraw, side: int, rng: np.random.RandomState) -> None:
    """Draw things that are not faces."""
    for _ in range(rng.randint(6, 14)):
        x, y, w, h = rng.uniform(-0.1, 1, 2).tolist() + rng.uniform(0.05, 0.5, 2).tolist()
        colour = _hsv(rng.uniform(), rng.uniform(0.1, 0.7), rng.uniform(0.2, 0.95))
        box = [side * x, side * y, side * (x + w), side * (y + h)]
        kind = rng.randint(3)
        if kind == 0:
            pen.rectangle(box, fill=colour)
        elif kind == 1:
            pen.ellipse(box, fill=colour)
        else:
            pen.line(box, fill=colour, width=int(side * rng.uniform(0.005, 0.03)) + 1)


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    r, g, blue = (round(u + (v - u) * share) for u, v in zip(a, b, strict=True))
    return r, g, blue


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = (round(255 * c) for c in colorsys.hsv_to_rgb(hue, saturation, value))
    return r, g, b


def _jitter(colour: Colour, spread: float, rng: np.random.RandomState) -> Colour:
    r, g, b = (int(c) for c in np.clip(np.array(colour) + rng.normal(0, spread, 3), 0, 255))
    return r, g, b
