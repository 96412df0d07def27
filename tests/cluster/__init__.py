"""How the test cluster is brought about, without bringing one about."""
