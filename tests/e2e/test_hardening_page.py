"""The page of hardening is in step with the tests, and no row is without a test or a reason."""

from hardening import IDENTITIES, INPUTS, NOT_YET, PAGE, definition, page, path_of


def test_the_page_of_hardening_is_what_the_tests_say():
    assert PAGE.read_text() == page(), "run 'python tests/e2e/hardening.py'"


def test_each_input_is_sent_or_says_why_not():
    for row, (_, _, tests) in INPUTS.items():
        assert bool(tests) != (row in NOT_YET), row
    assert list(INPUTS) == list(range(55, 87))


def test_what_the_page_names_is_there():
    for _, _, tests in [*INPUTS.values(), *IDENTITIES]:
        for file, name in tests:
            assert definition(file, name) in path_of(file).read_text(), (file, name)
