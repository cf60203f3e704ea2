"""What calls have lost for want of one graph buys no other one."""

from fxsolve.economy.ledger import Ledger


def test_losses_are_counted_for_each_graph() -> None:
    found = Ledger()
    for _ in range(10):
        found.lose("training", 1.0)
    found.lose("evaluation", 1.0)
    assert found.covers("training", 10.0)
    assert not found.covers("evaluation", 2.0)
    found.pay("training", 10.0)
    assert not found.covers("training", 0.1)
    assert found.covers("evaluation", 1.0)


def test_what_was_missed_most_is_not_forgotten() -> None:
    found = Ledger()
    found.lose("training", 100.0)
    for k in range(1000):
        found.lose(k, 0.1)
    assert found.covers("training", 100.0)
    assert len(found.lost) < 100
