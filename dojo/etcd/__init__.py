"""etcd, the store that several machines agree in."""
