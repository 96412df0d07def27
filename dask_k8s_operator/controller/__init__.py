"""The loop: watch, queue, observe, plan, execute."""
