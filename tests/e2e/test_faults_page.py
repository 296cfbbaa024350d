"""The page of faults is in step with the tests, and no row is without a test through the front door or a reason."""

from faults import ELSEWHERE, FAULTS, PAGE, ROOT, WHY, injected, page


def test_the_page_of_faults_is_what_the_tests_say():
    assert PAGE.read_text() == page(), "run 'python tests/e2e/faults.py'"


def test_each_fault_is_injected_through_the_front_door_or_says_why_not():
    here = injected()
    assert set(here) | set(ELSEWHERE) <= set(FAULTS)
    assert set(WHY) == set(FAULTS) - set(here)


def test_what_is_injected_elsewhere_is_there():
    for file, name in ELSEWHERE.values():
        assert f"fn {name}" in (ROOT / file).read_text(), (file, name)
