"""Runs a module of SAEC's with bounds of a test's own: `BOUNDS="saec.process.LONGEST_STOP_S=600"`.

Where all bounds but one are never reached, a wait that ends shows that one, however slow the
machine is.
"""

import os
import runpy
import sys
from ast import literal_eval
from importlib import import_module

for bound in os.environ["BOUNDS"].split():
    name, _, value = bound.partition("=")
    owner, _, constant = name.rpartition(".")
    module = import_module(owner)
    assert hasattr(module, constant), name
    setattr(module, constant, literal_eval(value))
runpy.run_module(sys.argv[1], run_name="__main__")
