"""What a run would do and why, and how two runs differ; nothing runs for it."""

from __future__ import annotations

from twingraph_nb.plan.model import Action, Plan, Reason, Row
from twingraph_nb.plan.planning import plan_of

__all__ = ["Action", "Plan", "Reason", "Row", "plan_of"]
