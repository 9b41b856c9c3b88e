"""How fast SAEC is, beside what limits it: every comparison is a ratio of one run, side by side."""
