"""One file per published system: plain coroutines over one row."""
