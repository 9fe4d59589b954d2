"""What the three kinds share: how a model reads, which rules it carries, and references and conditions.

A rule is written once and judged twice: by pydantic, where files are read on one machine, and by the API server, where
it becomes an OpenAPI bound or a CEL expression. Each carries one sentence that says what to do.

* `Matches` and `Within` are rules of one value. The pattern or bound stands in the schema for editors and linters;
  the CEL expression beside it exists for its message alone, because "should match '^[A-Z]…'" helps nobody.
* `Rule` is a rule of a whole object, listed in its model's ``rules``. Rules about a change (``oldSelf``) have no
  Python half: a file has no past.

Reading is tolerant: members that are not known are ignored, whatever version wrote them. A spec that breaks a rule
is refused with `InvalidObjectError`. A member of the *status* that cannot be read is left out instead, and named
in ``status_faults``: nobody's declaration may be stopped by what we said about it earlier.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from ticker_crds.constants import (
    ANNOTATION_PAUSED,
    API_VERSION,
    CONDITION_MESSAGE_CHARS_MAX,
    CONDITIONS_MAX,
    Condition,
    Kind,
)

CEL: Final = "x-kubernetes-validations"
LIST_TYPE: Final = "x-kubernetes-list-type"
LIST_KEYS: Final = "x-kubernetes-list-map-keys"
PRESERVE_UNKNOWN: Final = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"

ATOMIC: Final[dict[str, Any]] = {LIST_TYPE: "atomic"}
AS_SET: Final[dict[str, Any]] = {LIST_TYPE: "set"}
BY_TYPE: Final[dict[str, Any]] = {LIST_TYPE: "map", LIST_KEYS: ["type"]}
BY_SYMBOL: Final[dict[str, Any]] = {LIST_TYPE: "map", LIST_KEYS: ["symbol"]}
AS_TIME: Final[dict[str, Any]] = {"format": "date-time"}
FREE_FORM: Final[dict[str, Any]] = {"type": "object", PRESERVE_UNKNOWN: True}


class InvalidObjectError(ValueError):
    """An object that breaks a rule of its kind; `problems` holds one sentence each, led by the field's path."""

    def __init__(self, kind: str, name: str, problems: tuple[str, ...]) -> None:
        self.kind = kind
        self.name = name
        self.problems = problems
        super().__init__(f"{kind} {name or '(no name)'}: " + "; ".join(problems))


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule over a whole object.

    Attributes
    ----------
    cel
        As the API server judges it; `None` where the schema alone says it (a list keyed by a member has it once).
    message
        What is wrong and what to do.
    holds
        The same for Python; `None` for a rule about a change.
    """

    cel: str | None
    message: str
    holds: Callable[[Any], bool] | None = None


@dataclass(frozen=True, slots=True)
class Matches:
    """Text of one form, ``^…$``. Only syntax that Python, Rust and RE2 read alike."""

    pattern: str
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        form = re.compile(self.pattern.removeprefix("^").removesuffix("$"))

        def judge(text: str) -> str:
            if form.fullmatch(text) is None:
                raise ValueError(self.message)
            return text

        return core_schema.no_info_after_validator_function(judge, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        quoted = self.pattern.replace("\\", "\\\\").replace("'", "\\'")
        rule = {"rule": f"self.matches('{quoted}')", "message": self.message}
        return {**handler(schema), "pattern": self.pattern, CEL: [rule]}


@dataclass(frozen=True, slots=True)
class Within:
    """A whole number between two bounds, both included."""

    low: int
    high: int
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def judge(number: int) -> int:
            if not self.low <= number <= self.high:
                raise ValueError(self.message)
            return number

        return core_schema.no_info_after_validator_function(judge, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        rule = {"rule": f"self >= {self.low} && self <= {self.high}", "message": self.message}
        return {**handler(schema), "minimum": self.low, "maximum": self.high, CEL: [rule]}


class Part(BaseModel):
    """A piece of an object: frozen, camelCase outside, snake_case inside, tolerant to what it does not know."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.rules:
            if rule.holds is not None and not rule.holds(self):
                raise ValueError(rule.message)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler(schema)
        judged = [{"rule": rule.cel, "message": rule.message} for rule in cls.rules if rule.cel is not None]
        if judged:
            handler.resolve_ref_schema(made)[CEL] = judged
        return made

    def to_manifest(self) -> dict[str, Any]:
        """As it stands in YAML: camelCase, members without a value left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


NAME_FORM: Final = Matches(
    r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", message="a name has lower case letters, digits, '-' and '.' only"
)
ObjectName = Annotated[str, Field(min_length=1, max_length=253), NAME_FORM]
# No text or truth value passes for a number, nor a number for a truth value: the API server would not take it either.
Int64 = Annotated[int, Field(strict=True, json_schema_extra={"format": "int64"})]
Count = Annotated[Int64, Field(ge=0)]
Flag = Annotated[bool, Field(strict=True)]


class Reference(Part):
    """Another object of the same namespace, by name."""

    name: ObjectName = Field(description="Name of the object, in this object's namespace.")


class ConditionEntry(Part):
    """One condition, with the members every Kubernetes tool knows."""

    type: str = Field(min_length=1, max_length=64, description="What is judged; one entry for each type.")
    status: str = Field(
        json_schema_extra={"enum": ["True", "False", "Unknown"]}, description="Whether it is so: True, False, Unknown."
    )
    reason: str = Field(min_length=1, max_length=128, description="One word that a script may match.")
    message: str = Field(
        max_length=CONDITION_MESSAGE_CHARS_MAX, description="Plain words with numbers, and what to do if anything."
    )
    last_transition_time: str = Field(json_schema_extra=AS_TIME, description="When the status last changed.")
    observed_generation: Count | None = Field(
        default=None, description="Generation of the object that this entry speaks about."
    )


Conditions = Annotated[
    tuple[ConditionEntry, ...],
    Field(max_length=CONDITIONS_MAX, json_schema_extra=BY_TYPE, description="Conditions, one entry for each type."),
]


class Metadata(Part):
    """The members of an object's metadata that we read."""

    name: str = Field(description="Name, unique for its kind in the namespace.")
    namespace: str = Field(default="default", description="The pool.")
    uid: str = Field(default="", description="Identity; a new object of the same name has another.")
    generation: int = Field(default=0, description="Counts changes of the spec.")
    resource_version: str = Field(default="", description="Changes with every write; compared for equality only.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations.")
    finalizers: tuple[str, ...] = Field(default=(), description="Who must let go before the object vanishes.")
    creation_timestamp: str = Field(default="", description="When it was made.")
    deletion_timestamp: str | None = Field(default=None, description="When its deletion was asked for, if it was.")


class KindModel(Part):
    """An object of one of the three kinds."""

    kind_name: ClassVar[Kind]
    conditions_used: ClassVar[tuple[Condition, ...]] = ()

    api_version: str = Field(default=API_VERSION, description="Group and version.")
    kind: str = Field(default="", description="The kind.")
    metadata: Metadata = Field(description="Standard metadata.")

    _status_faults: tuple[str, ...] = PrivateAttr(default=())

    @property
    def name(self) -> str:
        """Name of the object."""
        return self.metadata.name

    @property
    def paused(self) -> bool:
        """Whether somebody asked us to leave this object as it is."""
        return self.metadata.annotations.get(ANNOTATION_PAUSED) == "true"

    @property
    def deleting(self) -> bool:
        """Whether its deletion was asked for."""
        return self.metadata.deletion_timestamp is not None

    @property
    def status_faults(self) -> tuple[str, ...]:
        """Members of the status that could not be read and count as absent."""
        return self._status_faults

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Self:
        """The object from its YAML or JSON form.

        Raises
        ------
        InvalidObjectError
            When its metadata or spec breaks a rule.
        """
        try:
            return cls.model_validate(manifest)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False)
        own = [problem for problem in problems if problem["loc"][:1] != ("status",)]
        if own:
            raise InvalidObjectError(cls.kind_name.value, _name_in(manifest), _sentences(own))
        status = manifest.get("status")
        faulty = {problem["loc"][1] for problem in problems if len(problem["loc"]) > 1}
        kept = {key: value for key, value in status.items() if key not in faulty} if isinstance(status, Mapping) else {}
        read = cls.model_validate({**manifest, "status": kept})
        read._status_faults = _sentences(problems)
        return read


def _name_in(manifest: Mapping[str, Any]) -> str:
    metadata = manifest.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""


def _sentences(problems: Sequence[ErrorDetails]) -> tuple[str, ...]:
    """One sentence each; a list that is too short only because its items are faulty is not named as well."""
    places = [problem["loc"] for problem in problems]
    return tuple(
        _sentence(problem)
        for problem in problems
        if problem["type"] != "too_short"
        or not any(place != problem["loc"] and place[: len(problem["loc"])] == problem["loc"] for place in places)
    )


def _sentence(problem: ErrorDetails) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
    text = problem["msg"].removeprefix("Value error, ").replace("Tuple should", "List should")
    return f"{path}: {text}" if path else text
