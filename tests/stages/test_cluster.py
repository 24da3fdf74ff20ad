"""Ray that does not start, or cannot be joined, is told in words that say what to do."""

from typing import Any

import pytest
import ray

from pipelines.compose import compose
from pipelines.errors import RunStopped, UserError
from pipelines.stages import cluster

LATE = "The current node timed out during startup. This could happen because the GCS has become overloaded."


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("null", Exception(LATE), (RunStopped, r"did not start on this machine \(The current node timed out.*again")),
        (
            "auto",
            RuntimeError("Version mismatch"),
            (RunStopped, r"cluster.address=auto: not joined \(Version mismatch"),
        ),
        ("auto", ConnectionError("none found"), (UserError, "cluster.address=auto: no Ray cluster answers there")),
    ],
)
def test_what_keeps_ray_from_starting_is_told(address: str, error: Exception, said: Any, monkeypatch) -> None:
    def late(**_: Any) -> None:
        raise error

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", late)
    config = compose(["recipe=dedup", "input=x.parquet", "output=y", f"cluster.address={address}"])
    with pytest.raises(said[0], match=said[1]):
        cluster.connect(config["cluster"])
