"""What a recorded run does to what outlives it: tensors from outside, attributes, and numbers that it counts.

`externals` are the tensors that it finds, `writable` says which writes into them can be made again; `aliasing` and
`routes` how its results share memory with others. `accesses` sees attributes being read and set: `firsts` whether a
place is set before it is read, `counters` and `increments` numbers that are only added to. `mutations` is what all of
it comes to, made again at every call. What there is to be changed, and how it is put back, says the package `state`.
"""
