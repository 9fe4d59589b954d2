"""Settings that freeze at the door: one pydantic model per program, filled from flags, then environment, then defaults.

A program declares a frozen `ProgramSettings`; `settings_options` makes click options of its fields, so that ``--help``
shows every setting with its meaning, range, default and environment variable, and nothing can be set that is not
documented. A bad value is refused with the name of the flag and of the variable, and so is a variable with the
program's prefix that names no setting: a slip in it would change nothing, and nobody would be told.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
import types
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic import ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound="ProgramSettings")

# What the kubelet adds to the environment for a Service whose name begins like our prefix (`enableServiceLinks`).
_SERVICE_LINK: Final = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")


class ProgramSettings(BaseSettings):
    """Base of every program's settings: frozen, nothing undeclared, environment by prefix."""

    # Decoding is ours: the library would raise without saying which variable is no JSON.
    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_nested_delimiter=None, enable_decoding=False)

    @field_validator("*", mode="before")
    @classmethod
    def _decoded(cls, value: object, info: ValidationInfo) -> object:
        """Lists and objects are JSON: a variable holds the whole, a repeated flag one element each time."""
        assert info.field_name is not None
        shape, element = _collection(cls.model_fields[info.field_name].annotation)
        if shape is not None and isinstance(value, str):
            return _from_json(value, shape)
        if element is dict and isinstance(value, tuple):
            return tuple(_from_json(one, dict) if isinstance(one, str) else one for one in value)
        return value


def settings_options(model: type[S]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Click options for each field of `model`; the command receives the one frozen value, then its own parameters.

    Raises
    ------
    click.UsageError
        When a value is refused: the flag, the variable, the rule.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def run(**parameters: Any) -> Any:
            flags = {name: parameters.pop(name) for name in model.model_fields if name in parameters}
            given = {name: value for name, value in flags.items() if value is not None and value != ()}
            return command(load_settings(model, given), **parameters)

        decorated: Callable[..., Any] = functools.update_wrapper(run, command)
        for name, field in reversed(list(model.model_fields.items())):
            decorated = _option(model, name, field)(decorated)
        return decorated

    return decorate


def load_settings(model: type[S], flags: dict[str, Any] | None = None) -> S:
    """`model` from flags, environment and defaults; errors in the user's words.

    Raises
    ------
    click.UsageError
        One line per refused setting, naming flag and variable; the refused value is not repeated (it may be a secret).
    """
    if strangers := _strangers(model):
        raise click.UsageError("\n".join(strangers))
    try:
        return model(**(flags or {}))
    except ValidationError as error:
        lines = [_refusal(model, problem["loc"], problem["msg"]) for problem in error.errors(include_input=False)]
        raise click.UsageError("\n".join(lines)) from None


def _strangers(model: type[ProgramSettings]) -> list[str]:
    """Variables that look like settings and are none, a line each."""
    prefix = model.model_config.get("env_prefix", "")
    known = [name.upper() for name in model.model_fields]
    lines = []
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(prefix)
        if not variable.upper().startswith(prefix) or name in known or _SERVICE_LINK.fullmatch(name):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        lines.append(f"{variable}: no such setting{f'; is {prefix}{near[0]} meant?' if near else ''}")
    return lines


def _refusal(model: type[ProgramSettings], location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not location:
        return message
    name = str(location[0])
    return f"{_flag(name)} ({_variable(model, name)}): {message}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(model: type[ProgramSettings], name: str) -> str:
    return f"{model.model_config.get('env_prefix', '')}{name}".upper()


def _option(
    model: type[ProgramSettings], name: str, field: FieldInfo
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    default = field.get_default(call_default_factory=True)
    shown = "required" if default is PydanticUndefined else f"default {_text(default)}"
    limits = _limits(field)
    help_text = f"{field.description or ''} [{_variable(model, name)}; {f'{limits}; ' if limits else ''}{shown}]"
    annotation = _plain(field.annotation)
    if annotation is bool:
        return click.option(f"{_flag(name)}/--no-{name.replace('_', '-')}", name, default=None, help=help_text)
    if _collection(annotation)[0] is list:
        return click.option(_flag(name), name, multiple=True, help=help_text + " May be repeated.")
    return click.option(_flag(name), name, default=None, metavar=_metavar(annotation), help=help_text)


def _plain(annotation: Any) -> Any:
    """`X` of `X | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return rest[0] if len(rest) == 1 else annotation
    return annotation


def _limits(field: FieldInfo) -> str:
    """The range of a number, as its declaration has it."""
    marks = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(
        f"{sign}{limit}"
        for rule in field.metadata
        for mark, sign in marks.items()
        if (limit := getattr(rule, mark, None)) is not None
    )


def _collection(annotation: Any) -> tuple[type[list[Any]] | type[dict[Any, Any]] | None, Any]:
    """What JSON must hold for it, if that is a list or an object, and what a list's elements are."""
    plain = _plain(annotation)
    origin = get_origin(plain)
    if origin is dict:
        return dict, None
    if origin in (tuple, list, frozenset):
        element = get_args(plain)[0]
        return list, get_origin(element) or element
    return None, None


def _from_json(text: str, shape: type[list[Any]] | type[dict[Any, Any]]) -> object:
    try:
        parsed: object = json.loads(text)
    except ValueError:
        parsed = None
    if isinstance(parsed, shape):
        return parsed
    raise ValueError("must be a JSON object" if shape is dict else "must be a JSON list")


def _text(default: Any) -> str:
    if default in (None, "", (), frozenset(), {}):
        return "none"
    return str(default.value if isinstance(default, Enum) else default)


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(str(value) for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(member.value) for member in annotation)
    if _collection(annotation)[0] is dict:
        return "JSON"
    return getattr(annotation, "__name__", "VALUE").upper()
