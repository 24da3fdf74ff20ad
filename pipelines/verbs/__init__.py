"""What the command line offers beside ``run``: one module a verb, with the verb (plain values out) and ``render``."""
