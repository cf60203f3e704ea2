"""State: everything that outlives a call, looked at in one way by all who need it.

What there is: `places` of Python (attributes, cells, globals) and the containers in them; `reach` finds those of a
program, `processes` what among it communicates; `memory` says which tensors lie on the same, `names` what they are
called. `random_state` has the default generators of random numbers, `generators` those of a program's own.

What is done with it:

    snapshot   of all that is reached: what differs from it later, and putting it back    (recording, trial runs)
    held       of a few chosen places: the same                                           (runs that are verified)
    key        `tokens` of values, `live` of what a program rebinds, `watch` of the rest  (signature of a call)
    glance     the same key without work, as long as nothing is another object            (signature of a call)
    contents   marks of the bits of tensors                                               (writes that nobody counts)
    rewinder   of all `generators`                                                        (recording, verification)
    stores     what a program leaves in its places as recipes, `storing` them             (every emitted call)

Flags of autograd are part of what is told of tensors; the modes of torch, which belong to a thread and not to a
program, are read by `runtime.guard_keys`.
"""
