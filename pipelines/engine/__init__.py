"""What answers a model call, and the actor that runs flows on it."""
