"""Whether a process is at work, told by itself in a file and judged on the same machine."""
