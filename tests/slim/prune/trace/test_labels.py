import numpy as np

from ppcls_compress.slim.prune.trace import labels
from ppcls_compress.slim.prune.trace.labels import LabelBook, Pin, components

WHY = Pin("add", "because")


def brute_force_components(count, pairs):
    """Smallest label reachable over the pairs; label 0 connects nothing."""
    root = list(range(count))
    links = [
        (a, b) for x, y in pairs for a, b in zip(np.ravel(x).tolist(), np.ravel(y).tolist(), strict=True) if a and b
    ]
    for _ in range(count):
        for a, b in links:
            root[a] = root[b] = min(root[a], root[b])
    return root


def test_components_equal_a_search_one_by_one():
    rng = np.random.default_rng(0)
    for count in (2, 5, 40, 120):
        for links in (0, 1, count // 2, 2 * count):
            pairs = [(rng.integers(0, count, links), rng.integers(0, count, links)) for _ in range(3)]
            assert components(count, pairs).tolist() == brute_force_components(count, pairs)
    assert components(3, []).tolist() == [0, 1, 2]


def test_a_long_chain_is_one_component():
    chain = np.arange(1, 3000)
    assert set(components(3001, [(chain, chain + 1)])[1:].tolist()) == {1}


def test_fresh_labels_are_new_and_never_zero():
    book = LabelBook()
    assert book.fresh(3).tolist() == [1, 2, 3]
    assert book.fresh(2).tolist() == [4, 5]
    assert book.count == 6


def test_uniting_with_what_has_no_labels_pins():
    book = LabelBook()
    a, b = book.fresh(3), book.fresh(3)
    book.unite(a, a, WHY)
    book.unite(None, None, WHY)
    assert (book.pairs, book.pins) == ([], [])
    book.unite(a, None, WHY)
    book.unite(None, b, WHY)
    assert [(pinned.tolist(), pin) for pinned, pin in book.pins] == [([1, 2, 3], WHY), ([4, 5, 6], WHY)]


def test_uniting_with_positions_that_are_always_there_pins_the_others():
    book = LabelBook()
    a = book.fresh(3)
    book.unite(a, np.array([0, 2, 0]), WHY)
    pinned = {label for group, _ in book.pins for label in group.tolist()}
    assert pinned - {0} == {1, 3}


def test_rows_are_united_with_the_first():
    book = LabelBook()
    rows = book.fresh(6).reshape(3, 2)
    book.unite_rows(rows, WHY)
    assert components(book.count, book.pairs).tolist() == [0, 1, 2, 1, 2, 1, 2]


def test_what_goes_together_so_far_is_known_at_any_time():
    rng = np.random.default_rng(0)
    for _ in range(20):
        book = LabelBook()
        for _ in range(12):
            book.fresh(int(rng.integers(1, 6)))
            for size in rng.integers(1, 5, int(rng.integers(0, 3))).tolist():
                book.unite(*(rng.integers(0, book.count, size) for _ in range(2)), WHY)
            if rng.random() < 0.6:
                found = book.united(np.arange(book.count))
                assert found.tolist() == brute_force_components(book.count, book.pairs)


def test_asking_what_goes_together_costs_what_has_been_united_since(monkeypatch):
    sizes = []
    monkeypatch.setattr(labels, "components", lambda count, pairs: sizes.append(count) or components(count, pairs))
    book = LabelBook()
    for _ in range(200):
        a, b = book.fresh(8), book.fresh(8)
        book.unite(a, b, WHY)
        assert book.united(b).tolist() == a.tolist()
    assert sizes == [17] * 200
