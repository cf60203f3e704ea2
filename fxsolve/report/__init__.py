"""What was found, chosen, rejected and measured.

`data` is all of it, `loops` makes the rows of the loops out of a decision, `structure` what is said of straight-line
code out of measured times. The renderings take the data alone: `text` for people, `to_json` and back (`from_json`),
`html`; `log` says the most important of it in one line. To add a figure, add a field to `data`, where it is measured or
derived, and to each rendering that shows it.
"""
