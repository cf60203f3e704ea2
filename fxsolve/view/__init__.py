"""Pictures of systems and schedules.

In comes a system, out comes SVG or DOT: `cards` says what stands on the card of each equation, `fold` draws many
equal ones as one, `layout` places them, `svg` and `dot` write the file, of `marks`. `straight` is the picture of
straight-line code: who reads whom, over how many levels. `drawing` is such a picture to show and save, `page` puts it
beside the report and the emitted code, `notebook` has notebooks draw systems.
"""
