"""Settings of the audit's tests."""

from hypothesis import settings

# The machine of a test run may be busy; how long one example takes says nothing then.
settings.register_profile("audit", deadline=None)
settings.load_profile("audit")
