"""A sweep's YAML file, read strictly: every mistake at once, each with its file and line."""

import re
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from orchestrator.base.addresses import user_location
from orchestrator.base.errors import LocationError, SpecError
from orchestrator.base.text import suggestion
from orchestrator.spec.joint import (
    HOW,
    TRANSFER,
    JointSpec,
    data_sets,
    joint_problems,
    raw_problems,
)
from orchestrator.spec.overrides import (
    NOTIFY,
    NOTIFY_REFUSED,
    apply_override,
    budget_twin,
    remove,
)
from orchestrator.spec.prices import given_prices
from orchestrator.spec.problems import Problem, explain, shown
from orchestrator.spec.search_space import space_problems
from orchestrator.spec.setting_schema import flatten_settings
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.yaml_text import KeyPath, SpecSyntaxError, YamlDocument, parse_yaml
from prvr_model.files.location import is_uri

_WORD = re.compile(r"[A-Za-z_][\w.]*\w")


_TOP_LEVEL = "a mapping with name, question, data, search and, where wanted, more"


def load_spec(
    path: Path, overrides: Sequence[str] = (), *, runs_elsewhere: bool = False
) -> SweepSpec:
    """Read, check and resolve a sweep's YAML file.

    Args:
        path: The file. A store in it is relative to the file's folder.
        overrides: `path=value` texts, see `overrides.apply_override`; the last one wins. A store
            in one is relative to the working directory.
        runs_elsewhere: The sweep runs on machines that do not have this one's folders: a relative
            store is refused.

    Raises:
        SpecError: Everything that is wrong, a line each:
            `FILE:LINE: path: what was found; what is allowed; did you mean X?`.
    """
    draft = _given_draft(path, overrides)
    draft.refuse_several()
    return draft.checked(path.resolve().parent, is_given=True, runs_elsewhere=runs_elsewhere)


def load_any(
    path: Path, overrides: Sequence[str] = (), *, runs_elsewhere: bool = False
) -> SweepSpec | JointSpec:
    """As `load_spec`, of a file that names one data set or several."""
    draft = _given_draft(path, overrides)
    load = draft.joint if draft.data_sets else draft.checked
    return load(path.resolve().parent, is_given=True, runs_elsewhere=runs_elsewhere)


def read_joint(text: str, overrides: Sequence[str] = (), source: str = "spec") -> JointSpec:
    """The spec of several data sets from text, as `JointSpec.dump_yaml` writes it.

    Raises:
        SpecError: Everything that is wrong.
    """
    return _draft(text, overrides, source).joint(Path.cwd())


def read_spec(
    text: str, overrides: Sequence[str] = (), source: str = "spec", folder: Path | None = None
) -> SweepSpec:
    """As `load_spec`, from text, e.g. of `SweepSpec.dump_yaml`.

    Args:
        text: The YAML.
        overrides: `path=value` texts.
        source: Name of the text in messages.
        folder: Folder of relative stores; None: the working directory.

    Raises:
        SpecError: Everything that is wrong.
    """
    return _draft(text, overrides, source).checked(folder or Path.cwd())


def _given_draft(path: Path, overrides: Sequence[str]) -> "_Draft":
    """The draft of a user's file; without prices of its own it has those of `PRVR_PRICES`."""
    draft = _draft(_file_text(path), overrides, str(path))
    draft.add_prices()
    return draft


def _draft(text: str, overrides: Sequence[str], source: str) -> "_Draft":
    draft = _Draft(source, text)
    for override in overrides:
        draft.override(override)
    return draft


def _file_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        names = [str(sibling) for sibling in path.parent.glob("*.y*ml")]
        message = f"{path}: no such file{suggestion(str(path), names)}"
        raise SpecError([message]) from error
    except UnicodeDecodeError as error:
        raise SpecError([f"{path}: not text in UTF-8 (byte {error.start})"]) from error
    except OSError as error:
        raise SpecError([f"{path}: cannot be read: {error.strerror}"]) from error


class _Draft:
    """A spec between text and model; knows where each value was written."""

    def __init__(self, source: str, text: str) -> None:
        self._source = source
        # Of a part of several data sets the name of its own.
        self._data_name: tuple[str, ...] = ()
        document = self._parsed(text)
        self._lines = document.lines
        self._sets: dict[KeyPath, str] = {}
        self._found: list[tuple[float, str]] = [
            (line, f"{source}:{line}: {Problem(path, message)}")
            for path, line, message in document.problems
        ]
        self._raw: dict[str, Any] = document.value
        self._flatten()

    def _parsed(self, text: str) -> YamlDocument:
        try:
            document = parse_yaml(text)
        except SpecSyntaxError as error:
            raise SpecError([f"{self._source}:{error.line}: not YAML: {error}"]) from error
        if document.value is None:
            raise SpecError([f"{self._source}: empty; allowed: {_TOP_LEVEL}"])
        if not isinstance(document.value, dict):
            line = document.lines[()]
            found = "a list" if isinstance(document.value, list) else shown(document.value)
            raise SpecError([f"{self._source}:{line}: found {found}; allowed: {_TOP_LEVEL}"])
        return document

    def _flatten(self) -> None:
        """Give settings their dotted paths, unless that would hide one given twice."""
        settings = self._raw.get("settings")
        if not isinstance(settings, dict):
            return
        flat, twice = flatten_settings(settings)
        if twice:
            return
        self._raw["settings"] = flat
        for path in flat:
            nested = ("settings", *path.split("."))
            if nested in self._lines:
                self._lines[("settings", path)] = self._lines[nested]

    def override(self, text: str) -> None:
        """Apply one `--set`; note its problems."""
        changed, problems = apply_override(self._raw, text)
        for problem in problems:
            self._found.append((_AFTER_THE_FILE, f"--set {text}: {problem}"))
        for path in changed:
            twin = budget_twin(path)
            if twin is not None and twin not in self._sets:
                remove(self._raw, twin)
            self._forget(path)
            self._sets[path] = text

    def add_prices(self) -> None:
        """Take the prices of the environment, unless the section is written (null: none)."""
        if "prices" not in self._raw and (given := given_prices()):
            self._raw["prices"] = given.model_dump(mode="json", exclude_none=True)

    def _forget(self, path: KeyPath) -> None:
        """Drop the lines of what an override replaced."""
        depth = len(path)
        self._lines = {p: line for p, line in self._lines.items() if p[:depth] != path}
        self._sets = {p: text for p, text in self._sets.items() if p[:depth] != path}

    @property
    def data_sets(self) -> tuple[str, ...]:
        """Names of the data sets; none for one data set."""
        return data_sets(self._raw.get("data"))

    def refuse_several(self) -> None:
        """Refuse several data sets where a single sweep is needed.

        Raises:
            SpecError: `data` names several.
        """
        if self.data_sets:
            found = f"found several data sets ({', '.join(self.data_sets)}); allowed here: one"
            raise SpecError([self._placed(Problem(("data",), found))[1]])

    def joint(
        self, folder: Path, *, is_given: bool = False, runs_elsewhere: bool = False
    ) -> JointSpec:
        """The finished spec of several data sets; see `checked`."""
        self._found += [self._placed(problem) for problem in raw_problems(self._raw)]
        parts: dict[str, SweepSpec] = {}
        wrong: list[str] = []
        for name in self.data_sets:
            try:
                part = self._of_data(name)
                parts[name] = part.checked(folder, is_given=is_given, runs_elsewhere=runs_elsewhere)
            except SpecError as error:
                wrong += error.problems
        if wrong:
            raise SpecError(list(dict.fromkeys(wrong)))
        joint = JointSpec(self._raw["name"], parts, self._raw.get(TRANSFER, False))
        if problems := joint_problems(joint):
            raise SpecError([self._placed(problem)[1] for problem in problems])
        return joint

    def _of_data(self, name: str) -> "_Draft":
        """The draft of one data set's sweep; its lines are those of the whole file."""
        part = copy(self)
        part._raw = {**self._raw, "data": self._raw["data"][name]}
        part._raw.pop(TRANSFER, None)
        if isinstance(self._raw.get("name"), str):
            part._raw["name"] = f"{self._raw['name']}-{name}"
        part._lines = _of_part(self._lines, name)
        part._sets = _of_part(self._sets, name)
        part._found = list(self._found)
        part._data_name = (name,)
        return part

    def checked(
        self, folder: Path, *, is_given: bool = False, runs_elsewhere: bool = False
    ) -> SweepSpec:
        """The finished spec.

        Args:
            folder: Where relative stores lie.
            is_given: Whether a user wrote it, and `~` and `$NAME` in its store mean something.
            runs_elsewhere: Whether they, and the store, are those of other machines.

        Raises:
            SpecError: There are problems.
        """
        spec: SweepSpec | None = None
        if self._raw.pop(TRANSFER, False):
            message = f"found with one data set; allowed: with several, {HOW}"
            self._found.append(self._placed(Problem((TRANSFER,), message)))
        if NOTIFY in self._raw:
            self._found.append(self._placed(Problem((NOTIFY,), NOTIFY_REFUSED)))
            del self._raw[NOTIFY]
        try:
            spec = SweepSpec.model_validate(self._raw)
            problems = [*space_problems(spec), *(_foreign_problems(spec) if runs_elsewhere else ())]
        except ValidationError as error:
            problems = explain(error, SweepSpec)
        self._found.extend(self._placed(problem) for problem in problems)
        if self._found or spec is None:
            # Messages on one line stay in the order in which they were found.
            raise SpecError(
                [text for _, text in sorted(self._found, key=lambda problem: problem[0])]
            )
        if spec.data.store is None or runs_elsewhere:
            return spec
        on_command_line = any(path[0] == "data" for path in self._sets)
        base = Path.cwd() if on_command_line else folder
        store = self._meant(spec.data.store, base) if is_given else spec.data.store
        store = store if is_uri(store) else str((base / store).resolve())
        data = spec.data.model_copy(update={"store": store})
        return spec.model_copy(update={"data": data})

    def _meant(self, store: str, base: Path) -> str:
        try:
            return user_location(store, base)
        except LocationError as error:
            problem = Problem(("data", "store"), str(error))
            raise SpecError([self._placed(problem)[1]]) from error

    def _placed(self, problem: Problem) -> tuple[float, str]:
        """A problem's line, for sorting, and its text, which begins with the line or override."""
        known = self._nearest_known(problem)
        text = self._sets.get(known)
        named = self._as_in_the_file(problem)
        if text is not None:
            same = known == problem.path
            return _AFTER_THE_FILE, f"--set {text}: {problem.message if same else named}"
        line = self._lines[known]
        return line, f"{self._source}:{line}: {named}"

    def _as_in_the_file(self, problem: Problem) -> Problem:
        """The problem with the name of the data set in its path, where there are several."""
        if problem.path[:1] != ("data",):
            return problem
        return Problem(("data", *self._data_name, *problem.path[1:]), problem.message)

    def _nearest_known(self, problem: Problem) -> KeyPath:
        """Path of the value that a problem is about, or of the section that should hold it."""
        path = problem.path
        while path and path not in self._lines and path not in self._sets:
            path = path[:-1]
        of_section = problem.path[:-1] == path == ("settings",)
        if path != problem.path and not of_section:
            return path
        words = set(_WORD.findall(problem.message))
        # Overrides first: they are newer, so more likely the cause.
        below = (known for known in (*self._sets, *self._lines) if known and known[:-1] == path)
        return next((known for known in below if _named(known[-1], words)), path)


_T = TypeVar("_T")


def _of_part(places: Mapping[KeyPath, _T], name: str) -> dict[KeyPath, _T]:
    """What is known of key paths, as one data set's sweep has them: `data.NAME` is its `data`."""
    others = {
        path: value for path, value in places.items() if path[:1] != ("data",) or not path[1:]
    }
    own = {
        ("data", *path[2:]): value for path, value in places.items() if path[:2] == ("data", name)
    }
    return others | own


def _foreign_problems(spec: SweepSpec) -> list[Problem]:
    store = spec.data.store
    if store is None or is_uri(store) or store.startswith(("/", "~", "$")):
        return []
    message = (
        f"found {shown(store)}, a path relative to this machine, which the cluster does not have; "
        "allowed with --submit: the absolute path of a store on the cluster, builtin, or "
        "synthetic: {...}"
    )
    return [Problem(("data", "store"), message)]


# Problems of overrides come after those of the file, in the order of the overrides.
_AFTER_THE_FILE = float("inf")


def _named(key: str, words: set[str]) -> bool:
    return key in words or ("." in key and key.rpartition(".")[2] in words)
