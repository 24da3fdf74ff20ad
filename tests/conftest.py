"""Settings for every test, and an S3 server on loopback for input and run directories."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A law holds or it does not; how fast this machine checks it is no matter for a test.
settings.register_profile("nightmill", deadline=None)
settings.load_profile("nightmill")

_NUMBERS = itertools.count()


def pytest_configure() -> None:
    """Tests that run beside others have CPUs of their own, as many as there are for each.

    Threads of two models on the same CPUs wait for each other by turning in circles: both are slower than one after
    the other.
    """
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cpus[int(worker.removeprefix("gw")) :: workers] or cpus)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """One Ray for the module: starting one costs seconds, and a run joins the one it finds."""
    import ray

    ray.init(
        address="local",  # not one that other tests have started beside these
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=2**28,
        namespace="nightmill",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server that ends with the tests."""
    moto_server = pytest.importorskip("moto.server", reason="moto is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket; the environment says where it is and with which keys, as a user's would."""
    import s3fs

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()  # an instance keeps the endpoint of the environment it was made in
    url = f"s3://nightmill-{next(_NUMBERS)}"
    s3fs.S3FileSystem().mkdir(url)
    yield url
    s3fs.S3FileSystem.clear_instance_cache()
