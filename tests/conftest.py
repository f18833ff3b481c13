"""Tests run on the device `reference` unless FERRUM_DEVICE says otherwise."""

import os

os.environ.setdefault("FERRUM_DEVICE", "reference")
