"""Configurations as the command line and users name them: a preset, or a JSON file.

`quadfire verilog` writes such a file beside the Verilog, `quadfire.json`. One that holds nothing
but the fields is as good: `{"lanes": 16, "weight_bits": 4}`. A field that a file leaves out has its
default.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from quadfire.rtl.contract.config import PRESETS, ArrayConfig, preset

__all__ = ["known_configs", "read_config", "with_changes"]

#: A description is some kilobytes; nothing larger is read.
_LARGEST = 1 << 20


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON whose keys all differ."""
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands in it twice")
    return values


def _of_file(path: Path) -> ArrayConfig:
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is larger than 1 MiB, which no configuration is")
        values = json.loads(path.read_text(), object_pairs_hook=_once)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: this is no JSON: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if isinstance(values, dict) and isinstance(values.get("configuration"), dict):
        values = values["configuration"]
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object of configuration fields, such as "
                         '{"lanes": 16}, or a quadfire.json of `quadfire verilog`')
    try:
        return ArrayConfig.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def with_changes(config: ArrayConfig, changes: Iterable[str]) -> ArrayConfig:
    """`config` with changes as "field=value"; ValueError says which change cannot be."""
    values: dict[str, int] = {}
    known = config.as_dict()
    for change in changes:
        name, equals, value = (word.strip() for word in change.partition("="))
        if name not in known:
            raise ValueError(f"--set {change}: there is no field {name!r}; there are "
                             f"{', '.join(known)}")
        if not equals or not (value.isascii() and value.isdecimal()) or len(value) > 9:
            raise ValueError(f"--set takes field=number, not {change!r}")
        if name in values:
            raise ValueError(f"--set {change}: {name} is set twice")
        values[name] = int(value)
    return replace(config, **values)


def read_config(name: str | Path, changes: Iterable[str] = ()) -> ArrayConfig:
    """The configuration called `name`: a preset, or a JSON file, with "field=value" changes.

    Raises ValueError for a name that is neither, for a file that holds no configuration, and for
    an array that cannot be built.
    """
    text = str(name)
    if text in PRESETS:
        config = preset(text)
    elif Path(text).is_dir():
        inside = Path(text) / "quadfire.json"
        raise ValueError(f"{text} is a folder: " + (
            f"did you mean {inside}?" if inside.is_file() else "name a preset or a .json file"))
    elif text.endswith(".json") or Path(text).is_file():
        if not Path(text).is_file():
            raise ValueError(f"{text}: there is no such file")
        config = _of_file(Path(text))
    else:
        raise ValueError(f"no configuration is called {text!r}; there are {', '.join(PRESETS)}, or "
                         "name a .json file, such as the quadfire.json of `quadfire verilog`")
    return with_changes(config, changes)


def known_configs(folder: Path = Path("build")) -> Iterator[tuple[str, ArrayConfig]]:
    """(name, configuration) of all presets, and of each quadfire*.json in `folder` or one below."""
    yield from PRESETS.items()
    for path in sorted([*folder.glob("quadfire*.json"), *folder.glob("*/quadfire*.json")]):
        try:
            yield str(path), _of_file(path)
        except (ValueError, OSError):
            continue    # of an older version, or of something else
