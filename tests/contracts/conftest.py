"""Settings of the tests of the contracts."""

from hypothesis import settings

# The machine of a test run may be busy; how long one example takes says nothing then.
settings.register_profile("contracts", deadline=None)
settings.load_profile("contracts")
