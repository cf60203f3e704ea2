"""The intermediate representation: equations, their laws, their reference evaluator and their text."""
