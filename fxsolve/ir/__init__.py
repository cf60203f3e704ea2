"""The intermediate representation: equations, their laws, their reference evaluator and their text.

`spec` has the equations, `until` when their steps end, `verify` their laws, `evaluate` runs them in order and slowly,
`text` shows them. `bodies` opens a repeat for editing, `nested` makes one a call in the step of another. `builder` adds
calls to graphs, whose specs `infer` finds; the other modules answer questions about reads, calls and layouts.
"""
