"""Published attacks on caches, replayed: each test names its class and where it was told of."""
