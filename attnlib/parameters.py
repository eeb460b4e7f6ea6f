"""Parameters with a description and valid values, and validation of what a user gives."""

import difflib
import math
import os
from collections.abc import Iterable
from dataclasses import Field, field, fields
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, get_args, get_type_hints


def parameter(
    default: Any,
    about: str,
    *,
    choices: tuple[str, ...] = (),
    prefix: str | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    numeric: bool = False,
) -> Any:
    """A dataclass field with a description and its valid values.

    Args:
        default: Default value.
        about: Short description.
        choices: Valid values of a text.
        prefix: Prefix of further valid texts, besides the choices.
        low: Smallest valid number.
        high: Greatest valid number.
        above: Exclusive lower bound.
        numeric: Whether a whole number is valid text too.
    """
    limits = {"choices": choices, "prefix": prefix, "low": low, "high": high, "above": above}
    return field(default=default, metadata={"about": about, "numeric": numeric, **limits})


def parse_params(cls: type, params: dict[str, Any]) -> dict[str, Any]:
    """Check ``params`` against the fields of dataclass ``cls``; text is read as the field's type.

    Values that are None are left out, which means the default.

    Raises:
        ValueError: Listing all errors at once, each with the name, the nearest valid name and the
            valid values.
    """
    known = {f.name: f for f in fields(cls)}
    hints = get_type_hints(cls)
    parsed, faults = {}, []
    for name, value in params.items():
        if name not in known:
            near = suggest(name, known)
            faults.append(f"{name}: no such parameter.{near} Parameters: {', '.join(known)}.")
        elif not stands_for_default(value, known[name]):
            try:
                parsed[name] = parse_value(known[name], hints[name], value)
            except ValueError as fault:
                faults.append(str(fault))
    if faults:
        raise ValueError("\n".join(faults))
    return parsed


def stands_for_default(value: Any, f: "Field[Any]") -> bool:
    """Whether ``value`` is None, or the text "none" where the default is None."""
    return value is None or (f.default is None and str(value).lower() == "none")


def parse_value(f: "Field[Any]", hint: Any, value: Any) -> Any:
    """Parse ``value`` as type ``hint`` within the field's limits.

    Raises:
        ValueError: Naming the parameter, the value received and the valid ones.
    """
    members = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kind = next(member for member in members if member is not NoneType)
    if f.metadata["choices"]:
        return parse_choice(f, value)
    is_flag = str(value).lower() in ("true", "false")
    if kind is bool and is_flag:
        return str(value).lower() == "true"
    if kind is str:
        return parse_text(f, value)
    if kind in (int, float) and not is_flag:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        limits = f.metadata
        within = limits["low"] <= number <= limits["high"] and number > limits["above"]
        if math.isfinite(number) and within and (kind is float or number == int(number)):
            return kind(number)
    raise ValueError(f"{f.name}: expected {describe_limits(kind, f)}; got {value!r}.")


def parse_text(f: "Field[Any]", value: Any) -> str:
    """Parse text; numbers are refused, since ``007`` and ``1e3`` would arrive altered."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str | Path) or (is_whole and f.metadata["numeric"]):
        return os.path.expanduser(str(value))  # only paths start with ~
    told = f"{f.name}: expected text; got {value!r}."
    if isinstance(value, int | float):
        told += (
            f" Papermill's -p makes a number of what looks like one, and True and False of these "
            f"words; -r {f.name} TEXT hands over the text as it stands."
        )
    raise ValueError(told)


def parse_choice(f: "Field[Any]", value: Any) -> str:
    """Parse text that must be one of the field's choices or start with its prefix."""
    choices, prefix = f.metadata["choices"], f.metadata["prefix"]
    if str(value).lower() in ("true", "false"):  # a boolean from a notebook or papermill
        value = str(value).lower()
    if value in choices or (prefix and str(value).startswith(prefix)):
        return str(value)
    also = f", or {prefix}NAME" if prefix else ""
    raise ValueError(
        f"{f.name}: unknown value {value!r}.{suggest(str(value), choices)} "
        f"Valid: {', '.join(choices)}{also}."
    )


def suggest(name: str, names: Iterable[str]) -> str:
    """`` Did you mean 'nearest'?``, or nothing if no name is close."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.4)
    return f" Did you mean {near[0]!r}?" if near else ""


def describe_limits(kind: type, f: "Field[Any]") -> str:
    """The valid values of a field, in words."""
    words = {bool: "True or False", int: "a whole number", float: "a number"}[kind]
    limits = f.metadata
    bounds = [(">", limits["above"]), (">=", limits["low"]), ("<=", limits["high"])]
    told = [f"{sign} {bound:.12g}" for sign, bound in bounds if math.isfinite(bound)]
    return " ".join([words, " and ".join(told)]).strip()


def notebook_parameters(namespace: dict[str, Any]) -> dict[str, Any]:
    """The variables set by a notebook's parameter cells, from its ``globals()``."""
    own = {"In", "Out", "get_ipython", "exit", "quit", "open"}
    return {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_")
        and name not in own
        and not isinstance(value, ModuleType)
        and not callable(value)
    }


def parameter_help(cls: type) -> str:
    """One line per parameter of ``cls``: its name, description and choices."""
    lines = []
    for f in fields(cls):
        choices = f": {', '.join(f.metadata['choices'])}" if f.metadata["choices"] else ""
        lines.append(f"  {f.name:16}{f.metadata['about']}{choices}")
    return "\n".join(lines)
