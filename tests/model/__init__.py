"""Model checking: the operator's decisions against every order of events in small worlds.

`world` has the state, `surroundings` what the kubelet, Dask and users do to it, `operators` what the operator does:
the real `plan()` on real `Snapshot` values, carried out as the controller does it. `explore` goes through all of it,
`liveness` leaves it alone and waits. `python -m tests.model --help` for larger worlds than CI takes.

What counts as a violation (`world.Violation`; each is named, so that a test can say which one it expects):

- `lost`: a pod that the operator deleted took a key's last copy with it. The deletion itself doesn't count, but what
  becomes of the process: with a preStop hook it hands its data over first, and only a hook that gives up (the worker
  isn't registered under its pod's name or address), or is refused for ever, loses any. Without one the signal comes at
  once. A deadline of the user's (`onTimeout: Delete`) excuses it; so do processes killed by others, and pods without a
  hook that users delete.
- `too many`: the operator alone creates a pod though there are as many as the spec that it read wants, whether or not
  it heard of the earlier ones. Two operators at once, or a request that arrives late, may make more, yet never twice
  for the same sight: one version of the Cluster with the same pods.
- `spins`: right after a refusal the same worker is asked for again, though nobody new could take its data.
- `not recorded`: drained or retired a worker whose pod the status doesn't list as retiring, or one of somebody else's.
- `asked twice`: one operator has two calls under way that name the same worker.
- `ran twice`: the operator retired a worker while a task ran there, though it could have been drained, and the time
  for that wasn't over.
- `stuck`: left alone (no users, crashes or faults any more), the world doesn't come to rest with as many live workers
  as wanted. One more may be left where nobody can take its data, with the reason in the status; none may stay that is
  neither retiring nor takes work.

Assumptions, each a simplification that a reader may want to question:

- A scheduler notices at once that a worker's process died, and moves all keys of a worker in one step, to the running
  worker with the fewest. No paused workers, no actors, no loss of the scheduler.
- Time is `fresh` or `old` (older than every deadline); it passes at any moment.
- A process that is killed takes longer to start again and to register than an operator from its look to its requests.
- Without a preStop hook (the user's own replaced it) a worker registers neither before the kubelet has reported its
  start nor between the operator's look and the end of its pass. That is the window which only the hook closes.
- Reads of the API server are not stale. Pods are created in the order of their names.
"""
