"""Settings for every test."""

from hypothesis import settings

# A law holds or it does not; how fast this machine checks it is no matter for a test.
settings.register_profile("nightmill", deadline=None)
settings.load_profile("nightmill")
