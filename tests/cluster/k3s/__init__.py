"""How k3s is run by testcontainers: the real classes and the real Docker client, against a daemon that only notes."""
