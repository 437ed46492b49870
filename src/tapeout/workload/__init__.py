"""Model × how it is served → operators with shapes, bytes and operations, per chip of a sharded group."""
