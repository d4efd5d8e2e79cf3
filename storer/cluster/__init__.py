"""Several machines: which one owns a kata, and what of it etcd has before it is acknowledged."""
