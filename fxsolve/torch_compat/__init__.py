"""Every private name of torch that fxsolve relies on, each in one place, under a name of ours.

A release of torch may rename or remove any of them. All are looked up when fxsolve is imported, so that such a release
is met by one `TorchVersionError` that says what is gone, and not by a wrong result, or a crash in a user's call.

    tensors     versions, bases, views, hooks, and the addresses of memory
    trees       pytree
    operators   overloads, their schemas and kernels
    dispatch    modes, transforms, and what else follows the operations of a thread
    gradients   the nodes and passes of autograd
    batches     vmap, by its levels, and tensors without memory
    graphs      torch.fx
    modules     what nn.Module keeps about itself, by name
    overrides   functions of torch that ask whether a tensor or a mode overrides them
    processes   process groups, remote calls and futures
    profiling   whether a profiler is on
    compilers   dynamo and inductor, which take seconds to import and are looked up at their first use

Operators with an underscore (`aten._softmax`) stand where they are used: a missing one fails there at import.
"""
