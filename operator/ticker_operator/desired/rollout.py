"""Whether a shard's Deployment gets the release that is rendered now (docs/rollouts.md).

``kubectl rollout undo`` is a supported command: whoever types it at 09:20 must not see the operator put the broken
release back at 09:21. Kubernetes tells nobody that an undo happened; it only rewinds the template, our annotations
included. So the decision compares four things: the release rendered now (D), the live one (L, an annotation), what was
applied last, and what was about to be applied (both in ``status.rollout``, because either write may be the last one a
dying operator made). The first line that applies:

====  ==========================================================  =================================================
0     paused (annotation, or `kubectl rollout pause`); no         nothing, and say so
      Deployment; its controller has not seen the newest spec
1     L is D                                                      confirm; heal what somebody changed in the template
2     L was applied once, D was about to be, and a ReplicaSet     hold: D was applied, then undone while we were away
      with D is younger than that intent
3     the resume annotation names the blocked release, anew       apply D
4     a release is blocked                                        D is that one: hold; D is another one: apply
5     L was applied once, and D was applied last                  hold: undone
6     anything else                                               apply D
====  ==========================================================  =================================================

Where L is the intent itself, our apply succeeded and only its confirmation is missing: the record is read as if it
were written (L applied, nothing blocked). Otherwise the release before, released again, would look undone.

Line 2 comes before line 3, because the annotation stays where it is: a release that was resumed, applied and undone
once more, all before we wrote it down, would otherwise be put back. For the same reason an annotation is obeyed once
(``resumed``) and not again.

Writes, in this order: ``before`` (status: intent = D with the live revision, D into the history), the template guarded
by resourceVersion, ``after`` (status: applied = D, blocked and intent cleared). The operator may die between any two.
`blocked` is never cleared before the template was applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from ticker_crds.constants import ANNOTATION_RESUME, ROLLOUT_HISTORY_MAX
from ticker_operator.model import DeploymentFacts, RolloutRecord, RollPermit

_KNOWN: Final = {
    "applied": "applied",
    "blocked": "blocked",
    "intent": "intent",
    "resumed": "resumed",
}
_HASH_CHARS_MAX: Final = 128


class Rollout(StrEnum):
    """What to do with the template. Only CREATE, APPLY and HEAL write it."""

    CREATE = "create"  # there is no Deployment yet
    CONFIRM = "confirm"  # the live release is the rendered one
    HEAL = "heal"  # it is, but somebody changed fields, or the account's own part changed
    APPLY = "apply"  # a new release
    HOLD = "hold"  # undone by a person: not applied again by itself
    WAIT = "wait"  # the controller has not seen the newest spec yet
    QUEUE = "queue"  # another shard of the pool rolls, or its roll-out stopped
    PAUSED = "paused"  # `kubectl rollout pause`, or the TickerShard's annotation


@dataclass(frozen=True, slots=True)
class RolloutDecision:
    """One decision. Order of writes: `before` (status), the template, `after` (status).

    Attributes
    ----------
    outcome, message
        What, and why in words.
    before, after
        ``status.rollout`` to write before and after the template; `None` = no write. `after` is written only when
        the template's write succeeded.
    writes_template
        Whether the template is applied.
    merge_ownership
        First merge foreign ownership (`drift.ownership_patch`).
    restores_scale
        Somebody scaled the Deployment: replicas are written, also where the template is not.
    strategy
        Written where the template is not; empty = it is as it should be.
    drift
        Paths that are healed.
    revision_to_undo
        The ``--to-revision`` that leads to the release before, whatever was edited since; 0 = there is none.
    """

    outcome: Rollout
    message: str
    before: RolloutRecord | None = None
    after: RolloutRecord | None = None
    writes_template: bool = False
    merge_ownership: bool = False
    restores_scale: bool = False
    strategy: Mapping[str, Any] = field(default_factory=dict)
    drift: tuple[str, ...] = ()
    revision_to_undo: int = 0


def decide_rollout(
    live: DeploymentFacts | None,
    record: RolloutRecord,
    *,
    release: str,
    template: str,
    permit: RollPermit,
    resume: str = "",
    paused: bool = False,
    replicas: int = 1,
    drift: Sequence[str] = (),
) -> RolloutDecision:
    """The decision for one shard.

    Parameters
    ----------
    live
        The Deployment as it is; `None` where there is none.
    record
        ``status.rollout`` as read with it.
    release, template
        Hashes rendered now (D, and with the account's own part).
    permit
        Whether this shard may replace its process now.
    resume, paused
        Annotations on the TickerShard.
    replicas
        As desired (0 while suspended).
    drift
        `drift.drifted_paths` of rendered against live template.
    """
    assert release, "a release has a hash"
    if paused:
        return RolloutDecision(Rollout.PAUSED, "the TickerShard is annotated as paused: its workload is left alone")
    if live is None:
        return _applied(Rollout.CREATE, f"no Deployment yet: release {release} is created", record, release, 0, resume)
    rescale = live.replicas != replicas
    if not live.current:
        message = "the Deployment's controller has not seen its newest spec yet"
        return RolloutDecision(Rollout.WAIT, message, restores_scale=rescale)
    if live.paused:
        message = "the Deployment is paused: `kubectl rollout resume` lets the roll-out go on"
        return RolloutDecision(Rollout.PAUSED, message, restores_scale=rescale)
    if live.release_hash == release:
        return _confirmed(live, record, release, template, permit, resume, rescale, tuple(drift))
    record = _completed(live, record)
    held = held_release(live, record, release=release, resume=resume)
    if held is not None:
        return _held(held, live, record, release, resume, rescale=rescale)
    if permit is not RollPermit.MAY_ROLL:
        return RolloutDecision(Rollout.QUEUE, f"release {release} {_WAITS[permit]}", restores_scale=rescale)
    decision = _applied(
        Rollout.APPLY,
        f"release {release} replaces {live.release_hash or 'an unknown one'}",
        record,
        release,
        live.revision,
        resume,
    )
    return replace(decision, revision_to_undo=_revision_before(live, release), restores_scale=rescale)


_WAITS: Final[dict[RollPermit, str]] = {
    RollPermit.WAIT: "waits: another shard of the pool is rolling out",
    RollPermit.STOPPED: "waits: the pool's roll-out has stopped at another shard",
    RollPermit.MAY_ROLL: "may be applied",
}


def held_release(live: DeploymentFacts, record: RolloutRecord, *, release: str, resume: str) -> str | None:
    """Why the rendered release is held (lines 2 to 6), in words; `None` if it may be applied."""
    record = _completed(live, record)
    undone = f"release {release} was rolled back to {live.release_hash}"
    known = live.release_hash in record.history
    if known and _undone_unseen(live, record, release):
        return f"{undone} while the operator was away"
    if resume and resume == record.blocked and resume != record.resumed:
        return None
    if record.blocked:
        return undone if record.blocked == release else None
    return undone if known and record.applied == release else None


def _completed(live: DeploymentFacts, record: RolloutRecord) -> RolloutRecord:
    """The record with the confirmation that a dying operator did not write."""
    if not record.intent or record.intent != live.release_hash:
        return record
    return replace(record, applied=record.intent, blocked="", intent="", intent_revision=0)


def _undone_unseen(live: DeploymentFacts, record: RolloutRecord, release: str) -> bool:
    """Whether the intended release was applied after the intent was written: its ReplicaSet is younger."""
    return record.intent == release and any(
        entry.release_hash == release and entry.revision > record.intent_revision for entry in live.replica_sets
    )


def _held(
    reason: str, live: DeploymentFacts, record: RolloutRecord, release: str, resume: str, *, rescale: bool
) -> RolloutDecision:
    unseen = _undone_unseen(live, record, release)
    blocked = replace(
        record,
        applied=release if unseen else record.applied,
        blocked=release,
        intent="",
        intent_revision=0,
        # Once the annotation is gone (or another one) it may be set anew.
        resumed=resume if resume == record.resumed or (unseen and resume == release) else "",
    )
    message = (
        f"{reason}: held until there is another release, or until the annotation {ANNOTATION_RESUME}={release} is set; "
        "a changed podTemplate waits as well"
    )
    if blocked.resumed == release:
        message += " (that annotation was obeyed once already: remove it first)"
    return RolloutDecision(
        Rollout.HOLD,
        message,
        before=blocked if blocked != record else None,
        restores_scale=rescale,
        revision_to_undo=_revision_before(live, release),
    )


def _confirmed(
    live: DeploymentFacts,
    record: RolloutRecord,
    release: str,
    template: str,
    permit: RollPermit,
    resume: str,
    rescale: bool,
    drift: tuple[str, ...],
) -> RolloutDecision:
    confirmed = _record_applied(record, release, resume)
    before = confirmed if confirmed != record else None
    stale = live.template_hash != template
    if not drift and not stale:
        message = f"release {release} is applied"
        return RolloutDecision(Rollout.CONFIRM, message, before=before, restores_scale=rescale)
    undo = _revision_before(live, release)
    message = _heal_message(drift, stale, undo)
    if permit is not RollPermit.MAY_ROLL:
        return RolloutDecision(
            Rollout.QUEUE, f"{message}; it {_WAITS[permit]}", before=before, restores_scale=rescale, drift=drift
        )
    return RolloutDecision(
        Rollout.HEAL,
        message,
        before=before,
        writes_template=True,
        merge_ownership=True,
        restores_scale=rescale,
        drift=drift,
        revision_to_undo=undo,
    )


def _heal_message(drift: Sequence[str], stale: bool, undo: int) -> str:
    if stale:
        return "the account's own part of the template changed" + (f" ({', '.join(drift[:5])})" if drift else "")
    more = f" and {len(drift) - 5} more" if len(drift) > 5 else ""
    message = f"somebody edited {', '.join(drift[:5])}{more}: set back; change the account's podTemplate instead"
    if undo:
        message += f"; `kubectl rollout undo --to-revision={undo}` leads to the release before"
    return message


def _applied(
    outcome: Rollout, message: str, record: RolloutRecord, release: str, revision: int, resume: str
) -> RolloutDecision:
    intent = replace(record, intent=release, intent_revision=revision, history=_remembered(record.history, release))
    return RolloutDecision(
        outcome,
        message,
        before=intent if intent != record else None,
        after=_record_applied(intent, release, resume),
        writes_template=True,
        merge_ownership=outcome is Rollout.APPLY,
    )


def _record_applied(record: RolloutRecord, release: str, resume: str) -> RolloutRecord:
    """What is written once `release` is in the live template."""
    return replace(
        record,
        applied=release,
        blocked="",
        intent="",
        intent_revision=0,
        history=_remembered(record.history, release),
        resumed=resume if resume == release else "",
    )


def _remembered(history: tuple[str, ...], release: str) -> tuple[str, ...]:
    return (*(entry for entry in history if entry != release), release)[-ROLLOUT_HISTORY_MAX:]


def _revision_before(live: DeploymentFacts, release: str) -> int:
    """The youngest revision that carries another release than `release`."""
    return max((entry.revision for entry in live.replica_sets if entry.release_hash not in ("", release)), default=0)


# -- the record as it stands in the status ------------------------------------------------------------------------


def record_from_status(status: Mapping[str, Any]) -> RolloutRecord:
    """``status.rollout`` as somebody wrote it: tolerant, unknown members kept."""
    said = status.get("rollout")
    if not isinstance(said, Mapping):
        return RolloutRecord()
    texts = {name: _hash(said.get(member)) for member, name in _KNOWN.items()}
    revision = said.get("intentRevision")
    history = said.get("history")
    known = {*_KNOWN, "intentRevision", "history"}
    return RolloutRecord(
        **texts,
        intent_revision=revision if isinstance(revision, int) and not isinstance(revision, bool) else 0,
        history=tuple(entry for entry in history if _hash(entry)) if isinstance(history, list | tuple) else (),
        unknown={key: value for key, value in said.items() if key not in known},
    )


def record_to_status(record: RolloutRecord) -> dict[str, Any]:
    """As it is written: empty members left out, unknown ones copied back."""
    written: dict[str, Any] = dict(record.unknown)
    written.update({member: getattr(record, name) for member, name in _KNOWN.items() if getattr(record, name)})
    if record.intent:
        written["intentRevision"] = record.intent_revision
    if record.history:
        written["history"] = list(record.history)
    return written


def _hash(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _HASH_CHARS_MAX else ""
