"""Strict configuration: YAML and `key.path=value` words in, frozen and checked values out.

A configuration is data: nothing in it is executed. An unknown or ill-typed key is an error that names its
path, its value and what was expected.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen, strictly checked group of settings; it stands beside the code that it configures."""


class ConfigError(ValueError):
    """A user's mistake in a configuration."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: `1e-3` is a float, as everyone who writes it means."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)$|^[-+]?(?:\d+\.\d*|\.\d+)$|^[-+]?\.(?:inf|nan)$"
    ),
    list("-+0123456789."),
)

C = TypeVar("C")


def load(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of a YAML file with `key.path=value` overrides laid over them.

    ConfigError: the file is missing or is not a mapping, or an override has no `=`.
    """
    try:
        settings = yaml.load(path.read_text(encoding="utf8"), _Loader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {type(settings).__name__}")
    return override(settings, overrides)


def override(settings: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A copy of the settings with each `key.path=value` laid over it; values are YAML."""
    result = _copy(settings)
    for word in words:
        path, equals, text = word.partition("=")
        if not equals or not path:
            raise ConfigError(f"{word!r}: expected key.path=value")
        try:
            value = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
        except yaml.YAMLError as error:
            raise ConfigError(f"{word!r}: the value is not valid YAML") from error
        *parents, leaf = path.split(".")
        place = result
        for key in parents:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{path}: {key!r} holds a value, not a group of settings")
        place[leaf] = value
    return result


def _copy(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in settings.items()}


def convert(settings: Any, kind: type[C], *, path: str = "") -> C:
    """Settings as a value of the given kind; `path` is where they stand, for the error message."""
    try:
        return msgspec.convert(settings, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, settings, path)) from error


def builtins(config: Config) -> dict[str, Any]:
    """A configuration as it is saved, and as it comes back: as JSON has it, without tuples."""
    result: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    return result


def _explain(error: msgspec.ValidationError, settings: Any, path: str) -> str:
    """`encoder.context.layers: expected int, got str: 'six'` from msgspec's message."""
    message, _, where = str(error).partition(" - at `$")
    keys = [key for key in where.rstrip("`").split(".") if key]
    value: Any = settings
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    unknown = re.search(r"unknown field `(.+)`", message)
    place = (
        ".".join([*([path] if path else []), *keys, *([unknown[1]] if unknown else [])]) or "configuration"
    )
    if unknown:
        return f"{place}: unknown key"
    if missing := re.search(r"missing required field `(.+)`", message):
        return f"{'' if place == 'configuration' else f'{place}.'}{missing[1]}: required, but not given"
    shown = "" if isinstance(value, Mapping) else f": {value!r}"
    return f"{place}: {message[0].lower()}{message[1:].replace('`', '')}{shown}"
