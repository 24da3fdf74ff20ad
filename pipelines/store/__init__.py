"""Where runs live: manifest, shards, commit, lease, ledger, verify."""
