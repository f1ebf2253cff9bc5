"""What is wrong with a value of a recipe, in words that say what to give instead. Knows no field."""

from __future__ import annotations

from typing import Any

_NEEDED = {
    "int_parsing": "give a whole number",
    "int_type": "give a whole number",
    "int_from_float": "give a whole number",
    "float_parsing": "give a number",
    "float_type": "give a number",
    "finite_number": "give a number that is not infinite",
    "bool_parsing": "give true or false",
    "bool_type": "give true or false",
    "string_type": "give text",
    "list_type": "give a list, e.g. [a, b]",
    "model_type": "give a section, e.g. {{key: value}}",
    "greater_than_equal": "give {ge} or more",
    "greater_than": "give more than {gt}",
    "less_than_equal": "give {le} or less",
    "less_than": "give less than {lt}",
    "literal_error": "give {expected}",
}


def needed(error: Any) -> str:
    """What to give, for an error of pydantic's: "give 1 or more"; its own words where there are none of ours."""
    kind = str(error["type"])
    if kind in _NEEDED:
        context = error.get("ctx") or {}
        shown = {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}
        return _NEEDED[kind].format(**shown)
    return str(error["msg"]).removeprefix("Value error, ")
