"""What did not come about is played once more, and never a third time."""

from __future__ import annotations

from integration.crash_sweep.incidents import PODS, LateEvents, Start
from integration.crash_sweep.sweep import Todo


def test_each_is_taken_once_and_again_where_it_was_put_off() -> None:
    first, second = LateEvents(PODS), Start()
    todo = Todo([first, second])
    assert todo.take() == first
    assert todo.put_off(first)
    assert [todo.take(), todo.take(), todo.take()] == [second, first, None]
    assert not todo.put_off(first)
    assert todo.take() is None
    assert todo.count == 2
