"""Programs that run inside worker pods, standard library only."""
