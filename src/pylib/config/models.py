"""Sections of the settings as checked values: pydantic models, filled by :class:`AppConfig`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar, get_args, get_origin

from pylib.config.redaction import looks_secret, redact, shown
from pylib.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from pylib.config.appconfig import AppConfig

    M = TypeVar("M", bound=BaseModel)

__all__ = ["load_settings"]

# Errors whose text was written by a model's own validator, and may therefore quote the value.
_FREE_TEXT: Final = ("value_error", "assertion_error", "json_invalid")


def load_settings(model: type[M], section: str, config: AppConfig) -> M:
    """Fill a pydantic model from one section. The environment and the secrets override it as they do everywhere here.

    A field that holds several values takes them separated by commas or lines, or as a JSON array. An option without a
    field is an error where the model says ``extra="forbid"``, which is the default of ``BaseSettings``.

    :raises ConfigError: in one line: file, section, option and what is wrong with it.
    """
    from pydantic import ValidationError
    from pydantic_settings import BaseSettings

    values: dict[str, object] = {}
    spelled: dict[str, str] = {}
    for field, info in model.model_fields.items():
        option = info.alias or field
        spelled[option.casefold()] = option
        text = config.get(section, option, fallback=None)
        if text is not None:
            values[option] = _several(text) if _is_collection(info.annotation) else text
    if config.has_section(section):
        for option in config.options(section):
            if option.casefold() not in spelled:
                values[option] = config.get(section, option)
    target: type[M] = model
    if issubclass(model, BaseSettings):
        # Its own environment source would read USER for a field called user; the precedence above is the only one.
        target = type(model.__name__, (model,), {"settings_customise_sources": classmethod(_only_init)})
    try:
        return target.model_validate(values)
    except ValidationError as error:
        # "from None": pydantic's message quotes the values.
        problems = "; ".join(_problem(detail, section, config) for detail in error.errors(include_url=False))
        raise ConfigError(problems) from None


def _only_init(
    cls: type[object], /, settings_cls: type[object], init_settings: object, **_others: object
) -> tuple[object, ...]:
    return (init_settings,)


def _is_collection(annotation: object) -> bool:
    kinds = {get_origin(annotation) or annotation, *(get_origin(arg) or arg for arg in get_args(annotation))}
    return not kinds.isdisjoint({list, tuple, set, frozenset})


def _several(text: str) -> object:
    if text.lstrip().startswith("["):
        import msgspec

        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]


def _problem(detail: ErrorDetails, section: str, config: AppConfig) -> str:
    option = str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "missing":
        return config.missing(section, option)
    place = config.place(section, option) if option else f"{config.path}: [{section}]"
    if detail["type"] == "extra_forbidden":
        return f"{place} is not an option of this section: remove it, or correct its spelling."
    inner = "".join(f", item {part + 1}" for part in detail["loc"][1:] if isinstance(part, int))
    value = detail["input"]
    given = f" is {shown(option, value)}" if isinstance(value, str) else ""
    message = redact(detail["msg"].removeprefix("Value error, "))
    if looks_secret(option) and (detail["type"] in _FREE_TEXT or str(value) in message):
        message = "the value is not accepted"
    return f"{place}{inner}{given}: {message[:1].lower()}{message[1:].rstrip('.')}."
