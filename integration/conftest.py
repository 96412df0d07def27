"""Fixtures of the tests on a real Kubernetes.

They run where the cluster can be reached, which is what `python -m integration.cluster run` is for. Each test has
namespaces of its own, and independent ones run side by side.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from integration.cluster import hints
from integration.kube import Kube, TooLate
from integration.session import SESSION_LABEL, InstalledOperator, Session

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from integration.cluster.provider import Images

SESSION: pytest.StashKey[Session] = pytest.StashKey()

ATTENDED = {"kube": "", "second_kube": "-b"}
"""The fixtures whose namespaces the session's operator looks after, and what is added to the test's name."""

UNATTENDED = "unattended"
"""The fixture whose namespace no operator looks after until the test starts or installs one."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often what comes and goes does so."""
    help_text = "how often the tests of autoscalers go from no workers to some and back"
    parser.addoption("--rounds", type=int, default=1, metavar="N", help=help_text)


def pytest_configure(config: pytest.Config) -> None:
    """Begin the session before pytest-xdist starts its workers, which join it."""
    config.addinivalue_line("markers", "pod_security(level): the Pod Security Standard of the test's namespace")
    config.addinivalue_line("markers", "waits_long: takes minutes or waits for one, so it begins first")
    config.addinivalue_line("markers", "alone: no other test may run meanwhile, so it only runs with `-m alone`")
    config.stash[SESSION] = Session.begin()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Clean up once, after all workers of pytest-xdist."""
    if not hasattr(session.config, "workerinput"):
        session.config.stash[SESSION].end()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of a module together where they share something expensive: all but those with namespaces.

    What takes longest begins first: at the end, all others would wait for it.
    """
    if not config.option.markexpr:
        alone = [item for item in items if item.get_closest_marker("alone")]
        config.hook.pytest_deselected(items=alone)
        items[:] = [item for item in items if item not in alone]
    items.sort(key=lambda item: item.get_closest_marker("waits_long") is None)
    for item in items:
        if not _namespaces(item) and isinstance(item, pytest.Function):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the state of the namespace to the report of a failed test, while it is still there."""
    report = yield
    if report.failed and call.when == "call" and call.excinfo and not call.excinfo.errisinstance(TooLate):
        for kube in _namespaces(item).values():
            if kube is not None:
                report.sections.append((f"Namespace {kube.namespace}", kube.diagnosis()))
    return report


@pytest.fixture(scope="session")
def rounds(pytestconfig: pytest.Config) -> int:
    """How often the tests of autoscalers go up and down (`--rounds`)."""
    return int(pytestconfig.getoption("--rounds"))


@pytest.fixture(scope="session")
def session(pytestconfig: pytest.Config) -> Session:
    """The session, for whose images and operator there are fixtures of their own."""
    if shutil.which("kubectl") is None:
        pytest.fail(f"there is no kubectl here: run this by `{hints.nox('integration', '-k', 'NAME')}`")
    return pytestconfig.stash[SESSION]


@pytest.fixture(scope="session")
def images(session: Session) -> Images:
    """The images of the operator and of Dask, present on the nodes."""
    return session.images()


@pytest.fixture(scope="session")
def operator(session: Session, images: Images, request: pytest.FixtureRequest) -> InstalledOperator:
    """The operator of the session, which looks after the namespaces of all tests that ask for `kube`."""
    session.define()
    return session.operator(
        images,
        [
            session.namespace(item.nodeid) + suffix
            for item in request.session.items
            for fixture, suffix in ATTENDED.items()
            if fixture in getattr(item, "fixturenames", ())
        ],
    )


@pytest.fixture
def kube(session: Session, operator: InstalledOperator, request: pytest.FixtureRequest) -> Iterator[Kube]:
    """A namespace of the test's own, which the session's operator looks after."""
    yield from _namespace(session, request, ATTENDED["kube"])
    assert operator.refusals() == [], "the operator lacks permissions"
    assert operator.restarts() == 0, "the operator ended and was started again"


@pytest.fixture
def second_kube(kube: Kube, session: Session, request: pytest.FixtureRequest) -> Iterator[Kube]:
    """A further such namespace beside `kube`."""
    del kube  # it is there first, and its operator with it
    yield from _namespace(session, request, ATTENDED["second_kube"])


@pytest.fixture
def unattended(session: Session, request: pytest.FixtureRequest) -> Iterator[Kube]:
    """A namespace of the test's own that no operator looks after, where Clusters can be made."""
    session.define()
    yield from _namespace(session, request, "-own")


def _namespace(session: Session, request: pytest.FixtureRequest, suffix: str) -> Iterator[Kube]:
    kube = Kube(session.namespace(request.node.nodeid) + suffix)
    kube.create_namespace()
    labels = [f"{SESSION_LABEL}={session.name}"]
    if (marker := request.node.get_closest_marker("pod_security")) is not None:
        labels.append(f"pod-security.kubernetes.io/enforce={marker.args[0]}")
    kube.run("label", "namespace", kube.namespace, *labels, "--overwrite")
    try:
        yield kube
    finally:
        kube.delete_namespace(wait=False)


def _namespaces(item: pytest.Item) -> dict[str, Any]:
    """The fixtures of a test that are namespaces, with their values where they are made already."""
    made: dict[str, Any] = getattr(item, "funcargs", {})
    wanted = getattr(item, "fixturenames", ())
    return {name: made.get(name) for name in (*ATTENDED, UNATTENDED) if name in wanted}
