"""Config: what a person has set once and for all, and where each value comes from.

A flag or an option in code comes first, then the environment, then the project's `[tool.fastsa]`
in pyproject.toml, then the user's file, then the default. Imports nothing that takes time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fastsa.errors import BadInput

USER_FILE = "FASTSA_CONFIG"
"""Environment variable: another user file; empty means none."""

PROJECT_FILE = "pyproject.toml"
DEFAULT = "default"
LONGEST = 366 * 86400.0  # seconds that anything may be told to take


class Setting(NamedTuple):
    """One thing to set. `read` makes a value of what a file or a variable says, or raises
    ValueError. What says where data goes is the user's alone: a project's file comes from anybody.
    """

    name: str
    read: Callable[[Any], Any]
    default: Any
    about: str
    only_user: bool = False

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "FASTSA_" + self.name.upper().replace(".", "_")


class SettingValue(NamedTuple):
    """What counts, and where it is from: a file, a variable, or the default."""

    value: Any
    source: str

    @property
    def is_set(self) -> bool:
        """Whether anybody has chosen it."""
        return self.source != DEFAULT


# Reading ------------------------------------------------------------------------------------------


def _text(given: Any) -> str:
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        raise ValueError("it must be text")
    return given


def _remote(given: Any) -> str:
    text = _text(given)
    if "://" not in text and not text.startswith(("/", "~")):
        raise ValueError("a folder must be given by its whole path")  # scripts change directory
    return text


def _budget(given: Any) -> str:
    from fastsa.planner.budget import parse

    if isinstance(given, bool) or not isinstance(given, (int, str)):
        raise ValueError('it must be "40GiB", "50%" or "auto"')
    parse(str(given))
    return str(given)


def _size(given: Any) -> str:
    from fastsa.planner.budget import parse

    if isinstance(given, bool) or parse(str(given)).kind != "bytes":
        raise ValueError('it must be a size, like "4GiB"')
    return str(given)


def _seconds(given: Any) -> float:
    number = _number(given, float)
    if not 0 <= number <= LONGEST:
        raise ValueError("it must be a number of seconds, a year at most")
    return float(number)


def _count(given: Any) -> int:
    number = _number(given, int)
    if not 1 <= number <= 1024:
        raise ValueError("it must be a whole number from 1 to 1024")
    return int(number)


def _natural(given: Any) -> int:
    number = _number(given, int)
    if not 0 <= number < 2**63:
        raise ValueError("it must be a whole number, 0 or more")
    return int(number)


def _number(given: Any, kind: type) -> Any:
    wanted = (int, float, str) if kind is float else (int, str)
    if isinstance(given, bool) or not isinstance(given, wanted):
        raise ValueError("it must be a number")
    try:
        return kind(given)
    except ValueError:
        raise ValueError("it must be a number") from None


def _switch(given: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given.lower() in words:
        return words[given.lower()]
    raise ValueError("it must be true or false")


SETTINGS = (
    Setting("budget", _budget, None, "Of a job: 40GiB, 50% of the unplanned peak, or auto."),
    Setting("time_limit", _seconds, 5.0, "Seconds of planning if no stored plan serves."),
    Setting("threads", _count, 1, "Searches side by side."),
    Setting("seed", _natural, 0, "Of the random choices."),
    Setting(
        "best_effort", _switch, False, "If the budget cannot be met, train at the lowest peak."
    ),
    Setting("rank_timeout", _seconds, 60.0, "Seconds a rank of several waits for another."),
    Setting("store", _text, None, "Store file.", only_user=True),
    Setting("remote", _remote, None, "URL of what several machines share.", only_user=True),
    Setting("limit", _size, None, "A smaller device than there is.", only_user=True),
    Setting("daemon.search_time", _seconds, 60.0, "Seconds of planning for each plan.", True),
    Setting("daemon.threads", _count, 1, "Cores the daemon plans with.", True),
    Setting("daemon.memory", _size, "4GiB", "Address space of its planning process.", True),
)
_BY_NAME = {each.name: each for each in SETTINGS}
_OF_JOBS = ("budget", "time_limit", "threads", "seed", "best_effort", "rank_timeout")


# Where it stands ----------------------------------------------------------------------------------


def user_file() -> Path | None:
    """Where the user's file is, or would be; None if there can be none."""
    chosen = os.environ.get(USER_FILE)
    if chosen is not None:
        return Path(chosen).expanduser().absolute() if chosen else None
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    try:
        folder = Path(base).expanduser()
    except RuntimeError:
        return None  # no home
    return folder / "fastsa" / "config.toml" if folder.is_absolute() else None


def project_file() -> Path | None:
    """The nearest pyproject.toml with a `[tool.fastsa]`, from the working directory upwards.

    Raises BadInput.
    """
    try:
        here = Path.cwd()
    except OSError:
        return None  # it was removed
    for folder in (here, *here.parents):
        path = folder / PROJECT_FILE
        if os.access(path, os.R_OK) and "fastsa" in _table(_parsed(path), "tool", path):
            return path
    return None


def effective() -> dict[str, SettingValue]:
    """Every setting's value. Raises BadInput for what cannot be understood, and says where."""
    user, project = user_file(), project_file()
    of_user = _file(user, _parsed(user), is_project=False) if user else {}
    of_project = {}
    if project:
        tables = _table(_parsed(project), "tool", project)
        of_project = _file(project, _table(tables, "fastsa", project), is_project=True)
    found = {each.name: SettingValue(each.default, DEFAULT) for each in SETTINGS}
    return found | of_user | of_project | _environment()


def of_jobs() -> dict[str, Any]:
    """What was chosen of how jobs are planned, by name. Raises BadInput."""
    return {
        name: each.value for name, each in effective().items() if each.is_set and name in _OF_JOBS
    }


def of_commands() -> dict[str, dict[str, Any]]:
    """What was chosen of each command's options, as click's `default_map`. Raises BadInput."""
    job = of_jobs()
    search = {name: value for name, value in job.items() if name in ("threads", "seed")}
    budget = {name: value for name, value in job.items() if name == "budget"}
    check = {name: value for name, value in job.items() if name != "rank_timeout"}
    chosen = {name: each.value for name, each in effective().items() if each.is_set}
    names = {"seconds": "search_time", "threads": "threads", "memory": "memory"}
    daemon = {
        option: chosen[f"daemon.{name}"]
        for option, name in names.items()
        if f"daemon.{name}" in chosen
    }
    return {
        "run": job,
        "check": check,
        "plan": search | budget,
        "curve": search,
        "daemon": {"run": daemon, "start": daemon},
    }


def user_value(name: str) -> SettingValue:
    """The value of a setting that is the user's alone. Raises BadInput."""
    setting = _BY_NAME[name]
    text = os.environ.get(setting.variable)
    if text:  # whatever is wrong with others
        return _read(name, text, setting.variable)
    user = user_file()
    of_user = _file(user, _parsed(user), is_project=False) if user else {}
    return of_user.get(name, SettingValue(setting.default, DEFAULT))


def _environment() -> dict[str, SettingValue]:
    given = {each.name: os.environ.get(each.variable, "") for each in SETTINGS}
    return {
        name: _read(name, text, _BY_NAME[name].variable) for name, text in given.items() if text
    }


def _file(path: Path, given: Mapping[str, Any], *, is_project: bool) -> dict[str, SettingValue]:
    found = {}
    for name, value in _flat(given).items():
        setting = _BY_NAME.get(name)
        if setting is None:
            known = ", ".join(_BY_NAME)
            raise BadInput(f"{path}: fastsa has no setting {name!r}", hint=f"it has {known}")
        if is_project and setting.only_user:
            raise BadInput(
                f"{path}: {name} is the user's to say, not a project's",
                hint=f"set {setting.variable}, or put it into {user_file()}",
            )
        found[name] = _read(name, value, str(path))
    return found


def _flat(given: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in given.items():
        inner = value if isinstance(value, dict) else None
        flat |= {name: value} if inner is None else {f"{name}.{k}": v for k, v in inner.items()}
    return flat


def _read(name: str, given: Any, source: str) -> SettingValue:
    try:
        return SettingValue(_BY_NAME[name].read(given), source)
    except (ValueError, BadInput) as error:
        why = error.message if isinstance(error, BadInput) else str(error)
        where = "" if source == _BY_NAME[name].variable else f" {name}"
        raise BadInput(f"{source}:{where} {given!r}: {why}", hint="see docs/config.md") from error


def _parsed(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise BadInput(f"{path}: {error}", hint="correct the file") from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", hint="make it readable") from error


def _table(given: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = given.get(name, {})
    if not isinstance(table, dict):
        raise BadInput(f"{path}: {name} is no table", hint="see docs/config.md")
    return table
