"""What the log says of a component."""

from __future__ import annotations

from twingraph_nb.component import Component
from twingraph_nb.events import ComponentUsed
from twingraph_nb.scheduler.digests import used_by
from twingraph_nb.source.ports import type_text

__all__ = ["component_used"]


def component_used(component: Component, now: float) -> ComponentUsed:
    """Give the event that tells of a component, before the first task of it in a run."""
    source = component.source
    return ComponentUsed(
        now,
        component.digest,
        component.name,
        component.language,
        component.platform,
        source.text,
        source.where,
        component.version,
        tuple((p.name, type_text(p.type)) for p in component.inputs),
        tuple((p.name, type_text(p.type)) for p in component.outputs),
        component.policy.changed(),
        str(component.options.get("image") or ""),
        component.options.get("attributes") or {},  # type: ignore[arg-type]
        used_by(component),
    )
