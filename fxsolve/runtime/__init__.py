"""What stands between a call of a compiled program and its emitted modules.

In come the arguments of a call, out come the program's own results. At each call `guard_keys` tells whether a
recording may be used again, from the values of arguments (`tokens`), what lies in the program's places (`live`,
`snapshot`, `watch`) and torch's modes. `cache` has the recordings by that key; `calls` has one of them answer
(`attempts`), or one made, unless that was of no use before (`patience`): `entry` records, `relatives` and `family`
derive one at a new length from two others, `compilation` decides, by what `sources` of decisions know (`plans` of the
user, the `memory` of the machine, the `group`) or by `judging`, `making` emits and checks, and `ready` is the result.
`nodes` and `differentiation` are its backward pass, `changed`, `faults` and `agreement` the ways in which a call goes
back to the original. `compiled` is what users hold, with `forward` and `delegation` for those who look at it as a
module, `pictures` for what it shows of itself, and `overview` for all of a process.
"""
