"""Any order of calls, ends, cancellations and waits: the breaker keeps its promises."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from twingraph_nb.breaker import Breaker, Pass
from twingraph_nb.errors import BreakerOpen

RESET, FAILURES, PROBES = 10.0, 3, 2


class Machine(RuleBasedStateMachine):
    """Beside the breaker, the plainest account of what it must do."""

    passes = Bundle("passes")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(
            "b", failures=FAILURES, reset=RESET, probes=PROBES, errors=(OSError,), clock=self.clock
        )
        self.last_let_through = 0.0
        self.opened = 0.0
        self.trying: list[Pass] = []

    def clock(self) -> float:
        return self.now

    @rule(seconds=st.sampled_from([0.5, 4.0, RESET]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.state == "closed")
    @rule()
    def fail_until_it_opens(self) -> None:
        while self.breaker.state == "closed":
            self.breaker.enter().ended(OSError())
        self.opened = self.now

    @rule(target=passes)
    def enter(self) -> Pass:
        before = self.breaker.state
        refusal = self.breaker.refused()
        try:
            found = self.breaker.enter()
        except BreakerOpen:
            self.check_refusal(before, refusal)
            return Pass(self.breaker, -1)  # says nothing to anybody
        assert refusal is None
        if before == "open":
            assert self.now >= self.opened + RESET
            self.trying = []
        if self.breaker.state == "half-open":
            if len(self.trying) >= PROBES:  # the earlier ones hang
                assert self.now >= self.last_let_through + RESET
                self.trying = []
            self.trying.append(found)
            self.last_let_through = self.now
        return found

    def check_refusal(self, before: str, refusal: BreakerOpen | None) -> None:
        assert refusal is not None
        assert 0 < refusal.again <= RESET
        if before == "open":
            assert self.now < self.opened + RESET
        else:  # all places are taken by tries that hang or have succeeded
            assert before == "half-open"
            assert len(self.trying) >= PROBES

    @rule(one=consumes(passes), how=st.sampled_from(["good", "bad", "other", "cancelled", "left"]))
    def end(self, one: Pass, how: str) -> None:
        before, said = self.breaker.state, one in self.trying
        if how == "good":
            one.ended()
        elif how == "left":
            one.left()
        else:
            kinds = {"bad": OSError(), "other": KeyError(), "cancelled": KeyboardInterrupt()}
            one.ended(kinds[how])
        one.ended(OSError("again"))  # only what is said first counts
        after = self.breaker.state
        if before == "half-open":
            if not said or how in ("other", "cancelled", "left"):
                assert after == "half-open"
                if said:
                    self.trying.remove(one)
            elif how == "bad":
                assert after == "open"
                self.opened = self.now
        elif before == "closed" and after == "open":
            assert how == "bad"
            self.opened = self.now
        elif before == "open":
            assert after == "open"

    @invariant()
    def it_can_always_recover(self) -> None:
        """After a whole reset time somebody is let through, whatever hangs or was lost."""
        now, self.now = self.now, self.now + RESET
        assert self.breaker.refused() is None
        self.now = now


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase
