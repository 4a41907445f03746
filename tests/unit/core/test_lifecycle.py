from core.lifecycle import MOVES, TERMINAL, Move, Status, is_terminal, may

#: `status` in the HTTP contract: from -> to. "only by the retry call" is the move RESUBMIT.
CONTRACT = {
    Status.QUEUED: {Status.RUNNING, Status.CANCELLED, Status.EXPIRED},
    Status.RUNNING: {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.QUEUED},
    Status.FAILED: {Status.QUEUED},
    Status.CANCELLED: {Status.QUEUED},
    Status.EXPIRED: {Status.QUEUED},
    Status.SUCCEEDED: set(),
}


def test_the_table_allows_what_the_contract_says_and_nothing_else() -> None:
    table: dict[Status, set[Status]] = {status: set() for status in Status}
    for starts, end in MOVES.values():
        for start in starts:
            table[start].add(end)
    assert table == CONTRACT


def test_every_move_has_a_line_in_the_table() -> None:
    assert set(MOVES) == set(Move)


def test_nothing_but_the_retry_call_leaves_a_terminal_state() -> None:
    for status in TERMINAL:
        assert {move for move in Move if may(move, status)} <= {Move.RESUBMIT}


def test_a_success_is_final() -> None:
    assert not any(may(move, Status.SUCCEEDED) for move in Move)


def test_no_move_leads_from_a_state_to_itself() -> None:
    for starts, end in MOVES.values():
        assert end not in starts


def test_every_state_can_be_reached_and_every_unfinished_one_can_end() -> None:
    reached = {Status.QUEUED}
    for _ in Status:
        reached |= {end for starts, end in MOVES.values() if starts & reached}
    assert reached == set(Status)
    for status in set(Status) - TERMINAL:
        assert may(Move.CANCEL, status)


def test_terminal_states_are_those_without_work_to_do() -> None:
    assert {status for status in Status if is_terminal(status)} == TERMINAL
    assert frozenset({Status.QUEUED, Status.RUNNING}) == set(Status) - TERMINAL
