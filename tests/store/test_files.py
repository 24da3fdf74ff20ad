"""Publishing a file: exactly one of many writers wins, and readers never see a part of one."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.errors import UserError
from pipelines.store.files import folder


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path):
    if request.param == "disk":
        return folder(str(tmp_path / "run = {1}, [a]"))
    return folder(request.getfixturevalue("s3_bucket") + "/run")


def test_one_of_many_creators_wins(place):
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda i: place.create("part", b"%d" % i), range(16)))
    assert sum(won) == 1
    assert place.read("part") == b"%d" % won.index(True)


def test_replace_read_list_remove(place):
    place.replace("a.json", b"1")
    place.replace("a.json", b"2")
    place.sub("stages").sub("1-x").create("part", b"")
    assert place.read("a.json") == b"2"
    assert (place.names(), place.folders(), place.sub("stages").folders()) == (
        ["a.json"],
        ["stages"],
        ["1-x"],
    )
    place.remove("a.json")
    place.remove("a.json")
    assert place.names() == []
    with pytest.raises(FileNotFoundError):
        place.read("a.json")
    with place.sub("stages").sub("1-x").open("part") as file:
        assert file.read() == b""


def test_an_absent_folder_is_empty(place):
    assert place.sub("nothing").names() == place.sub("nothing").folders() == []


def test_a_run_cannot_live_on_a_hub():
    with pytest.raises(UserError, match="hf://"):
        folder("hf://datasets/x/y")


def test_a_file_where_the_folder_should_be_is_the_users_mistake(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="is a file, and a folder is needed"):
        folder(str(tmp_path / "taken")).names()


def test_a_store_that_cannot_be_reached_is_an_oserror(s3_bucket, monkeypatch):
    """botocore's own errors are none, and would end a heartbeat that only expects trouble with storage."""
    import s3fs

    place = folder(s3_bucket + "/run")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    for attempt in (lambda: place.replace("a", b"1"), lambda: place.create("a", b"1"), lambda: place.read("a")):
        with pytest.raises(OSError, match=r"127\.0\.0\.1:9"):
            attempt()


@pytest.mark.parametrize(
    ("url", "message"),
    [("weird://x", "unknown scheme weird://"), ("s3://", "names no bucket"), ("hf://datasets/x", "cannot hold a run")],
)
def test_a_place_that_cannot_hold_a_run_is_refused(url, message):
    with pytest.raises(UserError, match=message):
        folder(url)


def test_a_file_url_is_a_path(tmp_path):
    folder(f"file://{tmp_path}/run").replace("x", b"1")
    assert (tmp_path / "run" / "x").read_bytes() == b"1"
