"""The page of faults is in step with the tests, and no row is without a test or a reason."""

from faults import ELSEWHERE, FAULTS, NOT_YET, PAGE, ROOT, injected, page


def test_the_page_of_faults_is_what_the_tests_say():
    assert PAGE.read_text() == page(), "run 'python tests/e2e/faults.py'"


def test_each_fault_is_injected_or_says_why_not():
    here = injected()
    for row in FAULTS:
        is_injected = row in here or row in ELSEWHERE
        assert is_injected != (row in NOT_YET), row
    assert set(here) | set(ELSEWHERE) | set(NOT_YET) == set(FAULTS)


def test_what_is_injected_elsewhere_is_there():
    for file, name in ELSEWHERE.values():
        assert f"fn {name}" in (ROOT / file).read_text(), (file, name)
