"""One driver per run: a living one is respected, a dead one's lease is taken over, and the numbers only rise."""

import json
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from pipelines.errors import RunStopped, UserError
from pipelines.store.files import folder
from pipelines.store.lease import EXPIRES_S, Owner, acquire, holder, last_end


def test_a_lease_that_was_let_go_is_free(tmp_path):
    run = folder(str(tmp_path))
    with acquire(run) as first:
        assert first.number == 1
    assert holder(run) is None
    with acquire(run) as second:
        assert (second.number, second.took_over) == (2, None)


def test_another_machine_or_container_of_the_same_name_is_not_judged_from_here():
    """Its process numbers mean nothing here: only its heartbeat tells."""
    assert replace(Owner.me(), machine="another", pid=2**22).dead() is None
    assert replace(Owner.me(), pid=2**22).dead() is True
    with subprocess.Popen(["true"]) as child:  # not asked after until the end of the block
        started = psutil.Process(child.pid).create_time()
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert replace(Owner.me(), pid=child.pid, started=started).dead() is True


def test_a_living_driver_is_respected_by_name(tmp_path):
    run = folder(str(tmp_path))
    with acquire(run):
        assert holder(run).owner == Owner.me()
        with pytest.raises(UserError, match=rf"pid {Owner.me().pid} .* is running in this directory"):
            acquire(run)


def test_a_killed_drivers_lease_is_taken_over_at_once(tmp_path):
    script = (
        "import os, sys, signal; from pipelines.store.files import folder; from pipelines.store.lease import acquire\n"
        "acquire(folder(sys.argv[1])).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    run = folder(str(tmp_path))
    assert holder(run) is None
    with acquire(run) as lease:
        assert lease.number == 2
        assert "died without letting go" in lease.took_over


def remote(tmp_path, age: float) -> None:
    run = folder(str(tmp_path))
    with acquire(run) as lease:
        record = replace(lease._record, owner=replace(Owner.me(), host="another-node"))
        content = json.loads(record.content())
        content["heartbeat"] -= age
    run.sub("lease").replace("00001.json", json.dumps(content).encode())


def test_a_remote_driver_is_respected_until_its_lease_expires(tmp_path):
    remote(tmp_path, age=EXPIRES_S - 60)
    with pytest.raises(UserError, match=r"another-node.*expires in (59|60) s"):
        acquire(folder(str(tmp_path)))


def test_a_silent_remote_drivers_lease_is_taken_over(tmp_path):
    remote(tmp_path, age=EXPIRES_S + 1)
    with acquire(folder(str(tmp_path))) as lease:
        assert "no heartbeat" in lease.took_over


def test_the_older_driver_learns_that_it_was_replaced(tmp_path):
    run = folder(str(tmp_path))
    with acquire(run) as old:
        record = replace(old._record, number=2)
        run.sub("lease").create("00002.json", record.content())
        with pytest.raises(RunStopped, match="taken over as number 2"):
            old.check()


def test_a_lease_that_ends_with_an_error_keeps_it(tmp_path):
    run = folder(str(tmp_path))
    with pytest.raises(RunStopped), acquire(run):
        assert last_end(run) is None
        raise RunStopped("the disk is full")
    assert last_end(run) == "the disk is full"
    with acquire(run):
        pass
    assert last_end(run) is None


def test_a_damaged_lease_is_named(tmp_path):
    run = folder(str(tmp_path))
    with acquire(run):
        pass
    [lease] = (tmp_path / "lease").iterdir()
    lease.write_text(lease.read_text()[:40])
    for look in (holder, last_end, acquire):
        with pytest.raises(RunStopped, match="00001.json is damaged; if nothing runs in this directory, delete it"):
            look(run)
