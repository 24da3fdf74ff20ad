"""What a stage does with one shard: run a flow, filter, or apply decisions; and the actor that does it."""
