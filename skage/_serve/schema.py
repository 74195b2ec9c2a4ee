"""What the endpoints take and return, as JSON Schema and OpenAPI."""

from __future__ import annotations

from typing import Any

from .. import __version__

_YEARS = {"type": "number", "description": "In years."}
_PIXELS = {"type": "number", "description": "In pixels of the upright image."}
BOX = ("left", "top", "width", "height")
_DECISIONS = ["over", "under", "unsure", None]


def _object(properties: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


FACE = _object(
    {
        "box": _object(
            dict.fromkeys(BOX, _PIXELS),
            "Where the face is. It may reach beyond the border of the image.",
        ),
        "score": {
            "type": ["number", "null"],
            "description": "The detector's score; null if the whole image is taken as a face.",
        },
        "age": {**_YEARS, "description": "Estimated age in years."},
        "std": {**_YEARS, "description": "Standard deviation of the distribution in years."},
        "low": {**_YEARS, "description": "Lower bound of the interval in years."},
        "high": {**_YEARS, "description": "Upper bound of the interval in years."},
        "decision": {
            "enum": _DECISIONS,
            "description": "Whether the whole interval is at or over the limit, or under it; "
            "unsure if it contains the limit; null without a limit.",
        },
        "first_year": {"type": "integer", "description": "Age of the first probability."},
        "probabilities": {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "description": "Probability of an age from first_year to one year more, then of "
            "the next year, and so on.",
        },
    },
    "A face and its estimated age.",
)

ANSWER = _object(
    {
        "width": {"type": "integer", "description": "Width of the upright image in pixels."},
        "height": {"type": "integer", "description": "Height of the upright image in pixels."},
        "coverage": {"type": "number", "description": "Nominal coverage of the intervals."},
        "limit": {"type": ["number", "null"], "description": "The limit of age in years."},
        "faces": {
            "type": "array",
            "items": FACE,
            "description": "The highest score first; empty if no face is found.",
        },
    },
    "The faces of an image.",
)

HEALTH = _object(
    {
        "status": {"const": "ok"},
        "coverage": {"type": "number"},
        "limit": {"type": ["number", "null"]},
        "max_bytes": {"type": "integer", "description": "Size of the largest image accepted."},
    },
    "The server is up; what it was started with.",
)

ERROR = _object({"error": {"type": "string"}}, "What is wrong, as a sentence.")

_ERRORS = {
    400: "The Host header names a machine that this server was not told of.",
    408: "The upload took too long.",
    413: "The image has too many bytes.",
    415: "The content type is not an image.",
    422: "The image cannot be read, or has too many pixels.",
    500: "The server failed.",
    503: "Too many images are waiting; try again after the seconds of Retry-After.",
    504: "The estimation took too long.",
}


def _answer(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def openapi() -> dict[str, Any]:
    """Return the description of the endpoints, in OpenAPI 3.1."""
    errors = {str(code): _answer(_reference("Error"), text) for code, text in _ERRORS.items()}
    predict = {
        "summary": "Estimate the age of every face in an image.",
        "description": "Send the bytes of the image file as the body. They are not stored.",
        "requestBody": {
            "required": True,
            "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
        },
        "responses": {"200": _answer(_reference("Answer"), "The faces."), **errors},
    }
    health = {
        "summary": "Ask whether the server is up.",
        "responses": {"200": _answer(_reference("Health"), "It is.")},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "skage", "version": __version__},
        "paths": {"/predict": {"post": predict}, "/health": {"get": health}},
        "components": {"schemas": {"Answer": ANSWER, "Health": HEALTH, "Error": ERROR}},
    }
