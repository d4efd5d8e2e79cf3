"""Many machines and katas in one process and in simulated time, on the code that owns katas.

Real are `storer.cluster`, `dojo.machines` and the names of the archive. Simulated are etcd, the
archive's store, the network, the clock, threads, and what is in a kata's folder.
"""
