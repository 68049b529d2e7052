"""The verbs of Howdah: the only door for every edge. `reading` only looks, `verbs` also changes."""
