"""Whose turn it is: one at a time, callers in turn, and nobody waits behind who has left."""

from __future__ import annotations

import threading
import time

import pytest

from iclight.server.turns import PAGE, Full, Turns


def test_a_caller_with_many_requests_keeps_nobody_out():
    turns = Turns()
    names = ["a", "a", "a", "b", "c", "b"]
    places = {number: turns.join(name) for number, name in enumerate(names)}
    order = []
    while places:
        number = next(number for number, place in places.items() if place.done())
        assert sum(place.done() for place in places.values()) == 1
        order.append(names[number])
        turns.leave(places.pop(number))
    assert order == ["a", "a", "b", "c", "a", "b"]
    assert not turns.busy and turns.waiting == 0


def test_whoever_gives_up_leaves_no_gap_whether_waiting_or_called():
    turns = Turns()
    first, second, third = (turns.join(name) for name in "abc")
    turns.leave(second)
    assert turns.waiting == 1
    turns.leave(first)
    assert third.done() and turns.busy
    fourth = turns.join("d")
    turns.leave(third)  # never used: it was called and had hung up
    assert fourth.done()
    turns.leave(fourth)
    assert not turns.busy


def test_a_full_line_says_when_to_come_again_and_the_page_keeps_its_place():
    turns = Turns(places=1)
    for _ in range(2):
        turns.join("a")
    with pytest.raises(Full) as full:
        turns.join("b")
    assert 1 <= full.value.retry_after <= 60
    assert not turns.join(PAGE).done()


def test_two_threads_of_the_page_and_a_program_never_run_at_once():
    turns, inside, most = Turns(), [0], [0]

    def work(number: int) -> int:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.002)
        inside[0] -= 1
        return number

    run = turns.taken(lambda function: function)(work)
    done: list[int] = []
    threads = [threading.Thread(target=lambda n=n: done.append(run(n))) for n in range(12)]
    place = turns.join("program")
    for thread in threads:
        thread.start()
    assert not done
    turns.leave(place)
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(12)) and most == [1]
