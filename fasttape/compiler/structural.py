"""The functions that run structural instructions, by kind of sweep and opcode; `execute.entries` fills them in."""

STRUCTURAL = {}
