"""An undo is never overwritten unless released, a release is applied in the end, a hold is shown.

The real decision runs against a simulated Deployment controller: revisions, `rollout undo` (also twice, also to a given
revision), `rollout restart`, `set env`, `pause`, `scale`, a controller that is slow, an operator that dies between any
two of its writes, releases that come, go and come back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ticker_crds.constants import ROLLOUT_HISTORY_MAX
from ticker_operator.desired.rollout import (
    Rollout,
    RolloutDecision,
    decide_rollout,
    record_from_status,
    record_to_status,
)
from ticker_operator.model import DeploymentFacts, ReplicaSetView, RolloutRecord, RollPermit

RELEASES = ("v1", "v2", "v3")
SEEN = frozenset({Rollout.CREATE, Rollout.APPLY, Rollout.CONFIRM, Rollout.HEAL})


@dataclass(frozen=True)
class Template:
    """What a ReplicaSet is made from: a release, and what people did to it."""

    release: str
    edits: str = ""
    restarts: int = 0


class Controller:
    """A Deployment and its ReplicaSets, as the real controller was measured to treat them."""

    def __init__(self) -> None:
        self.template: Template | None = None
        self.sets: dict[Template, int] = {}
        self.version = 0
        self.seen = 0
        self.replicas = 1
        self.paused = False

    def write(self, template: Template | None = None, **fields: object) -> None:
        self.version += 1
        if template is not None:
            self.template = template
        for name, value in fields.items():
            setattr(self, name, value)

    def reconcile(self) -> None:
        """A template that is not the youngest becomes it; an old one is used again under a new number."""
        self.seen = self.version
        if self.template is None or self.paused:
            return
        if self.sets.get(self.template) != self.youngest:
            self.sets[self.template] = self.youngest + 1

    @property
    def youngest(self) -> int:
        return max(self.sets.values(), default=0)

    def undo(self, revision: int = 0) -> None:
        ordered = sorted(self.sets.items(), key=lambda item: item[1])
        if self.paused or self.seen != self.version or len(ordered) < 2:
            return
        wanted = next((template for template, number in ordered if number == revision), ordered[-2][0])
        if wanted != self.template:
            self.write(wanted)

    def facts(self) -> DeploymentFacts | None:
        if self.template is None:
            return None
        return DeploymentFacts(
            version=str(self.version),
            generation=self.version,
            observed_generation=self.seen,
            revision=self.youngest,
            release_hash=self.template.release,
            template_hash=self.template.release,
            paused=self.paused,
            replicas=self.replicas,
            replica_sets=tuple(
                ReplicaSetView(f"rs{number}", number, template.release) for template, number in self.sets.items()
            ),
        )


class RollingOut(RuleBasedStateMachine):
    """One shard's Deployment, people with kubectl, and an operator that may die at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Controller()
        self.status: dict[str, object] = {}
        self.release = "v1"
        self.resume = ""
        self.undone: set[str] = set()  # releases a person took back and nobody released since
        self.pass_once(writes=3)
        self.cluster.reconcile()

    # -- the operator ----------------------------------------------------------------------------------------

    def decide(self, permit: RollPermit = RollPermit.MAY_ROLL) -> RolloutDecision:
        template = self.cluster.template
        return decide_rollout(
            self.cluster.facts(),
            record_from_status(self.status),
            release=self.release,
            template=self.release,
            permit=permit,
            resume=self.resume,
            drift=("spec.edited",) if template is not None and template.edits else (),
        )

    @rule(writes=st.integers(0, 3))
    def pass_once(self, writes: int) -> None:
        """One pass of the operator that ends after so many of its writes."""
        decision = self.decide()
        if decision.before is not None and writes >= 1:
            self.status = {"rollout": record_to_status(decision.before)}
        if decision.outcome in SEEN and (decision.before is None or writes >= 1):
            self.undone &= {self.release}  # a release that an operator has written down ends the hold of another one
        if decision.writes_template and writes >= 2:
            self._apply()
        if decision.restores_scale and writes >= 2:
            self.cluster.write(replicas=1)
        if decision.after is not None and writes >= 3:
            self.status = {"rollout": record_to_status(decision.after)}

    def _apply(self) -> None:
        live = self.cluster.template
        assert self.release not in self.undone, f"{self.release} was undone and nobody released it"
        restarts = live.restarts if live is not None else 0
        self.cluster.write(Template(self.release, "", restarts), replicas=1)

    @rule(permit=st.sampled_from([RollPermit.WAIT, RollPermit.STOPPED]))
    def without_a_permit_nothing_rolls(self, permit: RollPermit) -> None:
        decision = self.decide(permit)
        assert not decision.writes_template

    # -- people ----------------------------------------------------------------------------------------------

    @rule(release=st.sampled_from(RELEASES))
    def another_release(self, release: str) -> None:
        """A person releases something: an operator starts, and gets at least as far as its first write.

        A release that no operator ever wrote down leaves no trace; nobody could tell it from one that never was.
        """
        self.release = release
        self.cluster.reconcile()
        self.pass_once(writes=1)

    @rule(twice=st.booleans())
    def undo(self, twice: bool) -> None:
        for _ in range(1 + twice):
            before = self.cluster.template
            self.cluster.undo()
            after = self.cluster.template
            self.cluster.reconcile()
            assert before is not None
            assert after is not None
            self._note_undo(before, after)

    @rule(pick=st.integers(1, 12))
    def undo_to_a_revision(self, pick: int) -> None:
        before = self.cluster.template
        self.cluster.undo(pick)
        after = self.cluster.template
        self.cluster.reconcile()
        assert before is not None
        assert after is not None
        self._note_undo(before, after)

    def _note_undo(self, before: Template, after: Template) -> None:
        record = record_from_status(self.status)
        ours = self.release in (record.applied, record.intent)  # else it was live by chance, and we never knew
        ordered = self.resume == self.release != record.resumed  # an order to apply it stands and was not obeyed yet
        if before.release == self.release != after.release and ours and not ordered:
            self.undone.add(self.release)
        if after.release == self.release:
            self.undone.discard(self.release)  # a person put it back

    @precondition(lambda self: self.decide().outcome is Rollout.HOLD)
    @rule()
    def resume_by_annotation(self) -> None:
        """As the message says: set it; if it is there already, remove it first (and the operator sees that)."""
        self.pass_once(writes=3)
        if self.resume:
            self.resume = ""
            self.pass_once(writes=3)
        self.resume = self.release
        self.undone.discard(self.release)

    @rule()
    def restart(self) -> None:
        template = self.cluster.template
        assert template is not None
        if not self.cluster.paused:
            self.cluster.write(replace(template, restarts=template.restarts + 1))

    @rule()
    def set_env(self) -> None:
        template = self.cluster.template
        assert template is not None
        self.cluster.write(replace(template, edits="env"))

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.cluster.write(paused=paused)

    @rule(replicas=st.integers(0, 2))
    def scale(self, replicas: int) -> None:
        self.cluster.write(replicas=replicas)

    @rule()
    def controller_runs(self) -> None:
        self.cluster.reconcile()

    # -- what must hold --------------------------------------------------------------------------------------

    @invariant()
    def a_hold_is_shown_as_one(self) -> None:
        facts = self.cluster.facts()
        if self.release in self.undone and facts is not None and facts.current and not facts.paused:
            assert facts.release_hash != self.release
            decision = self.decide()
            assert decision.outcome is Rollout.HOLD, decision
            assert not decision.writes_template

    def teardown(self) -> None:
        """Everybody stops; the operator goes on until nothing is left to do."""
        self.cluster.write(paused=False)
        for _ in range(6):
            self.cluster.reconcile()
            self.pass_once(writes=3)
        self.cluster.reconcile()
        template = self.cluster.template
        assert template is not None
        decision = self.decide()
        assert decision.before is None
        assert self.cluster.replicas == 1
        if self.release in self.undone:
            assert decision.outcome is Rollout.HOLD
        else:
            assert decision.outcome is Rollout.CONFIRM, decision
            assert (template.release, template.edits) == (self.release, "")


TestRollingOut = RollingOut.TestCase
TestRollingOut.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


# -- named cases --------------------------------------------------------------------------------------------------

LIVE = DeploymentFacts(
    version="7",
    generation=2,
    observed_generation=2,
    revision=2,
    release_hash="v2",
    template_hash="t2",
    replica_sets=(ReplicaSetView("rs1", 1, "v1"), ReplicaSetView("rs2", 2, "v2")),
)
RECORD = RolloutRecord(applied="v2", history=("v1", "v2"))


def decided(live: DeploymentFacts | None, record: RolloutRecord, **changes: object) -> RolloutDecision:
    asked: dict[str, object] = {"release": "v2", "template": "t2", "permit": RollPermit.MAY_ROLL} | changes
    return decide_rollout(live, record, **asked)  # type: ignore[arg-type]


UNDONE = replace(
    LIVE,
    revision=3,
    release_hash="v1",
    template_hash="t1",
    replica_sets=(ReplicaSetView("rs1", 3, "v1"), ReplicaSetView("rs2", 2, "v2")),
)


@pytest.mark.parametrize(
    ("live", "record", "changes", "outcome"),
    [
        pytest.param(None, RolloutRecord(), {}, Rollout.CREATE, id="no deployment yet"),
        pytest.param(LIVE, RECORD, {}, Rollout.CONFIRM, id="the live release is the rendered one"),
        pytest.param(LIVE, RECORD, {"template": "t9"}, Rollout.HEAL, id="the account's own part changed"),
        pytest.param(LIVE, RECORD, {"drift": ("spec.x",)}, Rollout.HEAL, id="somebody edited the template"),
        pytest.param(LIVE, RECORD, {"release": "v3"}, Rollout.APPLY, id="a new release"),
        pytest.param(
            LIVE, RECORD, {"release": "v3", "permit": RollPermit.WAIT}, Rollout.QUEUE, id="another shard rolls"
        ),
        pytest.param(UNDONE, RECORD, {}, Rollout.HOLD, id="undone while we watched"),
        pytest.param(
            UNDONE,
            RolloutRecord(applied="v1", intent="v2", intent_revision=1, history=("v1", "v2")),
            {},
            Rollout.HOLD,
            id="applied and undone while we were away",
        ),
        pytest.param(
            replace(UNDONE, replica_sets=(ReplicaSetView("rs1", 3, "v1"),)),
            RolloutRecord(applied="v1", intent="v2", intent_revision=1, history=("v1", "v2")),
            {},
            Rollout.APPLY,
            id="two restarts while an apply failed are no undo",
        ),
        pytest.param(UNDONE, replace(RECORD, blocked="v2"), {"release": "v3"}, Rollout.APPLY, id="another release"),
        pytest.param(
            LIVE,
            RolloutRecord(applied="v1", intent="v2", intent_revision=1, history=("v1", "v2")),
            {"release": "v1"},
            Rollout.APPLY,
            id="back to the release before, whose successor was applied but never confirmed",
        ),
        pytest.param(UNDONE, replace(RECORD, blocked="v2"), {"resume": "v2"}, Rollout.APPLY, id="resumed"),
        pytest.param(
            UNDONE,
            replace(RECORD, blocked="v2", resumed="v2"),
            {"resume": "v2"},
            Rollout.HOLD,
            id="an annotation that was obeyed once lifts no second hold",
        ),
        pytest.param(UNDONE, replace(RECORD, blocked="v2"), {"resume": "v1"}, Rollout.HOLD, id="resume of another one"),
        pytest.param(
            replace(LIVE, observed_generation=1), RECORD, {"release": "v3"}, Rollout.WAIT, id="slow controller"
        ),
        pytest.param(replace(LIVE, paused=True), RECORD, {"release": "v3"}, Rollout.PAUSED, id="rollout pause"),
        pytest.param(LIVE, RECORD, {"release": "v3", "paused": True}, Rollout.PAUSED, id="annotated as paused"),
        pytest.param(
            replace(LIVE, release_hash="foreign"), RECORD, {}, Rollout.APPLY, id="a template that nobody of us applied"
        ),
    ],
)
def test_each_line_of_the_decision(
    live: DeploymentFacts | None, record: RolloutRecord, changes: dict[str, object], outcome: Rollout
) -> None:
    decision = decided(live, record, **changes)

    assert decision.outcome is outcome
    assert decision.message
    assert decision.writes_template == (outcome in (Rollout.CREATE, Rollout.APPLY, Rollout.HEAL))


def test_the_block_stays_until_the_template_was_applied() -> None:
    decision = decided(UNDONE, replace(RECORD, blocked="v2"), release="v3")

    assert decision.before is not None
    assert decision.after is not None
    assert (decision.before.blocked, decision.before.intent, decision.before.intent_revision) == ("v2", "v3", 3)
    assert (decision.after.blocked, decision.after.intent, decision.after.applied) == ("", "", "v3")


def test_a_heal_names_the_fields_and_the_revision_that_still_works() -> None:
    live = replace(LIVE, revision=3, replica_sets=(*LIVE.replica_sets, ReplicaSetView("rs3", 3, "v2")))

    decision = decided(live, RECORD, drift=("spec.containers[shard].env[DEBUG]",))

    assert decision.merge_ownership
    assert decision.revision_to_undo == 1
    assert decision.message == (
        "somebody edited spec.containers[shard].env[DEBUG]: set back; change the account's podTemplate instead; "
        "`kubectl rollout undo --to-revision=1` leads to the release before"
    )


def test_a_scaled_deployment_is_set_back_also_while_it_is_held() -> None:
    decision = decided(replace(UNDONE, replicas=0), RECORD)

    assert (decision.outcome, decision.restores_scale, decision.writes_template) == (Rollout.HOLD, True, False)


def test_unknown_members_of_the_record_are_copied_back() -> None:
    status = {"rollout": {"applied": "v1", "history": ["v1"], "invented": {"later": 1}, "intentRevision": "many"}}

    record = record_from_status(status)

    assert (record.applied, record.intent_revision) == ("v1", 0)
    assert record_to_status(record) == {"applied": "v1", "history": ["v1"], "invented": {"later": 1}}


@pytest.mark.parametrize(
    "status", [{}, {"rollout": None}, {"rollout": [1]}, {"rollout": {"history": "v1", "applied": 3}}]
)
def test_a_malformed_record_is_read_as_none(status: dict[str, object]) -> None:
    assert record_from_status(status) == RolloutRecord()


def test_history_is_bounded_and_ends_with_the_newest() -> None:
    record = RolloutRecord(applied="r0", history=tuple(f"r{index}" for index in range(ROLLOUT_HISTORY_MAX)))

    decision = decided(LIVE, record, release="v9")

    assert decision.after is not None
    assert len(decision.after.history) == ROLLOUT_HISTORY_MAX
    assert decision.after.history[-1] == "v9"
