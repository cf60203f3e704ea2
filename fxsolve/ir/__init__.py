"""The intermediate representation: equations, their laws, their reference evaluator and their text.

`spec` has the equations, `verify` their laws, `evaluate` runs them in order and slowly, `text` shows them. `builder`
makes blocks, `bodies` opens a repeat for editing; the other modules answer questions about reads, calls and layouts.
"""
