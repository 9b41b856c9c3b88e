"""The coverage-guided fuzzer: python -m fuzz.decoder [libFuzzer options] [directories]."""

import sys

import atheris

with atheris.instrument_imports(include=["saec", "fuzz", "email_validator"]):
    from fuzz.target import check

if __name__ == "__main__":
    # To merge, libFuzzer runs its own command line again, as the shell reads it.
    atheris.Setup([f"'{sys.executable}' -m fuzz.decoder", *sys.argv[1:]], check)
    atheris.Fuzz()
