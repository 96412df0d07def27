"""Model checking: the operator's decisions against every order of events in small worlds.

`world` has the state, `surroundings` what the kubelet, hooks and users do to it, `scheduler` what Dask does,
`operators` what the operator does with what it sees (`sight`): the real `plan()` on real `Snapshot` values
(`decisions`), carried out as the controller does it. `explore` goes through all of it, but for what `reductions`
shows to make no difference and `canonical` to be the same; `liveness` leaves it alone and waits. `worlds` lists what
is explored: with the tests, by `nox -s model`, and by `nox -s model -- --long`; `python -m tests.model one --help`
explores any other.

What counts as a violation (`world.Violation`; each is named, so that a test can say which one it expects):

- `lost`: a pod that the operator deleted took a key's last copy with it. The deletion itself doesn't count, but what
  becomes of the process: with a preStop hook it hands its data over first, and only a hook that gives up (the worker
  isn't registered under its pod's name or address), or is refused for ever, loses any. Without one the signal comes
  at once. A deadline of the user's (`onTimeout: Delete`) excuses it; so do processes killed by others, and pods
  without a hook that users delete. A copy that one call counts on and another one drops is lost, too.
- `too many`: the operator alone creates a pod though there are as many as the spec that it read wants, whether or not
  it heard of the earlier ones. Two operators at once, or a request that arrives late, may make more, yet never twice
  for the same sight: one version of the Cluster with the same pods. Nor are there, while nobody does anything but
  change the template, more pods than wanted plus `maxSurge`.
- `too few`: meanwhile fewer workers work than wanted less `maxUnavailable`.
- `spins`: right after a refusal the same worker is asked for again, though nobody new could take its data.
- `not recorded`: drained or retired a worker whose pod the status doesn't list as retiring, or one of somebody
  else's.
- `asked twice`: one operator has two calls under way that name the same worker.
- `ran twice`: the operator retired a worker while a task ran there, though it could have been drained, the time for
  that wasn't over, and nobody had deleted its pod.
- `stuck`: left alone (no users, crashes or faults any more), the world doesn't come to rest with as many live workers
  as wanted. One more may be left where nobody can take its data, with the reason in the status, or several where
  users delete pods: the last one that took the others' data may go after those were drained. None may stay that is
  neither retiring nor takes work.

Assumptions, each a simplification that a reader may want to question:

- A scheduler notices at once that a worker's process died, calls list at once who is gone, and a scheduler copies all
  keys of a worker in one step, to the running worker with the fewest that doesn't stand still. Then the worker is
  removed, in a step of its own. A worker either keeps all copies that others have, too (as where tasks need them), or
  none. No paused workers, no actors, no loss of the scheduler.
- The removal takes half a second. In that time nobody who can't know of it begins another call by chance: neither a
  hook beside an operator or another hook, nor an operator beside a hook. (An operator beside its own calls, or those
  of an earlier one, is not excused: it has to know.)
- Time is `fresh` or `old` (older than every deadline); it passes at any moment, but for what `takes_no_time`.
- A process that is killed takes longer to start again and to register than an operator from its look to its requests.
- Without a preStop hook (the user's own replaced it) a worker registers neither before the kubelet has reported its
  start nor between the operator's look and the end of its pass. That is the window which only the hook closes.
- Reads of the API server are not stale. Pods are created in the order of their names.
"""
