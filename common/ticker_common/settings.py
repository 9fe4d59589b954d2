"""Settings that freeze at the door: one pydantic model per program, filled from flags, then environment, then defaults.

A program declares a frozen `ProgramSettings`; `settings_options` turns its fields into click options, so that
``--help`` shows every setting with its meaning, range, default and environment variable, and nothing can be
set that is not documented. A bad value is refused with the name of the flag and of the variable.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound="ProgramSettings")


class ProgramSettings(BaseSettings):
    """Base of every program's settings: frozen, nothing undeclared, environment by prefix."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_nested_delimiter=None)


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
    try:
        return model(**(flags or {}))
    except ValidationError as error:
        lines = [_refusal(model, problem["loc"], problem["msg"]) for problem in error.errors(include_input=False)]
        raise click.UsageError("\n".join(lines)) from None


def _refusal(model: type[ProgramSettings], location: tuple[int | str, ...], message: str) -> str:
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
    help_text = f"{field.description or ''} [{_variable(model, name)}; {shown}]"
    annotation = _plain(field.annotation)
    if annotation is bool:
        return click.option(f"{_flag(name)}/--no-{name.replace('_', '-')}", name, default=None, help=help_text)
    if get_origin(annotation) in (tuple, list, frozenset):
        return click.option(_flag(name), name, multiple=True, help=help_text + " May be repeated.")
    return click.option(_flag(name), name, default=None, metavar=_metavar(annotation), help=help_text)


def _plain(annotation: Any) -> Any:
    """`X` of `X | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return rest[0] if len(rest) == 1 else annotation
    return annotation


def _text(default: Any) -> str:
    if default in (None, "", (), frozenset()):
        return "none"
    return str(default.value if isinstance(default, Enum) else default)


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(str(value) for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(member.value) for member in annotation)
    return getattr(annotation, "__name__", "VALUE").upper()
