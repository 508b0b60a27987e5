"""The functions that run structural instructions, by kind of sweep and opcode; `execute.arrays` enters them."""

STRUCTURAL = {}
