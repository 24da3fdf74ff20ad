"""The command line's other rooms: reading overrides, checking what they compose to, help pages."""
